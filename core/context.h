/* Context: what a socket's diagnosis needs of other records, gathered once per report.
 *
 * Pure; the caller lends the memory. One thread per view. */
#ifndef CORE_CONTEXT_H
#define CORE_CONTEXT_H

#include "core/resolve.h"
#include "core/view.h"

#include <stdbool.h>

enum { CW_LISTENERS_MAX = 64, CW_SYMBOLS_MAX = 16 /* inlined into one another at one frame */ };

struct cw_context_call {
    int32_t fd;
    uint32_t thread; /* index */
};

struct cw_context_fork {
    uint32_t thread; /* reference */
    uint32_t age;    /* how many came after it */
};

struct cw_context {
    const struct cw_view *view;
    const struct cw_resolver *resolver; /* may be NULL */
    struct cw_symbol *symbols;          /* room for CW_SYMBOLS_MAX */
    uint32_t *last_conn;                /* by thread index: the connection that it read or wrote last, 0 none */
    uint32_t n_threads;                 /* room in last_conn */
    uint32_t *first_waiter; /* by set index: a thread that waits on it, 0 none; NULL: no room, ask the records */
    uint32_t n_sets;        /* room in first_waiter */
    const struct cw_context_call *calls; /* threads that are inside a call on an fd, by fd; NULL: likewise */
    uint32_t n_calls;
    const struct cw_context_fork *forks;  /* those on record, by thread; NULL: likewise */
    uint32_t n_forks, fork_seq;           /* fork_seq: the counter when they were gathered */
    uint32_t listeners[CW_LISTENERS_MAX]; /* indices in CONNS of the listeners open now, the first ones */
    uint32_t n_listeners;
};

/* Bytes of memory that a context over this view takes. */
size_t cw_context_bytes(const struct cw_view *view);

/* Gathers; `memory`, of memory_bytes (cw_context_bytes; aligned for uint32_t), outlives *ret, as `symbols` does. */
void cw_context_gather(struct cw_context *ret, const struct cw_view *view, const struct cw_resolver *resolver,
                       struct cw_symbol *symbols, void *memory, size_t memory_bytes);

/* The listener that the connection came through, if exactly one open one has its local address, else NULL. Of several, that
 * where alone somebody waits, for a connection that does. */
const struct cw_conn *cw_context_listener(const struct cw_context *context, const struct cw_conn *conn);

/* The connection that the thread read or wrote last, NULL if none is known. */
const struct cw_conn *cw_context_last_conn(const struct cw_context *context, const struct cw_thread *thread);

/* The thread that is inside a call on this fd, NULL if none. */
const struct cw_thread *cw_context_in_call(const struct cw_context *context, int fd);

/* A thread that waits on this epoll set now, NULL if none. */
const struct cw_thread *cw_context_waiter(const struct cw_context *context, const struct cw_set *set);

/* The first fork of a thread (a reference) that raised the counter to at least seq; NULL if none is on record. */
const struct cw_fork *cw_context_fork(const struct cw_context *context, uint32_t thread, uint32_t seq);

/* Whether the code at a frame is an interpreter's evaluation loop, or compiled at run time: the same places then stand
 * for any function of the script. */
bool cw_context_interpreted(const struct cw_context *context, uint64_t frame);

/* Whether one of the functions at a frame has a name that begins so. */
bool cw_context_named(const struct cw_context *context, uint64_t frame, const char *prefix);

#endif
