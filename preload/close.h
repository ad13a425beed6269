/* Closing: what stands around every call that may close an fd.
 *
 * The kernel frees the number before close() returns, so the slot is marked first (core/table.h) and settled afterwards.
 * A connection that has been left alone for the grace period is looked at in the kernel before it goes: it may be "closed
 * late". A listener's accept queue likewise: closing it destroys what waits there. Any thread, a signal handler. */
#ifndef PRELOAD_CLOSE_H
#define PRELOAD_CLOSE_H

#include "preload/record.h"

struct cw_closing {
    int fd;
    uint64_t marked;     /* the slot's word, 0 when there is nothing to do */
    bool late;           /* the kernel said: leaked, until now */
    uint16_t queue_port; /* a listener's, of whose queue stock was taken */
    uint32_t queue_ms;   /* and when; 0: nothing was in it */
};

/* Before the real call. */
void cw_close_begin(struct cw_closing *closing, int fd);

/* After it. closed: the number is free (or means something else) now; false: still open as before. */
void cw_close_end(const struct cw_site *site, enum cw_call call, const struct cw_closing *closing, bool closed);

/* Whether close(), having returned `result` with this errno, has freed the number: on Linux it has, whatever the error,
 * but for a filter's or a cancelled call's (close(2), NOTES). */
bool cw_close_freed(int result, int error);

/* Every known fd in [first, last]: the real call closes them all. At most this many are settled one by one; they are kept in
 * memory of our own, not on a stack that may be small. */
#define CW_CLOSE_RANGE_MAX 256
struct cw_closing_range {
    unsigned first, last, n, room;
    struct cw_closing *each;
};
void cw_close_range_begin(struct cw_closing_range *range, unsigned first, unsigned last);
void cw_close_range_end(const struct cw_site *site, enum cw_call call, const struct cw_closing_range *range,
                        bool closed);

/* A record's fd turned out to mean something else: forget it, counted as a close that no hook saw. word: the slot's. */
void cw_close_unseen(uint64_t word);

/* Before shutdown() or close() of a listener: takes stock of its accept queue. Returns when, 0 if nothing was in it. */
uint32_t cw_listener_stock(struct cw_conn *listener, int fd);
/* A listener is gone. */
void cw_listener_closed(uint32_t now_ms);

#endif
