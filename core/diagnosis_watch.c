/* Whether anybody was told: reading-paused, event-ignored, unwatched, never-watched. */
#define _GNU_SOURCE /* POLLRDHUP */
#include "core/diagnosis.h"

#include <poll.h>
#include <sys/epoll.h>

bool cw_oneshot_spent(uint32_t epoll_mask)
{
    const uint32_t private_bits = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE;
    return (epoll_mask & EPOLLONESHOT) && !(epoll_mask & ~private_bits);
}

bool cw_set_waited_on(const struct cw_facts *facts, const struct cw_set *set)
{
    const struct cw_context bare = {.view = facts->view};
    return cw_context_waiter(facts->context ? facts->context : &bare, set) != NULL;
}

/* A set on which no thread waits or ever waited: nobody would be told. */
static bool dead_set(const struct cw_facts *facts)
{
    const struct cw_set *set = cw_set_of(facts);
    return set && !set->return_ms && !set->idle_ms && !cw_set_waited_on(facts, set);
}

/* In an epoll set with a mask that does not tell of data or of the end. HUP is told of always, but a CLOSE_WAIT is none:
 * EPOLLHUP needs both directions shut (net/ipv4/tcp.c, tcp_poll). */
static bool deaf(const struct cw_conn *conn)
{
    return (conn->flags & CW_CONN_WATCHED) && !(conn->epoll_mask & (EPOLLIN | EPOLLRDHUP));
}

/* Likewise in a poll or select set that it is still in. */
static bool poll_deaf(const struct cw_conn *conn)
{
    return cw_after(conn->polled_ms, cw_touched_ms(conn)) && cw_after(conn->polled_ms, conn->fin_ms) &&
           !(conn->flags & CW_CONN_WAS_WATCHED) && (conn->flags & CW_CONN_POLLED) &&
           !(conn->poll_mask & (POLLIN | POLLRDNORM | POLLRDHUP));
}

/* Recv-Q says nothing against it: it is 0 also when the FIN came while data was unread that was then read. */
bool cw_holds_reading_paused(const struct cw_facts *facts)
{
    const struct cw_conn *conn = facts->conn;

    /* Armed again after the last read, and spent by an event that nobody has read for: that event was ignored. */
    if (deaf(conn) && cw_oneshot_spent(conn->epoll_mask) && cw_after(conn->ctl_ms, conn->in_last_ms))
        return false;
    return conn->in_first_ms && !cw_has(facts, CW_CONN_EOF_SEEN) && (deaf(conn) || poll_deaf(conn));
}

void cw_decides_reading_paused(const struct cw_facts *facts, struct cw_decision *ret)
{
    if (!cw_has(facts, CW_CONN_WAS_WATCHED))
        return;
    ret->stack = facts->conn->ctl_stack;
    ret->call = CW_CALL_epoll_ctl;
}

/* Whether a wait on its set has returned since the end of stream came, with a mask that tells of it. A thread that waits
 * there now has been told as well: epoll_wait would not block with the event pending (epoll(7)). */
static bool epoll_delivered(const struct cw_facts *facts)
{
    const struct cw_conn *conn = facts->conn;
    const struct cw_set *set = cw_set_of(facts);

    if (!set || !set->return_ms)
        return false;
    if (cw_oneshot_spent(conn->epoll_mask))
        return true;
    if (deaf(conn) || !conn->fin_ms)
        return false;
    return cw_set_waited_on(facts, set) || !cw_after(conn->fin_ms, set->return_ms + CW_WAKE_MS);
}

bool cw_holds_event_ignored(const struct cw_facts *facts)
{
    const struct cw_conn *conn = facts->conn;

    if (cw_has(facts, CW_CONN_EOF_SEEN))
        return false;
    if (!cw_has(facts, CW_CONN_WAS_WATCHED))
        return conn->event_ms != 0;
    return epoll_delivered(facts) || cw_after(conn->event_ms, conn->ctl_ms);
}

void cw_decides_event_ignored(const struct cw_facts *facts, struct cw_decision *ret)
{
    const struct cw_set *set = cw_set_of(facts);

    if (set && epoll_delivered(facts)) {
        ret->stack = set->return_stack;
        ret->call = CW_CALL_epoll_wait;
    } else {
        ret->stack = facts->conn->event_stack;
        ret->call = facts->conn->event_call;
    }
}

bool cw_holds_unwatched(const struct cw_facts *facts)
{
    const struct cw_conn *conn = facts->conn;
    bool out = cw_has(facts, CW_CONN_WAS_WATCHED) && !cw_has(facts, CW_CONN_WATCHED);

    /* Pools take what is idle out of their sets, and look at it when they next need it. */
    if (cw_holds_idle_pooled(facts))
        return false;
    /* Used or waited for elsewhere since: then that was not what lost it. When an unseen call took it out is not known. */
    bool dated = deaf(conn) || conn->ctl_op == EPOLL_CTL_DEL;
    uint32_t since_ms = dated ? cw_later(conn->polled_ms, cw_touched_ms(conn)) : conn->polled_ms;
    return (out || deaf(conn)) && !cw_after(since_ms, conn->ctl_ms);
}

void cw_decides_unwatched(const struct cw_facts *facts, struct cw_decision *ret)
{
    /* When the set itself was closed, no epoll_ctl took the socket out. */
    if (!deaf(facts->conn) && facts->conn->ctl_op != EPOLL_CTL_DEL)
        return;
    ret->stack = facts->conn->ctl_stack;
    ret->call = CW_CALL_epoll_ctl;
}

bool cw_holds_never_watched(const struct cw_facts *facts)
{
    const struct cw_conn *conn = facts->conn;

    if (conn->origin == CW_ORIGIN_UNTRACKED || conn->in_first_ms || cw_has(facts, CW_CONN_STDIO))
        return false;
    /* poll was asked for it, but never for data or the end. */
    if (cw_has(facts, CW_CONN_POLLED) && (conn->event_ms || (conn->poll_mask & (POLLIN | POLLRDNORM | POLLRDHUP))))
        return false;
    return !cw_has(facts, CW_CONN_WAS_WATCHED) || dead_set(facts);
}

void cw_decides_never_watched(const struct cw_facts *facts, struct cw_decision *ret)
{
    (void)facts, (void)ret; /* where it was opened is all there is */
}
