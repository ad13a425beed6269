/* A server with several threads on one epoll set. EPOLLONESHOT sees to it that only one of them serves a connection
 * at a time; each must arm the connection again when it is done with it. On one path that is left out: a request that
 * comes in pieces is never read on. See README.md; fixed.c is the same program without the bug.
 * Usage: leaky [PORT]; prints "ready PORT" once it listens (port 0: any free one). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { THREADS = 4 };

struct client {
    int fd;
    size_t length;
    char request[4096];
};

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
static int epoll_fd;

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

/* The next event goes to one thread, whichever is free, and switches the connection off in the set. */
static void arm(struct client *client, int operation)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.ptr = client};

    if (epoll_ctl(epoll_fd, operation, client->fd, &event) < 0)
        die("epoll_ctl");
}

static void on_readable(struct client *client)
{
    size_t room = sizeof client->request - client->length;
    ssize_t n = recv(client->fd, client->request + client->length, room, 0);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        close(client->fd);
        free(client);
        return;
    }
    if (n > 0)
        client->length += (size_t)n;
    if (memmem(client->request, client->length, "\r\n\r\n", 4) == NULL)
        return; /* the bug: the rest of the request, and the end of stream, will not be seen */
    send(client->fd, answer, sizeof answer - 1, MSG_NOSIGNAL);
    client->length = 0;
    arm(client, EPOLL_CTL_MOD);
}

static void *serve(void *unused)
{
    struct epoll_event event;

    for (;;)
        if (epoll_wait(epoll_fd, &event, 1, -1) == 1)
            on_readable(event.data.ptr);
    return unused;
}

int main(int argc, char **argv)
{
    int listener = listen_on((uint16_t)(argc > 1 ? atoi(argv[1]) : 0));

    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        die("epoll_create1");
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, serve, NULL) != 0)
            die("pthread_create");
    }
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0)
            continue;
        struct client *client = calloc(1, sizeof *client);
        if (client == NULL)
            die("calloc");
        client->fd = fd;
        arm(client, EPOLL_CTL_ADD);
    }
}
