/* A small server for test_travel.sh and test_redact.sh: takes connections from itself, reads their ends and never closes
 * them; QUEUED more are closed by their clients and never accepted.
 *
 *     travel COUNT QUEUED [ARG...]      prints "ready PID" and lives until its stdin ends */
#include <arpa/inet.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

NOINLINE static int take_client(int listener)
{
    int fd = accept(listener, NULL, NULL); /* LINE take_client */
    if (fd < 0)
        err(1, "accept");
    return fd;
}

static inline __attribute__((always_inline)) ssize_t read_inlined(int fd, char *to, size_t n)
{
    ssize_t got = recv(fd, to, n, 0); /* LINE read_inlined */
    __asm__ volatile("# read_inlined");
    return got;
}

NOINLINE static void serve_client(int fd)
{
    char bytes[64];
    while (read_inlined(fd, bytes, sizeof bytes) > 0)
        ; /* and no close: the leak */
}

static int make_client(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 || send(fd, "hello", 5, 0) != 5)
        err(1, "connect");
    return fd;
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int count = argc > 1 ? atoi(argv[1]) : 3, queued = argc > 2 ? atoi(argv[2]) : 0;
    char byte;

    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 16) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) < 0)
        err(1, "listen");
    for (int i = 0; i < count; i++) {
        int client = make_client(&address), fd = take_client(listener);
        close(client);
        serve_client(fd);
    }
    for (int i = 0; i < queued; i++)
        close(make_client(&address));
    printf("ready %d\n", (int)getpid());
    fflush(stdout);
    while (read(0, &byte, 1) > 0)
        ;
    return 0;
}
