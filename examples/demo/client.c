/* The demo's client: opens COUNT connections to 127.0.0.1:PORT, sends a request on each, reads the answer, closes. A last
 * connection asks once more: its answer proves that the server has been through the events of all the others, since its
 * one loop takes them in order. Usage: client PORT COUNT; exits 0 when all of it happened. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int connect_to(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval deadline = {.tv_sec = 20};

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline) < 0 ||
        connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("connect");
    return fd;
}

static void ask(int fd)
{
    char answer[512];
    size_t have = 0;

    if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL) < 0)
        die("send");
    do {
        ssize_t n = recv(fd, answer + have, sizeof answer - have - 1, 0);

        if (n <= 0)
            die("no answer");
        have += (size_t)n;
        answer[have] = '\0';
    } while (strstr(answer, "\r\n\r\nok\n") == NULL && have < sizeof answer - 1);
}

/* Waits until the server's kernel has acknowledged our FIN: then its event is queued there, in front of that of any later
 * request. */
static void wait_for_fin(int fd)
{
    struct tcp_info info;
    socklen_t length = sizeof info;

    while (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 && info.tcpi_state == TCP_FIN_WAIT1)
        poll(NULL, 0, 1);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: client PORT COUNT\n");
        return 2;
    }
    uint16_t port = (uint16_t)atoi(argv[1]);
    int count = atoi(argv[2]);
    int *fds = calloc((size_t)count + 1, sizeof *fds);

    if (fds == NULL)
        die("calloc");
    for (int i = 0; i < count; i++) {
        fds[i] = connect_to(port);
        ask(fds[i]);
    }
    for (int i = 0; i < count; i++) {
        if (shutdown(fds[i], SHUT_WR) < 0)
            die("shutdown");
    }
    for (int i = 0; i < count; i++) {
        wait_for_fin(fds[i]);
        close(fds[i]);
    }
    fds[count] = connect_to(port);
    ask(fds[count]);
    /* A reset, so that this one leaves no trace in the report. */
    setsockopt(fds[count], SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    close(fds[count]);
    free(fds);
    return 0;
}
