/* Inside the diagnoses: the functions that core/diagnoses.inc names, and what several of them ask. Pure. */
#ifndef CORE_DIAGNOSIS_H
#define CORE_DIAGNOSIS_H

#include "core/ages.h"
#include "core/atomic.h"
#include "core/diagnose.h"

#define CW_DIAGNOSIS(constant, id, severity, title, sentence, recognised, advice, next, decided, evidence, threads,    \
                     function)                                                                                         \
    bool cw_holds_##function(const struct cw_facts *facts);                                                            \
    void cw_decides_##function(const struct cw_facts *facts, struct cw_decision *ret);
#include "core/diagnoses.inc"

/* The end of stream itself wakes who waits: times this near to it say nothing of their order (the coarse clock and
 * tcpi_last_ack_recv count in jiffies). */
enum { CW_WAKE_MS = 100 };

static inline bool cw_has(const struct cw_facts *facts, uint32_t flags)
{
    return (facts->conn->flags & flags) != 0;
}

/* Its last read or write, 0 never. */
static inline uint32_t cw_touched_ms(const struct cw_conn *conn)
{
    return cw_later(conn->in_last_ms, conn->out_last_ms);
}

/* Whether this process has done anything with it but opening it. Through stdio it may have been used unseen. */
static inline bool cw_used(const struct cw_conn *conn)
{
    const uint32_t flags = CW_CONN_WAS_WATCHED | CW_CONN_POLLED | CW_CONN_STDIO;
    return conn->in_first_ms || conn->out_first_ms || (conn->flags & flags);
}

/* Where and by what call it was read or written last. */
static inline void cw_decides_last_touch(const struct cw_conn *conn, struct cw_decision *ret)
{
    bool out = cw_after(conn->out_last_ms, conn->in_last_ms);

    if (conn->out_last_ms && conn->out_last_ms == conn->in_last_ms) /* in one tick of the clock */
        out = (conn->flags & CW_CONN_LAST_WAS_OUT) && conn->in_last_res > 0;
    ret->stack = conn->touch_stack;
    ret->call = out ? conn->out_call : conn->in_call;
}

/* The epoll set that it is in; NULL if it is in none, or in one that is not on record. */
static inline const struct cw_set *cw_set_of(const struct cw_facts *facts)
{
    return cw_has(facts, CW_CONN_WATCHED) ? cw_view_set(facts->view, facts->conn->epoll_set) : NULL;
}

/* Whether a thread is waiting on the set now. */
bool cw_set_waited_on(const struct cw_facts *facts, const struct cw_set *set);

#endif
