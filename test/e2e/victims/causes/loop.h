/* Waiting for many sockets, in each of the event styles that servers use; one struct loop per waiting thread.
 *
 * Made for victims: no error is handled but by ending the program with exit code 99. */
#ifndef CAUSES_LOOP_H
#define CAUSES_LOOP_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdbool.h>
#include <stdint.h>

/* In the order of the matrix's columns: constant, name on the command line. */
#define STYLES(X)                                                                                                      \
    X(THREADS, "threads")                                                                                              \
    X(SELECT, "select")                                                                                                \
    X(POLL, "poll")                                                                                                    \
    X(LEVEL, "level")                                                                                                  \
    X(EDGE, "edge")                                                                                                    \
    X(ONESHOT, "oneshot")

enum style {
#define STYLE(constant, name) STYLE_##constant,
    STYLES(STYLE)
#undef STYLE
        STYLE_COUNT
};

enum { LOOP_FDS = 64, LOOP_TICK_MS = 50 };

struct loop {
    enum style style;
    int epoll_fd;
    int n;
    struct {
        int fd;
        bool paused;
    } fds[LOOP_FDS]; /* of select and poll */
};

/* Ends the program with the place and errno's text if the condition does not hold. */
#define MUST(x) ((x) ? (void)0 : must_failed(__FILE__, __LINE__, #x))
_Noreturn void must_failed(const char *file, int line, const char *what);

void loop_open(struct loop *loop, enum style style);
static inline bool loop_is_epoll(const struct loop *loop)
{
    return loop->style >= STYLE_LEVEL;
}

/* From now on loop_wait tells of data, of connections to accept, and of the peer's end. */
void loop_watch(struct loop *loop, int fd);

/* Likewise, but of the peer's end alone (select knows no such thing: there it is the same as loop_watch). */
void loop_watch_end(struct loop *loop, int fd);

/* One-shot: tell me again. Otherwise nothing. */
void loop_rearm(struct loop *loop, int fd);

/* Stays registered, but neither data nor the end is told of. One-shot: it is not armed again. */
void loop_pause(struct loop *loop, int fd);

/* Takes it out of the set. */
void loop_forget(struct loop *loop, int fd);

/* Waits, for ever if timeout_ms is -1; returns how many fds of ret_ready (room for LOOP_FDS) are ready. */
int loop_wait(struct loop *loop, int timeout_ms, int *ret_ready);

#endif
