/* leaky.c without its bug: the backend has 200 ms to answer. See README.md.
 * Usage: fixed [PORT]; prints "ready PORT" once it listens (port 0: any free one). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
static const char bad_gateway[] = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nno\n";
static struct sockaddr_in backend;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int listen_on(uint16_t port, int flags, struct sockaddr_in *ret_address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int on = 1;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 512) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        die("listen");
    *ret_address = address;
    return fd;
}

/* Stands for a backend that hangs: it takes connections and requests, and never answers. */
static void *hang(void *listener)
{
    char request[4096];
    int fd;

    while ((fd = accept4((int)(intptr_t)listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        while (recv(fd, request, sizeof request, 0) > 0)
            continue;
        close(fd);
    }
    return NULL;
}

/* One exchange with the backend; whether there was an answer. */
static int ask_backend(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_usec = 200000};
    char answer[4096];
    ssize_t n = -1;

    if (fd < 0)
        return 0;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&backend, sizeof backend) == 0 && send(fd, "report\n", 7, MSG_NOSIGNAL) == 7)
        n = recv(fd, answer, sizeof answer, 0);
    close(fd);
    return n > 0;
}

static void accept_clients(int epoll_fd, int listener)
{
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
            die("epoll_ctl");
    }
}

static void on_readable(int fd)
{
    char request[4096];
    ssize_t n = recv(fd, request, sizeof request - 1, 0);

    if (n > 0) {
        request[n] = '\0';
        const char *answer = strstr(request, "/report") == NULL || ask_backend() ? ok : bad_gateway;
        send(fd, answer, strlen(answer), MSG_NOSIGNAL);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        close(fd);
    }
}

int main(int argc, char **argv)
{
    struct epoll_event events[64];
    struct sockaddr_in address;
    int listener = listen_on((uint16_t)(argc > 1 ? atoi(argv[1]) : 0), SOCK_NONBLOCK, &address);
    int backend_listener = listen_on(0, 0, &backend);
    struct epoll_event accepting = {.events = EPOLLIN, .data.fd = listener};
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    pthread_t thread;

    if (pthread_create(&thread, NULL, hang, (void *)(intptr_t)backend_listener) != 0)
        die("pthread_create");
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &accepting) < 0)
        die("epoll");
    printf("ready %u\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(epoll_fd, events, 64, -1);

        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listener)
                accept_clients(epoll_fd, listener);
            else
                on_readable(events[i].data.fd);
        }
    }
}
