/* What every victim shares: the control channel to the test runner, and the usual server's first steps.
 *
 * A victim writes a request line on its control channel and waits for the answer: "connect PORT N FAMILY" (be N
 * clients), "fin" (close them; answered once the kernel shows CLOSE_WAIT), "end PID" (compare with ss, then end me or
 * answer "go").
 * The channel is stdin and stdout, or the two fds that E2E_CTL names. At the end of file every answer is "go". */
#ifndef VICTIM_H
#define VICTIM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, unused))
#define MAYBE __attribute__((unused))
#define MUST(x)                                                                                                        \
    do {                                                                                                               \
        if (!(x)) {                                                                                                    \
            dprintf(ctl_out, "victim: %s:%d: %s: %s\n", __FILE__, __LINE__, #x, strerror(errno));                      \
            _exit(99);                                                                                                 \
        }                                                                                                              \
    } while (0)

static int ctl_in = 0, ctl_out = 1;

/* Called first in main. */
MAYBE static void victim_begin(void)
{
    const char *ctl = getenv("E2E_CTL");
    if (ctl != NULL && sscanf(ctl, "%d,%d", &ctl_in, &ctl_out) != 2)
        _exit(98);
}

/* Moves the channel out of the way of programs that redirect 0, 1 and 2. */
MAYBE static void victim_move_channel(void)
{
    ctl_in = fcntl(ctl_in, F_DUPFD, 20);
    ctl_out = fcntl(ctl_out, F_DUPFD, 20);
    MUST(ctl_in >= 0 && ctl_out >= 0);
}

/* The answer, or NULL if a signal handler interrupted the wait. */
MAYBE static const char *victim_answer(void)
{
    static char line[128];
    size_t n = 0;
    while (n < sizeof line - 1) {
        ssize_t got = read(ctl_in, line + n, 1);
        if (got < 0 && errno == EINTR)
            return NULL;
        if (got <= 0)
            return "go";
        if (line[n] == '\n')
            break;
        n++;
    }
    line[n] = 0;
    return line;
}

__attribute__((format(printf, 1, 2), unused)) static const char *ask(const char *format, ...)
{
    char line[128];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    MUST(n > 0 && n < (int)sizeof line - 1);
    line[n++] = '\n';
    MUST(write(ctl_out, line, (size_t)n) == n);
    return victim_answer();
}

__attribute__((format(printf, 1, 2), unused)) static void say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vdprintf(ctl_out, format, args);
    va_end(args);
}

/* The last thing before a victim ends: its sockets are compared with ss here. */
MAYBE static const char *end_here(void)
{
    return ask("end %d", (int)getpid());
}

/* Waits for the answer to a line already said as an event loop does, going round: the shim works on the way through. */
MAYBE static void answer_in_loop(void)
{
    struct pollfd input = {.fd = ctl_in, .events = POLLIN, .revents = 0};
    while (poll(&input, 1, 50) <= 0)
        ;
    victim_answer();
}

MAYBE static void end_in_loop(void)
{
    say("end %d\n", (int)getpid());
    answer_in_loop();
}

MAYBE static uint16_t port_of(int fd)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    MUST(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

/* The functions that reports are expected to name: not static, so that .dynsym (-rdynamic) has their names too. */
int listen_on(int family);
int accept_client(int listener);
void take_clients(int listener, int n, int *ret_fds);
void on_readable(int fd);

/* A listener on an ephemeral loopback port. AF_INET6: on all addresses, so that IPv4 arrives mapped. */
NOINLINE int listen_on(int family)
{
    int fd = socket(family, SOCK_STREAM, 0);
    MUST(fd >= 0);
    if (family == AF_INET6) {
        struct sockaddr_in6 any;
        memset(&any, 0, sizeof any);
        any.sin6_family = AF_INET6;
        MUST(bind(fd, (struct sockaddr *)&any, sizeof any) == 0);
    } else {
        struct sockaddr_in loopback;
        memset(&loopback, 0, sizeof loopback);
        loopback.sin_family = AF_INET;
        loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        MUST(bind(fd, (struct sockaddr *)&loopback, sizeof loopback) == 0);
    }
    MUST(listen(fd, 128) == 0);
    return fd;
}

NOINLINE int accept_client(int listener)
{
    int fd = accept(listener, NULL, NULL);
    MUST(fd >= 0);
    return fd;
}

/* n clients, accepted. */
NOINLINE void take_clients(int listener, int n, int *ret_fds)
{
    ask("connect %d %d 4", port_of(listener), n);
    for (int i = 0; i < n; i++)
        ret_fds[i] = accept_client(listener);
}

/* Reads to the end of stream, and forgets to close. */
NOINLINE void on_readable(int fd)
{
    char buf[256];
    ssize_t n;
    do
        n = read(fd, buf, sizeof buf);
    while (n > 0);
    MUST(n == 0);
}

#endif
