/* A server for the tests of ledgers: `ended N` makes N connections to itself, lets the clients close, reads the end of each and
 * never closes it. Says "ready PID"; then does what its stdin says, "exit CODE"; ends with 0 when stdin does. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    char word[256], byte;

    if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 64) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) < 0)
        err(99, "listen");
    for (int i = argc > 1 ? atoi(argv[1]) : 0; i > 0; i--) {
        int client = socket(AF_INET, SOCK_STREAM, 0), fd;
        if (connect(client, (struct sockaddr *)&address, length) < 0 || (fd = accept(listener, NULL, NULL)) < 0)
            err(99, "connect");
        close(client);
        if (recv(fd, &byte, 1, 0) != 0)
            err(99, "recv");
    }
    printf("ready %d\n", (int)getpid());
    fflush(stdout);
    if (scanf("%255s", word) == 1 && !strcmp(word, "exit") && scanf("%255s", word) == 1)
        exit(atoi(word));
    return 0;
}
