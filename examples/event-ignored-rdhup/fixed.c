/* leaky.c without its bug: bits of the event mask are tested, so a closing client is read to its end. See
 * README.md.
 * Usage: fixed [PORT]; prints "ready PORT" once it listens (port 0: any free one). */
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

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int listen_on(uint16_t port)
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
    printf("ready %u\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void accept_clients(int epoll_fd, int listener)
{
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.fd = fd};

        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
            die("epoll_ctl");
    }
}

/* Reads until there is nothing left, as edge-triggered events demand. */
static void on_readable(int fd)
{
    char request[4096];
    ssize_t n;

    while ((n = recv(fd, request, sizeof request, 0)) > 0)
        send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL);
    if (n == 0 || (errno != EAGAIN && errno != EINTR))
        close(fd);
}

static void on_event(int fd, uint32_t events)
{
    if (events & (EPOLLIN | EPOLLRDHUP))
        on_readable(fd);
    else if (events & (EPOLLERR | EPOLLHUP))
        close(fd);
}

static void serve(int listener)
{
    struct epoll_event events[64], accepting = {.events = EPOLLIN, .data.fd = listener};
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &accepting) < 0)
        die("epoll");
    for (;;) {
        int n = epoll_wait(epoll_fd, events, 64, -1);

        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listener)
                accept_clients(epoll_fd, listener);
            else
                on_event(events[i].data.fd, events[i].events);
        }
    }
}

int main(int argc, char **argv)
{
    serve(listen_on((uint16_t)(argc > 1 ? atoi(argv[1]) : 0)));
    return 0;
}
