/* leaky.c without its bug: the logger closes its copy when the connection ends. See README.md.
 * Usage: fixed [PORT]; prints "ready PORT" once it listens (port 0: any free one). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS = 256 };

struct log_context {
    int fd; /* the logger's own copy of the connection */
    unsigned lines;
};

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
static struct pollfd polled[1 + CLIENTS]; /* the listener and the clients */
static struct log_context *contexts[1 + CLIENTS];
static nfds_t n_polled = 1;

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

/* --- the logger --- */

static struct log_context *log_attach(int fd)
{
    struct log_context *context = calloc(1, sizeof *context);

    if (context == NULL || (context->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0)
        die("log_attach");
    return context;
}

static void log_line(struct log_context *context, const char *what)
{
    struct sockaddr_in peer = {.sin_port = 0};
    socklen_t length = sizeof peer;

    getpeername(context->fd, (struct sockaddr *)&peer, &length);
    printf("%s:%u line %u: %s\n", inet_ntoa(peer.sin_addr), ntohs(peer.sin_port), ++context->lines, what);
    fflush(stdout);
}

static void log_detach(struct log_context *context)
{
    log_line(context, "gone");
    close(context->fd);
    free(context);
}

/* --- the server --- */

static void end_client(nfds_t i)
{
    log_detach(contexts[i]);
    close(polled[i].fd);
    n_polled--;
    polled[i] = polled[n_polled];
    contexts[i] = contexts[n_polled];
}

static void on_readable(nfds_t i)
{
    char request[4096];

    if (recv(polled[i].fd, request, sizeof request, 0) <= 0) {
        end_client(i);
        return;
    }
    log_line(contexts[i], "request");
    send(polled[i].fd, answer, sizeof answer - 1, MSG_NOSIGNAL);
}

int main(int argc, char **argv)
{
    polled[0] = (struct pollfd){.fd = listen_on((uint16_t)(argc > 1 ? atoi(argv[1]) : 0)), .events = POLLIN};
    for (;;) {
        if (poll(polled, n_polled, -1) < 0)
            continue;
        for (nfds_t i = n_polled; i-- > 1;)
            if (polled[i].revents)
                on_readable(i);
        if (polled[0].revents && n_polled < sizeof polled / sizeof polled[0]) {
            int fd = accept4(polled[0].fd, NULL, NULL, SOCK_CLOEXEC);

            if (fd < 0)
                continue;
            contexts[n_polled] = log_attach(fd);
            polled[n_polled++] = (struct pollfd){.fd = fd, .events = POLLIN};
        }
    }
}
