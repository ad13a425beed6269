/* Copies of a socket, in this process and in others: held-elsewhere, left-to-child. */
#include "core/diagnosis.h"

/* One of several fds was closed after the socket had been used, and nothing was done with the others since. */
static bool copy_left(const struct cw_conn *conn)
{
    uint32_t used_ms = cw_later(cw_later(cw_touched_ms(conn), conn->ctl_ms), conn->polled_ms);
    return (conn->flags & CW_CONN_COPIED) && conn->copy_close_ms && used_ms && !cw_after(used_ms, conn->copy_close_ms);
}

static bool passed_on(const struct cw_conn *conn)
{
    uint32_t used_ms = cw_later(cw_later(cw_touched_ms(conn), conn->ctl_ms), conn->polled_ms);
    return (conn->flags & CW_CONN_SCM_SENT) && !cw_after(used_ms, conn->copy_close_ms);
}

/* Inherited over fork, or over exec, and never used here. */
static bool inherited_unused(const struct cw_conn *conn)
{
    return (conn->origin == CW_ORIGIN_FORKED || conn->origin == CW_ORIGIN_INHERITED) && !cw_used(conn);
}

bool cw_holds_held_elsewhere(const struct cw_facts *facts)
{
    return inherited_unused(facts->conn) || passed_on(facts->conn) || copy_left(facts->conn);
}

void cw_decides_held_elsewhere(const struct cw_facts *facts, struct cw_decision *ret)
{
    if (inherited_unused(facts->conn)) {
        if (facts->conn->origin != CW_ORIGIN_FORKED)
            return; /* the program before exec, or the parent of a spawn, was another */
        ret->stack = facts->view->header->fork_stack;
        ret->call = CW_CALL_fork;
        return;
    }
    ret->stack = facts->conn->copy_stack;
    ret->call = passed_on(facts->conn) ? CW_CALL_sendmsg : CW_CALL_dup;
}

const struct cw_fork *cw_fork_after_accept(const struct cw_facts *facts)
{
    const struct cw_context bare = {.view = facts->view,
                                    .fork_seq = (uint32_t)CW_GET(facts->view->header->counters[CW_COUNTER_forks])};
    const struct cw_context *context = facts->context ? facts->context : &bare;
    uint32_t index = (uint32_t)(facts->conn - facts->view->conns), seq = facts->conn->fork_seq + 1;
    uint32_t capacity = CW_GET(facts->view->header->sections[CW_SECTION_FORKS].capacity);

    if (capacity > facts->view->n_forks)
        capacity = facts->view->n_forks;
    const struct cw_fork *fork = cw_context_fork(context, facts->conn->open_thread, seq);
    if (!fork)
        return NULL;
    /* For those that the ring has lost the oldest left stands: a fork server forks in one place. */
    bool lost = context->fork_seq - seq >= capacity;
    bool same = fork->conn == index && (uint16_t)fork->conn_generation == facts->conn->generation;
    return same || (lost && fork->conn) ? fork : NULL;
}

bool cw_holds_left_to_child(const struct cw_facts *facts)
{
    return facts->conn->origin == CW_ORIGIN_ACCEPT && !cw_used(facts->conn) && facts->conn->open_thread &&
           cw_fork_after_accept(facts) != NULL;
}

void cw_decides_left_to_child(const struct cw_facts *facts, struct cw_decision *ret)
{
    const struct cw_fork *fork = cw_fork_after_accept(facts);
    ret->stack = fork ? fork->stack : 0;
    ret->call = CW_CALL_fork;
}
