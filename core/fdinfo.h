/* /proc/PID/fdinfo/EPFD: what an epoll set holds, one line at a time.
 *
 * Pure: any thread, a signal handler, a forked child. Source: ep_show_fdinfo in the kernel's fs/eventpoll.c. */
#ifndef CORE_FDINFO_H
#define CORE_FDINFO_H

#include "core/view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Longest line worth reading, in bytes. */
#define CW_FDINFO_LINE_BYTES 256

/* One registration. */
struct cw_watch {
    uint64_t inode; /* of the file; only the low half is kept in records */
    int fd; /* the number that it was registered under: it may be closed since, and the file open under another */
    uint32_t mask; /* EPOLL* bits in force: a spent one-shot has no event left */
};

/* Reads one line (n bytes, without its newline): true if it is a registration, false (with *ret undefined) for any other. */
bool cw_fdinfo_watch(const char *line, size_t n, struct cw_watch *ret);

/* Whether it matters what a set holds of this socket: a listener or one in CLOSE_WAIT. */
bool cw_fdinfo_wanted(const struct cw_conn *conn);

/* All registrations of the set at this index in SETS, which it sorts: corrects WATCHED, the mask and the set of every record that
 * is wanted. One thread at a time per view. */
void cw_fdinfo_enter(struct cw_view *view, uint32_t set_index, struct cw_watch *watches, size_t n);

/* What the set at this index holds could not be had, for this errno (positive): the records stay as they are, and reports say so.
 * As cw_fdinfo_enter. */
void cw_fdinfo_refused(struct cw_view *view, uint32_t set_index, int error);

#endif
