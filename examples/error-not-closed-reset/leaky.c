/* A small HTTP server with one epoll loop. It closes a connection where recv() says that the client has closed; where
 * recv() fails, because the client has reset the connection or has vanished, it frees what it knows of the client and
 * forgets the socket. See README.md; fixed.c is the same program without the bug.
 * Usage: leaky [PORT]; prints "ready PORT" once it listens (port 0: any free one). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static int epoll_fd;

struct client {
    int fd;
    unsigned requests;
};

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

static void accept_clients(int listener)
{
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct client *client = calloc(1, sizeof *client);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};

        if (client == NULL)
            die("calloc");
        client->fd = fd;
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
            die("epoll_ctl");
    }
}

static void forget_client(struct client *client)
{
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, client->fd, NULL);
    free(client);
}

static void on_readable(struct client *client)
{
    int fd = client->fd;
    char request[4096];
    ssize_t n = recv(fd, request, sizeof request, 0);

    if (n > 0) {
        client->requests++;
        send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL);
    } else if (n == 0) {
        forget_client(client);
        close(fd);
    } else if (errno != EAGAIN && errno != EINTR) {
        perror("recv");
        forget_client(client); /* the bug: nobody knows fd any more, and it is still open */
    }
}

int main(int argc, char **argv)
{
    struct epoll_event events[64];
    int listener = listen_on((uint16_t)(argc > 1 ? atoi(argv[1]) : 0));
    struct epoll_event accepting = {.events = EPOLLIN, .data.ptr = NULL};

    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &accepting) < 0)
        die("epoll");
    for (;;) {
        int n = epoll_wait(epoll_fd, events, 64, -1);

        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL)
                accept_clients(listener);
            else
                on_readable(events[i].data.ptr);
        }
    }
}
