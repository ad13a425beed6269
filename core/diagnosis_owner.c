/* The thread that has to serve the connection: owner-stuck, owner-gone. */
#include "core/diagnosis.h"
#include "core/syscalls.h"

#include <string.h>
#include <sys/syscall.h>

/* Gone, or on its way out in an orderly way: exit() was called in it, and our report runs there. */
static bool leaving(const struct cw_view *view, const struct cw_thread *thread)
{
    const struct cw_ledger *header = view->header;
    return thread->exit_ms || thread->k_state == 'X' || thread->k_state == 'Z' ||
           (header->ended == CW_ENDED_EXIT && thread == cw_view_thread(view, header->end_thread));
}

/* When it was last seen to do something with a socket. */
static uint32_t last_seen_ms(const struct cw_facts *facts, const struct cw_thread *thread)
{
    const struct cw_conn *last = cw_context_last_conn(facts->context, thread);
    return cw_later(thread->wait_ms, last ? cw_touched_ms(last) : 0);
}

static bool waits_for_lock(const struct cw_thread *thread)
{
    return thread->k_ms && thread->k_syscall >= 0 && thread->k_object && !cw_syscall_takes_fd(thread->k_syscall);
}

/* How many frames, from the outside, two stacks have in common. */
static unsigned common_base(const uint64_t *a, unsigned n_a, const uint64_t *b, unsigned n_b)
{
    unsigned n = 0;
    while (n < n_a && n < n_b && a[n_a - 1 - n] == b[n_b - 1 - n])
        n++;
    return n;
}

/* Blocked in a read from another client: one that it has accepted later, or whose last request it has answered. That is what a
 * thread does that serves one client after the other; the frames around that read are those of its turn, not of an earlier
 * one's. */
static bool waits_for_request(const struct cw_facts *facts, const struct cw_thread *thread)
{
    int nr = thread->k_syscall;

    if (!thread->k_ms || (nr != SYS_read && nr != SYS_readv && nr != SYS_recvfrom && nr != SYS_recvmsg))
        return false;
    const struct cw_conn *other = cw_slot_conn(facts->view, thread->k_object);
    if (!other || other == facts->conn || other->origin != CW_ORIGIN_ACCEPT)
        return false;
    return !cw_after(facts->conn->open_ms, other->open_ms) ||
           (other->in_first_ms && (other->flags & CW_CONN_LAST_WAS_OUT));
}

/* What std::thread puts between the thread's start and its own function. */
static bool is_plumbing(const struct cw_facts *facts, uint64_t frame)
{
    const struct cw_module *module = cw_view_module(facts->view, CW_FRAME_MODULE(frame));

    return !module || module->kind == CW_MODULE_LIBC || module->kind == CW_MODULE_LOADER ||
           cw_context_named(facts->context, frame, "std::") ||
           strstr(cw_view_string(facts->view, module->path), "libstdc++");
}

/* Nothing says what the thread looks like when it is idle: it never waited in a call that we see. Its own main function may
 * well wait for work, and what that calls, over and over from one place; only the function that made the call itself counts
 * then, or a call that no idle thread is in. */
static bool surely_busy(const struct cw_facts *facts, const struct cw_thread *thread, unsigned live, uint64_t frame)
{
    if (waits_for_lock(thread))
        return true;
    if (is_plumbing(facts, frame))
        return false;
    if (live == 1 || !thread->k_ms)
        return live == 1;
    bool on_cpu = thread->k_syscall == CW_SYSCALL_NONE, on_fd = cw_syscall_takes_fd(thread->k_syscall);
    return on_cpu || (on_fd && cw_slot_conn(facts->view, thread->k_object) != NULL);
}

/* First form: the function that used the socket last has not returned. Only frames count that its thread does not also have
 * when it waits for work, and none inside an interpreter, whose frames serve every function of the script. */
static bool handler_active(const struct cw_facts *facts, const struct cw_thread *thread)
{
    const struct cw_conn *conn = facts->conn;
    const uint64_t *frames, *base;
    unsigned flags = 0, base_flags = 0, live = conn->k_live;
    unsigned n = cw_view_stack(facts->view, conn->touch_stack, &frames, &flags);

    if (!live || live >= n || cw_age(facts->now_ms, last_seen_ms(facts, thread)) < facts->grace_ms)
        return false;
    if (waits_for_request(facts, thread))
        return false;
    /* Blocked since it used another: around that the frames may be those of another turn. */
    if (live > 1 && thread->k_ms && thread->k_syscall >= 0 && !waits_for_lock(thread) &&
        cw_context_last_conn(facts->context, thread) != conn)
        return false;
    unsigned n_base = cw_view_stack(facts->view, thread->wait_stack, &base, &base_flags);
    /* Stacks whose outer frames are missing cannot be laid side by side. */
    if ((flags || base_flags) && !waits_for_lock(thread))
        return false;
    if (live >= n - common_base(frames, n, base, n_base))
        return false;
    if (!n_base && !surely_busy(facts, thread, live, frames[live]))
        return false;
    for (unsigned i = live; i < n; i++)
        if (cw_context_interpreted(facts->context, frames[i]))
            return false;
    return true;
}

/* The same before the first use: the thread that has accepted it waits for a lock since. */
static const struct cw_thread *opener_locked(const struct cw_facts *facts)
{
    const struct cw_thread *thread = cw_view_thread(facts->view, facts->conn->open_thread);

    if (facts->conn->origin != CW_ORIGIN_ACCEPT || cw_used(facts->conn) || !thread || thread->in_wait ||
        leaving(facts->view, thread) || !waits_for_lock(thread))
        return NULL;
    bool since = !cw_after(thread->wait_ms, facts->conn->open_ms + CW_WAKE_MS);
    return since && cw_age(facts->now_ms, facts->conn->open_ms) >= facts->grace_ms ? thread : NULL;
}

