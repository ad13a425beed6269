/* Servers of several processes, for test/e2e/trees. Each prints "ready PORT", takes clients, and leaks them.
 * usage: tree prefork N | fork-each | daemon | exec N | alone */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

static int listener;

static void begin(void)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof name;

    listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&name, length) < 0 || listen(listener, 512) < 0 ||
        getsockname(listener, (struct sockaddr *)&name, &length) < 0)
        err(99, "no listener");
    printf("ready %d\n", ntohs(name.sin_port));
    fflush(stdout);
}

static NOINLINE int take_client(void)
{
    int fd = accept(listener, NULL, NULL);

    if (fd < 0)
        err(99, "accept");
    return fd;
}

/* Reads to the end, and forgets to close. */
static NOINLINE void serve_client(int fd)
{
    char bytes[256];

    while (read(fd, bytes, sizeof bytes) > 0)
        ;
}

static NOINLINE void serve_for_ever(void)
{
    for (;;)
        serve_client(take_client());
}

/* N workers, the same code path in each. The parent ends when they have. */
static int prefork(int workers)
{
    for (int i = 0; i < workers; i++) {
        pid_t pid = fork();
        if (pid < 0)
            err(99, "fork");
        if (pid == 0)
            serve_for_ever();
    }
    while (wait(NULL) > 0)
        ;
    return 0;
}

/* A process for each connection; both it and the parent forget to close. */
static int fork_each(void)
{
    for (;;) {
        int fd = take_client();
        pid_t pid = fork();
        if (pid < 0)
            err(99, "fork");
        if (pid == 0) {
            close(listener);
            serve_client(fd);
            pause();
        }
    }
}

static void become_daemon(void)
{
    pid_t pid = fork();

    if (pid < 0)
        err(99, "fork");
    if (pid)
        _exit(0);
    setsid();
    pid = fork();
    if (pid < 0)
        err(99, "fork");
    if (pid)
        _exit(0);
}

/* The next program has the sockets and knows nothing of them. */
static int hand_over(char *self, int clients)
{
    char program[] = "inherit", *arguments[] = {self, program, NULL};

    for (int i = 0; i < clients; i++)
        take_client();
    execv("/proc/self/exe", arguments);
    err(99, "exec");
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    int number = argc > 2 ? atoi(argv[2]) : 0;

    if (!strcmp(mode, "inherit")) {
        printf("inherited\n");
        fflush(stdout);
        for (;;)
            pause();
    }
    begin();
    if (!strcmp(mode, "prefork"))
        return prefork(number);
    if (!strcmp(mode, "fork-each"))
        return fork_each();
    if (!strcmp(mode, "exec"))
        return hand_over(argv[0], number);
    if (!strcmp(mode, "daemon"))
        become_daemon();
    else if (strcmp(mode, "alone") != 0)
        errx(98, "mode?");
    serve_for_ever();
}
