/* Usage: scale SOCKETS
 * Leaves SOCKETS connections in CLOSE_WAIT, by 200 functions of six kinds: connection n is accepted and mishandled by
 * path_(n mod 200), and path_i has cause i mod 6. Prints "ready PORT", "accepted" when it has them all, and, told by a
 * line on stdin that their peers have closed, "done" when epoll has said so too. Then it waits to be killed. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define INLINE inline __attribute__((always_inline)) /* into each path: a call there has a place of its own */
#define MUST(x) ((x) ? (void)0 : must_failed(__LINE__, #x))

enum { PATHS = 200, EVENTS = 4096 };
enum phase { PHASE_ACCEPT, PHASE_PEER_CLOSED };

static int listener, loop_set, watched_set;

static _Noreturn void must_failed(int line, const char *what)
{
    dprintf(1, "victim: line %d: %s: %s\n", line, what, strerror(errno));
    _exit(99);
}

static INLINE void read_one_request(int fd)
{
    char request[16];
    MUST(recv(fd, request, sizeof request, 0) > 0);
}

static INLINE void watch(int set, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0);
}

/* --- the six causes: what the path does with a new connection, and when its peer has closed --- */

static INLINE void eof_not_closed(int fd, enum phase phase)
{
    char end;
    if (phase == PHASE_ACCEPT)
        read_one_request(fd);
    else
        MUST(recv(fd, &end, 1, 0) == 0);
}

static INLINE void never_watched(int fd, enum phase phase)
{
    (void)fd, (void)phase;
}

static INLINE void unwatched(int fd, enum phase phase)
{
    if (phase == PHASE_PEER_CLOSED)
        return;
    watch(loop_set, fd, EPOLLIN);
    read_one_request(fd);
    MUST(epoll_ctl(loop_set, EPOLL_CTL_DEL, fd, NULL) == 0);
}

static INLINE void abandoned(int fd, enum phase phase)
{
    if (phase == PHASE_ACCEPT)
        read_one_request(fd);
}

static INLINE void held_elsewhere(int fd, enum phase phase)
{
    if (phase == PHASE_PEER_CLOSED)
        return;
    read_one_request(fd);
    MUST(dup(fd) >= 0);
    close(fd);
}

/* Watched for its end, edge-triggered, in a set whose events nobody acts on. */
static INLINE void event_ignored(int fd, enum phase phase)
{
    if (phase == PHASE_ACCEPT)
        watch(watched_set, fd, EPOLLRDHUP | EPOLLET);
}

/* --- 200 functions, each with a place of its own for each call --- */

static INLINE int go(int fd, enum phase phase, void (*cause)(int, enum phase))
{
    if (phase == PHASE_ACCEPT)
        MUST((fd = accept(listener, NULL, NULL)) >= 0);
    cause(fd, phase);
    return fd;
}

#define CAUSE_OF(n)                                                                                                    \
    ((n) % 6 == 0   ? eof_not_closed                                                                                   \
     : (n) % 6 == 1 ? never_watched                                                                                    \
     : (n) % 6 == 2 ? unwatched                                                                                        \
     : (n) % 6 == 3 ? abandoned                                                                                        \
     : (n) % 6 == 4 ? held_elsewhere                                                                                   \
                    : event_ignored)

#define TEN(X, tens)                                                                                                   \
    X(tens, 0) X(tens, 1) X(tens, 2) X(tens, 3) X(tens, 4) X(tens, 5) X(tens, 6) X(tens, 7) X(tens, 8) X(tens, 9)
/* clang-format off */
#define TWO_HUNDRED(X) \
    TEN(X, 0) TEN(X, 1) TEN(X, 2) TEN(X, 3) TEN(X, 4) \
    TEN(X, 5) TEN(X, 6) TEN(X, 7) TEN(X, 8) TEN(X, 9) \
    TEN(X, 10) TEN(X, 11) TEN(X, 12) TEN(X, 13) TEN(X, 14) \
    TEN(X, 15) TEN(X, 16) TEN(X, 17) TEN(X, 18) TEN(X, 19)
/* clang-format on */

#define PATH(tens, units)                                                                                              \
    static NOINLINE int path_##tens##units(int fd, enum phase phase)                                                   \
    {                                                                                                                  \
        return go(fd, phase, CAUSE_OF(10 * tens + units));                                                             \
    }
TWO_HUNDRED(PATH)

static int (*const paths[PATHS])(int, enum phase) = {
#define ROW(tens, units) path_##tens##units,
    TWO_HUNDRED(ROW)
#undef ROW
};

static void raise_fd_limit(void)
{
    struct rlimit limit;
    MUST(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max < 20000 ? limit.rlim_max : 20000;
    MUST(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int n = argc > 1 ? atoi(argv[1]) : 0;
    int *fds = calloc((size_t)n + 1, sizeof *fds);
    static struct epoll_event events[EVENTS];
    char line[16];

    MUST(n > 0 && fds);
    raise_fd_limit();
    MUST((loop_set = epoll_create1(0)) >= 0 && (watched_set = epoll_create1(0)) >= 0);
    MUST((listener = socket(AF_INET, SOCK_STREAM, 0)) >= 0);
    MUST(bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 1024) == 0);
    MUST(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    dprintf(1, "ready %d\n", ntohs(address.sin_port));

    for (int i = 0; i < n; i++)
        fds[i] = paths[i % PATHS](-1, PHASE_ACCEPT);
    dprintf(1, "accepted\n");
    MUST(read(0, line, sizeof line) > 0);
    for (int i = 0; i < n; i++)
        paths[i % PATHS](fds[i], PHASE_PEER_CLOSED);
    for (;;) {
        MUST(epoll_wait(watched_set, events, EVENTS, -1) > 0);
        dprintf(1, "done\n");
    }
}
