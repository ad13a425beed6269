/* A TCP proxy in front of a news ticker, which sends until its client has nothing more to say. A client that ends its
 * half of the connection and goes on reading is told news for ever: the proxy does not pass the end on. Its
 * connection is in CLOSE_WAIT all the while, yet in use: half-open. See README.md; fixed.c passes the end on.
 * Usage: leaky [PORT]; prints "ready PORT" once it listens (port 0: any free one). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TICK_MS = 200 };

static struct sockaddr_in ticker;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int listen_on(uint16_t port, struct sockaddr_in *ret_address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    socklen_t length = sizeof *ret_address;

    *ret_address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(fd, (struct sockaddr *)ret_address, length) < 0 || listen(fd, 512) < 0 ||
        getsockname(fd, (struct sockaddr *)ret_address, &length) < 0)
        die("listen");
    return fd;
}

/* Each connection is served by a thread of its own. */
static void accept_for(int listener, void *(*serve)(void *))
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        pthread_t thread;

        if (fd >= 0 && pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) == 0)
            pthread_detach(thread);
        else if (fd >= 0)
            close(fd);
    }
}

/* --- the ticker: somebody else's server --- */

static void *tick(void *argument)
{
    struct pollfd client = {.fd = (int)(intptr_t)argument, .events = POLLIN};
    char text[4096];

    for (;;) {
        if (poll(&client, 1, TICK_MS) > 0 && recv(client.fd, text, sizeof text, 0) <= 0)
            break;
        if (send(client.fd, "news\r\n", 6, MSG_NOSIGNAL) < 0)
            break;
    }
    close(client.fd);
    return NULL;
}

static void *serve_ticker(void *listener)
{
    accept_for(*(int *)listener, tick);
    return NULL;
}

static void start_ticker(void)
{
    static int listener;
    pthread_t thread;

    listener = listen_on(0, &ticker);
    if (pthread_create(&thread, NULL, serve_ticker, &listener) != 0)
        die("pthread_create");
}

/* --- the proxy --- */

/* What one side has sent goes to the other. 0: it has no more to send. */
static ssize_t relay(int from, int to)
{
    char text[4096];
    ssize_t n = recv(from, text, sizeof text, 0);

    return n > 0 ? send(to, text, (size_t)n, MSG_NOSIGNAL) : n;
}

static void *serve_client(void *argument)
{
    int client = (int)(intptr_t)argument, backend = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct pollfd polled[] = {{.fd = client, .events = POLLIN}, {.fd = backend, .events = POLLIN}};
    ssize_t n = 1;

    if (backend < 0 || connect(backend, (struct sockaddr *)&ticker, sizeof ticker) < 0)
        n = -1;
    while (n >= 0 && poll(polled, 2, -1) >= 0) {
        if (polled[0].revents && (n = relay(client, backend)) == 0)
            polled[0].fd = -1; /* it has no more to say: nothing to poll for; the backend is not told */
        if (polled[1].revents && relay(backend, client) <= 0)
            break;
    }
    close(backend);
    close(client);
    return NULL;
}

int main(int argc, char **argv)
{
    struct sockaddr_in address;
    int listener = listen_on((uint16_t)(argc > 1 ? atoi(argv[1]) : 0), &address);

    start_ticker();
    printf("ready %u\n", ntohs(address.sin_port));
    fflush(stdout);
    accept_for(listener, serve_client);
}
