/* leaky.c without its bug: every client that has gone is counted. See README.md.
 * Usage: fixed [PORT]; prints "ready PORT" once it listens (port 0: any free one). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS_MAX = 8 };

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
static int epoll_fd, listener;
static unsigned clients;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int listen_on(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
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

static void watch(int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
}

static void pause_accepting(void)
{
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, listener, NULL);
}

static void accept_client(void)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0)
        return;
    watch(fd);
    if (++clients == CLIENTS_MAX)
        pause_accepting();
}

static void end_client(int fd)
{
    close(fd);
    if (clients-- == CLIENTS_MAX)
        watch(listener); /* there is room again */
}

static void on_readable(int fd)
{
    char request[4096];
    ssize_t n = recv(fd, request, sizeof request, 0);

    if (n <= 0 || send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL) < 0)
        end_client(fd);
}

int main(int argc, char **argv)
{
    struct epoll_event events[64];

    listener = listen_on((uint16_t)(argc > 1 ? atoi(argv[1]) : 0));
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        die("epoll_create1");
    watch(listener);
    for (;;) {
        int n = epoll_wait(epoll_fd, events, 64, -1);

        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listener)
                accept_client();
            else
                on_readable(events[i].data.fd);
        }
    }
}
