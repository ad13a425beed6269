#define _GNU_SOURCE /* accept4 */
#include "cli/selftest/child.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

__attribute__((noinline)) int cw_selftest_accept(int listener, int *ret_line)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), line = __LINE__;

    *ret_line = line;
    return fd;
}

/* One connection whose client has closed, and whose end of stream was read. */
static int leak_one(int listener, const struct sockaddr_in *address, int *ret_line)
{
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;
    char byte;

    if (client < 0)
        return -errno;
    if (connect(client, (const struct sockaddr *)address, sizeof *address) < 0) {
        int error = errno;
        close(client);
        return -error;
    }
    fd = cw_selftest_accept(listener, ret_line);
    close(client);
    if (fd < 0)
        return -errno;
    return recv(fd, &byte, 1, 0) == 0 ? 0 : -EPROTO;
}

int cw_selftest_child(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), line = 0, error = 0;
    struct pollfd end = {.fd = STDIN_FILENO, .events = POLLIN};
    char byte;

    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 8) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) < 0)
        error = -errno;
    for (int i = 0; i < CW_SELFTEST_SOCKETS && !error; i++)
        error = leak_one(listener, &address, &line);
    if (error)
        printf("failed %s\n", strerror(-error));
    else
        printf("ready %u %d\n", ntohs(address.sin_port), line);
    fflush(stdout);
    /* In poll it can be stopped for a moment, as a read could not: the kernel goes on with it afterwards. */
    while (!error && (poll(&end, 1, -1) < 0 || read(STDIN_FILENO, &byte, 1) > 0))
        ;
    return error ? 1 : 0;
}
