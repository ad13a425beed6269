/* The thread that has to serve the connection: owner-stuck, owner-gone. */
#include "core/diagnosis.h"
#include "core/syscalls.h"

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

/* Blocked in a read for a client's next request, having answered the one before: what a thread that serves one client after the other does when idle. The
 * frames around that read may be those of an earlier one, for another socket, over again. */
static bool waits_for_request(const struct cw_facts *facts, const struct cw_thread *thread)
{
    int fd = thread->k_object, nr = thread->k_syscall;

    if (!thread->k_ms || (nr != SYS_read && nr != SYS_readv && nr != SYS_recvfrom && nr != SYS_recvmsg))
        return false;
    if (fd <= 0 || (uint32_t)fd >= facts->view->n_slots || CW_SLOT_KIND(facts->view->slots[fd]) != CW_SLOT_CONN)
        return false;
    const struct cw_conn *other = cw_view_conn(facts->view, CW_SLOT_INDEX(facts->view->slots[fd]));
    return other && other != facts->conn && other->origin == CW_ORIGIN_ACCEPT && other->in_first_ms &&
           (other->flags & CW_CONN_LAST_WAS_OUT);
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
    unsigned n_base = cw_view_stack(facts->view, thread->wait_stack, &base, &base_flags);
    /* Stacks whose outer frames are missing cannot be laid side by side. */
    if ((flags || base_flags) && !waits_for_lock(thread))
        return false;
    if (live >= n - common_base(frames, n, base, n_base))
        return false;
    if (!n_base && !waits_for_lock(thread)) {
        /* Nothing says what it looks like when idle; its own main function may well wait for work. */
        const struct cw_module *module = cw_view_module(facts->view, CW_FRAME_MODULE(frames[live]));
        if (!module || module->kind == CW_MODULE_LIBC || module->kind == CW_MODULE_LOADER)
            return false;
        /* A condition variable, as far as can be told: what an idle worker waits for. */
        if (thread->k_ms && thread->k_syscall == SYS_futex)
            return false;
    }
    for (unsigned i = live; i < n; i++)
        if (cw_context_interpreted(facts->context, frames[i]))
            return false;
    return true;
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
        if (cw_set_waited_on(facts->view, set))
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

const struct cw_thread *cw_stuck_thread(const struct cw_facts *facts)
{
    const struct cw_thread *thread = cw_view_thread(facts->view, facts->conn->touch_thread);

    if (thread && !leaving(facts->view, thread) && handler_active(facts, thread))
        return thread;
    return loop_stuck(facts);
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
    ret->one_group = true;
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

/* Only one thread has used it; an acceptor that has handed it over before its first use does not count. */
bool cw_holds_owner_gone(const struct cw_facts *facts)
{
    const struct cw_conn *conn = facts->conn;
    const struct cw_thread *thread =
        cw_view_thread(facts->view, conn->touch_thread ? conn->touch_thread : conn->open_thread);
    uint32_t end_ms = facts->view->header->end_ms ? facts->view->header->end_ms : facts->now_ms;

    if (!thread || !thread->exit_ms || cw_has(facts, CW_CONN_SHARED) || cw_after(cw_touched_ms(conn), thread->exit_ms))
        return false;
    return !cw_after(thread->exit_ms, end_ms) && cw_age(end_ms, thread->exit_ms) >= facts->grace_ms;
}

void cw_decides_owner_gone(const struct cw_facts *facts, struct cw_decision *ret)
{
    cw_decides_last_touch(facts->conn, ret);
}
