/* An in-memory store that writes snapshots as Redis does: a forked child has a copy of the memory as it was and takes
 * its time to write it, while the server goes on. The server closes every connection properly; but the child has
 * copies of the sockets as well, and as long as it lives no connection of then can end. See README.md; fixed.c is the
 * same program without the bug.
 * Usage: leaky [PORT]; prints "ready PORT" once it listens (port 0: any free one). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CLIENTS = 64, RECORDS = 1000, WRITES_PER_SNAPSHOT = 8 };

static char records[RECORDS][64];
static unsigned n_records, writes;
static struct pollfd polled[1 + CLIENTS]; /* the listener and the clients */
static nfds_t n_polled = 1;
static pid_t snapshot;
static volatile sig_atomic_t stopping; /* the signal that ends us */

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

static void on_stop(int sig)
{
    stopping = sig;
}

/* In the child: slowly, so that the disk has time for others. As an example's, the file is gone when it is closed. */
static void write_snapshot(void)
{
    FILE *file = tmpfile();

    for (unsigned i = 0; file != NULL && i < RECORDS && !stopping; i++) {
        fputs(records[i], file);
        sleep(1);
    }
}

static void start_snapshot(void)
{
    snapshot = fork();
    if (snapshot == 0) {
        write_snapshot(); /* the bug: with the clients' sockets open, all the time */
        _exit(0);
    }
}

static void end_client(nfds_t i)
{
    close(polled[i].fd);
    polled[i] = polled[--n_polled];
}

static void on_readable(nfds_t i)
{
    char request[64];
    ssize_t n = recv(polled[i].fd, request, sizeof request - 1, 0);

    if (n <= 0) {
        end_client(i);
        return;
    }
    request[n] = 0;
    memcpy(records[n_records++ % RECORDS], request, sizeof request);
    send(polled[i].fd, "+OK\r\n", 5, MSG_NOSIGNAL);
    if (++writes % WRITES_PER_SNAPSHOT == 0 && snapshot <= 0)
        start_snapshot();
}

int main(int argc, char **argv)
{
    struct sigaction stop = {.sa_handler = on_stop};

    polled[0] = (struct pollfd){.fd = listen_on((uint16_t)(argc > 1 ? atoi(argv[1]) : 0)), .events = POLLIN};
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    while (!stopping) {
        if (poll(polled, n_polled, 1000) < 0)
            continue;
        for (nfds_t i = n_polled; i-- > 1;)
            if (polled[i].revents)
                on_readable(i);
        if (polled[0].revents && n_polled < sizeof polled / sizeof polled[0]) {
            int fd = accept4(polled[0].fd, NULL, NULL, SOCK_CLOEXEC);

            if (fd >= 0)
                polled[n_polled++] = (struct pollfd){.fd = fd, .events = POLLIN};
        }
        if (snapshot > 0 && waitpid(snapshot, NULL, WNOHANG) == snapshot)
            snapshot = 0;
    }
    if (snapshot > 0) {
        kill(snapshot, SIGTERM);
        waitpid(snapshot, NULL, 0);
    }
    signal(stopping, SIG_DFL);
    raise(stopping);
}
