/* A front-end that asks an HTTP backend and keeps its connections in a pool. The backend closes one that has been idle for a
 * while, as every HTTP server does; the pool looks at it only when it next needs one, so until then it is in CLOSE_WAIT. See
 * README.md; fixed.c lets it go first. Usage: leaky [PORT]; prints "ready PORT" once it listens (port 0: any free one). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { POOL = 4, BACKEND_IDLE_MS = 1500 };

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
static struct sockaddr_in backend;
static int pool[POOL];
static unsigned n_pool;

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

/* --- the backend: somebody else's server, here a few threads --- */

static void *serve_backend(void *listener)
{
    const struct timeval idle = {.tv_sec = BACKEND_IDLE_MS / 1000, .tv_usec = BACKEND_IDLE_MS % 1000 * 1000};
    char text[4096];

    for (;;) {
        int fd = accept4(*(int *)listener, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof idle);
        while (recv(fd, text, sizeof text, 0) > 0)
            send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL);
        close(fd);
    }
    return NULL;
}

static void start_backend(void)
{
    static int listener;
    pthread_t threads[POOL];

    listener = listen_on(0, &backend);
    for (int i = 0; i < POOL; i++)
        if (pthread_create(&threads[i], NULL, serve_backend, &listener) != 0)
            die("pthread_create");
}

/* --- the pool --- */

/* A connection that the backend has closed meanwhile has an end of stream to read; then another is taken. */
static int pool_take(void)
{
    char byte;

    while (n_pool > 0) {
        int fd = pool[--n_pool];

        if (recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0)
            return fd;
        close(fd);
    }
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&backend, sizeof backend) < 0)
        die("connect");
    return fd;
}

static void pool_give(int fd)
{
    pool[n_pool++] = fd; /* there is room: never more than POOL are in use */
}

/* --- the front-end --- */

static size_t ask_backend(int fd, char *text, size_t size)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: backend\r\n\r\n";

    send(fd, request, sizeof request - 1, MSG_NOSIGNAL);
    ssize_t n = recv(fd, text, size, 0);
    return n > 0 ? (size_t)n : 0;
}

/* The pool begins with connections that are known to work. */
static void warm_up(void)
{
    int fds[POOL];
    char text[4096];

    for (int i = 0; i < POOL; i++) {
        fds[i] = pool_take();
        ask_backend(fds[i], text, sizeof text);
    }
    for (int i = 0; i < POOL; i++)
        pool_give(fds[i]);
}

static void serve_client(int client)
{
    char text[4096];
    int fd = pool_take();

    if (recv(client, text, sizeof text, 0) > 0)
        send(client, text, ask_backend(fd, text, sizeof text), MSG_NOSIGNAL);
    pool_give(fd);
    close(client);
}

int main(int argc, char **argv)
{
    struct sockaddr_in address;
    int listener = listen_on((uint16_t)(argc > 1 ? atoi(argv[1]) : 0), &address);
    struct pollfd polled = {.fd = listener, .events = POLLIN};

    start_backend();
    warm_up();
    printf("ready %u\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        if (poll(&polled, 1, -1) < 1)
            continue;
        int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (client >= 0)
            serve_client(client);
    }
}
