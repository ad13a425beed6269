/* never-accepted: connections in a listener's queue. */
#include "core/diagnosis.h"
#include "core/outside_words.h"
#include "core/waitset.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>

const struct cw_listener_variant cw_listener_variants[CW_LISTENER_VARIANT_COUNT] = {
#define CW_LISTENER_VARIANT(constant, id, words, advice, next) [CW_LISTENER_##constant] = {id, words, advice, next},
#include "core/listener_variants.inc"
};

enum { STOPPING_MS = 1000 };

/* accept(2): no room for another fd or socket. The connection stays in the queue. */
static bool out_of_room(int32_t result)
{
    return result == -EMFILE || result == -ENFILE || result == -ENOBUFS || result == -ENOMEM;
}

/* What its record says. */
static enum cw_listener_variant_id recorded(const struct cw_conn *listener)
{
    bool watched = listener->flags & CW_CONN_WATCHED, was_watched = listener->flags & CW_CONN_WAS_WATCHED;
    bool polled = listener->flags & CW_CONN_POLLED;
    /* Taken out because it was about to be closed. */
    bool stopping = (listener->flags & CW_CONN_LATE) && cw_age(listener->close_ms, listener->ctl_ms) < STOPPING_MS;
    if (listener->in_last_ms && out_of_room(listener->in_last_res))
        return CW_LISTENER_ACCEPT_FAILS;
    if (was_watched && !stopping && (!watched || !(listener->epoll_mask & EPOLLIN)) &&
        !cw_after(listener->polled_ms, listener->ctl_ms))
        return CW_LISTENER_TAKEN_OUT;
    if (!was_watched && polled && !(listener->poll_mask & POLLIN))
        return CW_LISTENER_TAKEN_OUT;
    if (!was_watched && !polled && !listener->in_first_ms)
        return CW_LISTENER_NEVER_REGISTERED;
    return CW_LISTENER_ACCEPTOR_BUSY;
}

/* Who polls for it is inside such a call now, and what it asked for was read: this listener was not among it. */
static bool left_out(const struct cw_view *view, const struct cw_conn *listener)
{
    const struct cw_thread *thread = cw_view_thread(view, listener->ctl_thread);
    return !(listener->flags & CW_CONN_WAS_WATCHED) && (listener->flags & CW_CONN_POLLED) && thread && thread->k_ms &&
           cw_waitset_is(thread->k_syscall) && cw_after(thread->k_ms, listener->polled_ms);
}

static bool forked_since(const struct cw_view *view, const struct cw_conn *listener)
{
    uint32_t forks = view->header ? (uint32_t)view->header->counters[CW_COUNTER_forks] - listener->fork_seq : 0;
    return forks && forks <= INT32_MAX;
}

enum cw_listener_variant_id cw_listener_variant(const struct cw_view *view, const struct cw_conn *listener)
{
    if (!listener || cw_is_outside(view))
        return CW_LISTENER_UNKNOWN;
    enum cw_listener_variant_id variant = recorded(listener);
    const struct cw_thread *thread = cw_listener_acceptor(view, listener);

    /* A one-shot registration is spent from the event to the end of its handling, which has not come yet. */
    if (variant == CW_LISTENER_TAKEN_OUT && (listener->flags & CW_CONN_WATCHED) &&
        cw_oneshot_spent(listener->epoll_mask) && thread && !thread->in_wait)
        return CW_LISTENER_ACCEPTOR_BUSY;
    if (variant == CW_LISTENER_NEVER_REGISTERED && forked_since(view, listener))
        return CW_LISTENER_LEFT_TO_CHILDREN;
    return variant == CW_LISTENER_ACCEPTOR_BUSY && left_out(view, listener) ? CW_LISTENER_TAKEN_OUT : variant;
}

const struct cw_thread *cw_listener_acceptor(const struct cw_view *view, const struct cw_conn *listener)
{
    const struct cw_set *set =
        listener && (listener->flags & CW_CONN_WATCHED) ? cw_view_set(view, listener->epoll_set) : NULL;
    const struct cw_thread *thread = listener ? cw_view_thread(view, listener->touch_thread) : NULL;

    if (!thread && set)
        thread = cw_view_thread(view, set->return_thread);
    return thread || !listener ? thread : cw_view_thread(view, listener->ctl_thread);
}

bool cw_holds_never_accepted(const struct cw_facts *facts)
{
    return facts->conn->origin == CW_ORIGIN_QUEUED;
}

static void acceptor_stack(const struct cw_facts *facts, const struct cw_conn *listener, struct cw_decision *ret)
{
    const struct cw_thread *thread = cw_listener_acceptor(facts->view, listener);
    const struct cw_conn *last = cw_context_last_conn(facts->context, thread);

    if (thread && thread->k_stack) {
        ret->stack = thread->k_stack;
    } else if (last && cw_after(cw_touched_ms(last), listener->in_last_ms)) {
        cw_decides_last_touch(last, ret);
    } else if (listener->touch_stack) {
        ret->stack = listener->touch_stack;
        ret->call = listener->in_call;
    }
}

void cw_decides_never_accepted(const struct cw_facts *facts, struct cw_decision *ret)
{
    const struct cw_conn *listener = cw_context_listener(facts->context, facts->conn);

    ret->grouped = CW_GROUPED_BY_PART;
    ret->part = listener ? (uint32_t)(listener - facts->view->conns) : (uint32_t)facts->conn->local_port << 16;
    if (cw_is_outside(facts->view))
        ret->part = cw_outside_queue(facts->conn, listener);
    switch (cw_listener_variant(facts->view, listener)) {
    case CW_LISTENER_ACCEPT_FAILS:
        ret->stack = listener->touch_stack;
        ret->call = listener->in_call;
        return;
    case CW_LISTENER_TAKEN_OUT:
        if (listener->flags & CW_CONN_WAS_WATCHED) {
            ret->stack = listener->ctl_stack;
            ret->call = CW_CALL_epoll_ctl;
        }
        return;
    case CW_LISTENER_ACCEPTOR_BUSY:
        acceptor_stack(facts, listener, ret);
        return;
    default:
        return;
    }
}
