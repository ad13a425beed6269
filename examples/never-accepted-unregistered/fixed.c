/* leaky.c without its bug: the loop watches both listeners. See README.md.
 * Usage: fixed [PORT]; prints "health PORT" and, once it serves, "ready PORT" (port 0: any free one; the health
 * port is always a free one). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LISTENERS = 2 };

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
static int epoll_fd, listeners[LISTENERS];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int listen_on(uint16_t port, const char *name)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int on = 1;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 512) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        die("listen");
    printf("%s %u\n", name, ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void watch(int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
}

static void accept_clients(int listener)
{
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        watch(fd);
}

static void on_readable(int fd)
{
    char request[4096];
    ssize_t n = recv(fd, request, sizeof request, 0);

    if (n > 0)
        send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        close(fd);
}

static void on_event(int fd)
{
    for (int i = 0; i < LISTENERS; i++) {
        if (fd == listeners[i]) {
            accept_clients(fd);
            return;
        }
    }
    on_readable(fd);
}

int main(int argc, char **argv)
{
    struct epoll_event events[64];

    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        die("epoll");
    listeners[1] = listen_on(0, "health");
    listeners[0] = listen_on((uint16_t)(argc > 1 ? atoi(argv[1]) : 0), "ready");
    for (int i = 0; i < LISTENERS; i++)
        watch(listeners[i]);
    for (;;) {
        int n = epoll_wait(epoll_fd, events, 64, -1);

        for (int i = 0; i < n; i++)
            on_event(events[i].data.fd);
    }
}
