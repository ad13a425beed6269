/* A server that leaves sockets in CLOSE_WAIT, for the tests of merged reports: `leave N [other]` makes N connections to itself,
 * lets its clients close, reads the end of each and never closes it. `other` does so in another function: another code path.
 * Says "ready PID" (as it sees itself) once the kernel has them in CLOSE_WAIT, and ends when its stdin does. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

static int must(int result, const char *what)
{
    if (result < 0)
        err(99, "%s", what);
    return result;
}

static int state_of(int fd)
{
    struct tcp_info info;
    socklen_t n = sizeof info;
    must(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n), "TCP_INFO");
    return info.tcpi_state;
}

static NOINLINE void read_end(int fd)
{
    char byte;
    if (recv(fd, &byte, 1, 0) != 0)
        errx(99, "not the end");
    __asm__ volatile("" ::: "memory");
}

static NOINLINE void read_end_otherwise(int fd)
{
    char byte;
    if (recv(fd, &byte, 1, 0) != 0)
        errx(99, "not the end");
    __asm__ volatile("" ::: "memory");
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    int count = argc > 1 ? atoi(argv[1]) : 1, listener = must(socket(AF_INET, SOCK_STREAM, 0), "socket");

    must(bind(listener, (struct sockaddr *)&address, sizeof address), "bind");
    must(listen(listener, 128), "listen");
    must(getsockname(listener, (struct sockaddr *)&address, &length), "getsockname");
    for (int i = 0; i < count; i++) {
        int client = must(socket(AF_INET, SOCK_STREAM, 0), "socket");
        must(connect(client, (struct sockaddr *)&address, sizeof address), "connect");
        int server = must(accept(listener, NULL, NULL), "accept");
        close(client);
        if (argc > 2)
            read_end_otherwise(server);
        else
            read_end(server);
        while (state_of(server) != TCP_CLOSE_WAIT)
            ;
    }
    printf("ready %d\n", (int)getpid());
    fflush(stdout);
    for (char byte; read(STDIN_FILENO, &byte, 1) > 0;)
        ;
    return 0;
}