/* Second form: nobody has come back to wait on its set. */
static const struct cw_thread *loop_stuck(const struct cw_facts *facts)
{
    const struct cw_conn *conn = facts->conn;
    const struct cw_set *set = cw_set_of(facts);
    const struct cw_thread *thread;
    uint32_t waited_ms;

    if (set) {
        thread = cw_view_thread(facts->view, set->return_thread);
        waited_ms = cw_later(set->return_ms, set->idle_ms);
        if (cw_set_waited_on(facts, set))
            return NULL;
    } else {
        if (cw_has(facts, CW_CONN_WAS_WATCHED) || !cw_has(facts, CW_CONN_POLLED))
            return NULL;
        thread = cw_view_thread(facts->view, conn->ctl_thread);
        waited_ms = conn->polled_ms;
        /* It has waited since, without this socket: it is not stuck, it has dropped it. */
        if (!thread || thread->in_wait || cw_age(thread->wait_ms, waited_ms) > CW_WAKE_MS)
            return NULL;
    }
    if (!thread || leaving(facts->view, thread) || !waited_ms || !conn->fin_ms)
        return NULL;
    if (cw_after(waited_ms, conn->fin_ms) && cw_age(waited_ms, conn->fin_ms) > CW_WAKE_MS)
        return NULL;
    return cw_age(facts->now_ms, waited_ms) >= facts->grace_ms ? thread : NULL;
}

/* Third form: stopped by a signal before the peer has closed, so that nobody could see it. */
static const struct cw_thread *stopped(const struct cw_facts *facts)
{
    const struct cw_conn *conn = facts->conn;
    const struct cw_set *set = cw_set_of(facts);
    const uint32_t owners[] = {set ? set->return_thread : 0, conn->ctl_thread, conn->touch_thread, conn->open_thread};

    for (size_t i = 0; i < sizeof owners / sizeof *owners; i++) {
        const struct cw_thread *thread = cw_view_thread(facts->view, owners[i]);
        if (!thread)
            continue;
        bool since = conn->fin_ms && cw_age(last_seen_ms(facts, thread), conn->fin_ms) <= CW_WAKE_MS;
        return thread->k_ms && thread->k_state == 'T' && since && !cw_has(facts, CW_CONN_EOF_SEEN) ? thread : NULL;
    }
    return NULL;
}

const struct cw_thread *cw_stuck_thread(const struct cw_facts *facts)
{
    const struct cw_thread *thread = cw_view_thread(facts->view, facts->conn->touch_thread);

    if (thread && !leaving(facts->view, thread) && handler_active(facts, thread))
        return thread;
    thread = opener_locked(facts);
    if (!thread)
        thread = loop_stuck(facts);
    return thread ? thread : stopped(facts);
}

bool cw_holds_owner_stuck(const struct cw_facts *facts)
{
    /* What its thread does now says nothing of a socket that is closed by now. */
    return !cw_has(facts, CW_CONN_LATE) && cw_stuck_thread(facts) != NULL;
}

/* Its stack where it could be had, else where it was last seen: at the connection that it is stuck on, or at the wait. */
void cw_decides_owner_stuck(const struct cw_facts *facts, struct cw_decision *ret)
{
    const struct cw_thread *thread = cw_stuck_thread(facts);
    const struct cw_conn *last = cw_context_last_conn(facts->context, thread);

    if (!thread)
        return;
    ret->grouped = CW_GROUPED_BY_DECISION;
    ret->part = (uint32_t)(thread - facts->view->threads);
    if (thread->k_stack) {
        ret->stack = thread->k_stack;
    } else if (last && !cw_after(thread->wait_ms, cw_touched_ms(last))) {
        cw_decides_last_touch(last, ret);
    } else {
        ret->stack = thread->wait_stack;
        ret->call = thread->wait_call;
    }
}

/* An orderly shutdown closes the listeners first, and joins the workers then. */
static uint32_t end_began_ms(const struct cw_facts *facts)
{
    const struct cw_ledger *header = facts->view->header;
    uint32_t end_ms = header->end_ms ? header->end_ms : facts->now_ms;
    return header->listeners_closed_ms && cw_after(end_ms, header->listeners_closed_ms) ? header->listeners_closed_ms
                                                                                        : end_ms;
}

/* Only one thread has used it, or waited on its set; an acceptor that has handed it over before its first use does not count. */
bool cw_holds_owner_gone(const struct cw_facts *facts)
{
    const struct cw_conn *conn = facts->conn;
    const struct cw_set *set = cw_set_of(facts);
    uint32_t owner = conn->touch_thread ? conn->touch_thread : set ? set->return_thread : 0;
    const struct cw_thread *thread = cw_view_thread(facts->view, owner ? owner : conn->open_thread);
    uint32_t end_ms = end_began_ms(facts);

    if (!thread || !thread->exit_ms || cw_has(facts, CW_CONN_SHARED) || cw_after(cw_touched_ms(conn), thread->exit_ms))
        return false;
    return !cw_after(thread->exit_ms, end_ms) && cw_age(end_ms, thread->exit_ms) >= facts->grace_ms;
}

void cw_decides_owner_gone(const struct cw_facts *facts, struct cw_decision *ret)
{
    cw_decides_last_touch(facts->conn, ret);
}
