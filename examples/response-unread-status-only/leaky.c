/* A health checker: asked by a client, it asks a web server and passes on the status. Only the status line of the
 * answer is read; then the response is dropped, its body unread and its connection open. See README.md; fixed.c is
 * the same program without the bug.
 * Usage: leaky [PORT]; prints "ready PORT" once it listens (port 0: any free one). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct response {
    int fd; /* the body is read from here */
    int status;
};

static const char request[] = "GET /health HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n";
static const char answer[] = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
                             "<html><body><p>All is well.</p></body></html>\n";
static struct sockaddr_in web;

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

/* --- the web server: somebody else's, here a thread --- */

static void *serve_web(void *listener)
{
    char text[4096];

    for (;;) {
        int fd = accept4(*(int *)listener, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0)
            continue;
        if (recv(fd, text, sizeof text, 0) > 0)
            send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL);
        close(fd);
    }
    return NULL;
}

static void start_web(void)
{
    static int listener;
    pthread_t thread;

    listener = listen_on(0, &web);
    if (pthread_create(&thread, NULL, serve_web, &listener) != 0)
        die("pthread_create");
}

/* --- a small HTTP client --- */

/* Asks and reads the status line; who wants the body reads it from the response's fd. */
static struct response *http_get(void)
{
    struct response *response = calloc(1, sizeof *response);
    char line[sizeof "HTTP/1.1 200"] = "";

    if (response == NULL)
        die("calloc");
    response->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (response->fd >= 0 && connect(response->fd, (struct sockaddr *)&web, sizeof web) == 0 &&
        send(response->fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0 &&
        recv(response->fd, line, sizeof line - 1, MSG_WAITALL) == (ssize_t)(sizeof line - 1))
        response->status = atoi(line + strlen("HTTP/1.1 "));
    return response;
}

static int check_health(void)
{
    struct response *response = http_get();
    int status = response->status;

    free(response); /* the bug: the handle is gone, the connection is not */
    return status;
}

/* --- the health checker --- */

static void serve_client(int client)
{
    char text[4096];

    if (recv(client, text, sizeof text, 0) > 0) {
        int n = snprintf(text, sizeof text, "status %d\r\n", check_health());
        send(client, text, (size_t)n, MSG_NOSIGNAL);
    }
    close(client);
}

int main(int argc, char **argv)
{
    struct sockaddr_in address;
    int listener = listen_on((uint16_t)(argc > 1 ? atoi(argv[1]) : 0), &address);

    start_web();
    printf("ready %u\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

        if (client >= 0)
            serve_client(client);
    }
}
