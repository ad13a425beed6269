/* Evidence: what is known of those who should have served the sockets: listeners, threads, other processes. */
#include "core/ages.h"
#include "core/evidence_list.h"
#include "core/names.h"
#include "core/outside_words.h"
#include "core/syscalls.h"

#include <string.h>

/* --- words for a thread --- */

static void out_name(struct cw_out *out, const char *name, size_t bytes)
{
    for (size_t i = 0; i < bytes && name[i]; i++)
        cw_out_char(out, name[i]);
}

/* "thread 4243 (worker-1)" */
static void out_thread(struct cw_out *out, const struct cw_thread *thread)
{
    cw_out_str(out, "thread ");
    cw_out_i64(out, thread->tid);
    if (!thread->name[0])
        return;
    cw_out_str(out, " (");
    out_name(out, thread->name, sizeof(thread->name));
    cw_out_char(out, ')');
}

/* ", which waits for the lock that thread 4244 holds", "is in read on fd 7", "is on the CPU". False: not known. */
static bool out_doing(struct cw_out *out, const struct cw_thread *thread)
{
    if (thread->exit_ms || thread->k_state == 'X')
        cw_out_str(out, " exited");
    else if (!thread->k_ms)
        return false;
    else if (thread->k_state == 'T')
        cw_out_str(out, " is stopped by a signal (SIGCONT lets it go on)");
    else if (thread->k_syscall == CW_SYSCALL_UNKNOWN && (thread->k_state == 'S' || thread->k_state == 'D'))
        cw_out_str(out, " is blocked");
    else if (thread->k_syscall == CW_SYSCALL_UNKNOWN && thread->k_state != 'R')
        return false;
    else if (thread->k_syscall < 0)
        cw_out_str(out, thread->k_state == 'R' ? " is on the CPU" : " is between calls");
    else if (thread->k_object && !cw_syscall_takes_fd(thread->k_syscall)) {
        cw_out_str(out, " waits for a lock that ");
        if (thread->k_object == thread->tid) {
            cw_out_str(out, "it holds itself");
        } else {
            cw_out_str(out, "thread ");
            cw_out_i64(out, thread->k_object);
            cw_out_str(out, " holds");
        }
    } else {
        cw_out_str(out, " is in ");
        if (cw_syscall_name(thread->k_syscall))
            cw_out_str(out, cw_syscall_name(thread->k_syscall));
        else {
            cw_out_str(out, "system call ");
            cw_out_i64(out, thread->k_syscall);
        }
        if (thread->k_object && cw_syscall_takes_fd(thread->k_syscall)) {
            cw_out_str(out, " on fd ");
            cw_out_i64(out, thread->k_object);
        }
    }
    return true;
}

static const char *errno_name(int number)
{
    return cw_errno_name(number) ? cw_errno_name(number) : "refused";
}

/* The thread, what it is doing, and since when nothing was seen of it. */
static void add_thread(struct cw_evidence_list *list, const char *key, const struct cw_thread *thread)
{
    struct cw_out *out = cw_evidence_begin(list, key);
    uint32_t now_ms = list->report->in.now_ms;
    const struct cw_conn *last = cw_context_last_conn(&list->report->context, thread);

    if (!thread) {
        cw_out_str(out, "thread not known");
        cw_evidence_unavailable(list, "no call of it was seen, or its record was given to another");
        cw_evidence_end(list);
        return;
    }
    out_thread(out, thread);
    if (!out_doing(out, thread))
        cw_out_str(out, ", its present state is not known");
    uint32_t seen_ms = cw_later(thread->wait_ms, last ? cw_later(last->in_last_ms, last->out_last_ms) : 0);
    if (thread->exit_ms) {
        cw_out_char(out, ' ');
        cw_out_age(out, cw_age(now_ms, thread->exit_ms));
        cw_out_str(out, " ago");
    } else if (seen_ms) {
        cw_out_str(out, ", last seen ");
        cw_out_age(out, cw_age(now_ms, seen_ms));
        cw_out_str(out, " ago");
    }
    cw_evidence_value(list, (uint64_t)(thread->tid > 0 ? thread->tid : 0), "tid");
    if (thread->k_errno)
        cw_evidence_unavailable(list, errno_name(thread->k_errno));
    cw_evidence_end(list);
    if (thread->exit_ms || seen_ms)
        cw_evidence_number(list, "thread_seen", cw_age(now_ms, thread->exit_ms ? thread->exit_ms : seen_ms), "s");
    if (!thread->k_errno) {
        if (thread->k_ms && thread->k_syscall >= 0)
            cw_evidence_number(list, "thread_syscall", (uint64_t)thread->k_syscall, "syscall");
        return;
    }
    /* The call may be known where the stack is not: another process traces the thread. */
    if (thread->k_syscall == CW_SYSCALL_UNKNOWN)
        cw_out_str(cw_evidence_begin(list, "thread_syscall"), "its system call may not be read (");
    else
        cw_out_str(cw_evidence_begin(list, "thread_stack"), "its stack may not be read (");
    cw_out_errno(list->out, thread->k_errno);
    cw_out_char(list->out, ')');
    cw_evidence_unavailable(list, errno_name(thread->k_errno));
    cw_evidence_end(list);
}

/* --- listeners --- */

static const struct cw_conn *listener_of(const struct cw_evidence_list *list)
{
    return cw_context_listener(&list->report->context, list->oldest);
}

void cw_evidence_acceptor(struct cw_evidence_list *list)
{
    const struct cw_conn *listener = listener_of(list);

    if (cw_is_outside(list->report->view)) {
        const struct cw_thread *thread = listener ? cw_outside_acceptor(list->report->view, listener) : NULL;
        if (listener && !thread && (listener->flags & CW_CONN_WATCHED))
            thread = cw_outside_waiter(list->report->view, listener->epoll_set);
        if (thread)
            add_thread(list, "acceptor", thread);
        return;
    }
    if (listener && cw_listener_variant(list->report->view, listener) != CW_LISTENER_NEVER_REGISTERED)
        add_thread(list, "acceptor", cw_listener_acceptor(list->report->view, listener));
}

/* --- threads --- */

/* Several threads may be stuck at the same place. */
static void add_other_threads(struct cw_evidence_list *list)
{
    enum { KEPT = 256 };
    uint32_t parts[KEPT], n = 0;

    for (uint32_t i = 0; i < list->group->count && n < KEPT; i++) {
        uint32_t part = list->report->items[list->group->first + i].part, k = 0;
        while (k < n && parts[k] != part)
            k++;
        if (k == n)
            parts[n++] = part;
    }
    if (n < 2)
        return;
    cw_out_u64(cw_evidence_begin(list, "threads"), n);
    cw_out_str(list->out, n == KEPT ? " threads or more are stuck there" : " threads are stuck there");
    cw_evidence_value(list, n, "threads");
    cw_evidence_end(list);
}

void cw_evidence_thread(struct cw_evidence_list *list)
{
    const struct cw_conn *oldest = list->oldest;
    bool stuck = list->group->diagnosis == CW_DIAGNOSIS_OWNER_STUCK;
    const struct cw_thread *thread =
        stuck ? cw_stuck_thread(&list->facts)
              : cw_view_thread(list->report->view, oldest->touch_thread ? oldest->touch_thread : oldest->open_thread);

    add_thread(list, "thread", thread);
    if (stuck)
        add_other_threads(list);
}

/* Of the sockets that wait for one thread, the one that it used last. */
void cw_evidence_stuck_on(struct cw_evidence_list *list)
{
    const struct cw_thread *thread = cw_stuck_thread(&list->facts);
    const struct cw_conn *last = cw_context_last_conn(&list->report->context, thread);

    if (!last || !thread || cw_after(thread->wait_ms, cw_later(last->in_last_ms, last->out_last_ms)))
        return;
    struct cw_out *out = cw_evidence_begin(list, "stuck_on");
    cw_out_str(out, "it last used fd ");
    cw_out_i64(out, last->fd);
    if (last->peer_port) {
        cw_out_str(out, ", peer ");
        cw_redact_address(out, list->report->in.redact, CW_REDACT_PEER, last->family, last->peer, last->peer_port);
    }
    cw_evidence_value(list, (uint32_t)last->fd, "fd");
    cw_evidence_end(list);
}

/* --- other processes --- */

void cw_evidence_fork(struct cw_evidence_list *list)
{
    const struct cw_fork *fork = cw_fork_after_accept(&list->facts);

    if (!fork)
        return;
    struct cw_out *out = cw_evidence_begin(list, "fork");
    cw_out_str(out, "next step was fork ");
    cw_out_age(out, cw_age(list->report->in.now_ms, fork->ms));
    cw_out_str(out, " ago");
    if (fork->pid) {
        cw_out_str(out, ", child ");
        cw_out_i64(out, fork->pid);
        cw_evidence_value(list, (uint32_t)fork->pid, "pid");
    }
    cw_evidence_end(list);
}

/* "; pid 77 may not be looked into (EACCES)" */
static void out_refused(struct cw_out *out, const struct cw_report_input *in)
{
    cw_out_str(out, "; ");
    if (in->holders_refused == 1 && in->holders_refused_pid) {
        cw_out_str(out, "pid ");
        cw_out_i64(out, in->holders_refused_pid);
    } else {
        cw_out_count(out, in->holders_refused);
        cw_out_str(out, in->holders_refused == 1 ? " process" : " processes");
    }
    cw_out_str(out, " may not be looked into (");
    cw_out_str(out, errno_name(in->holders_refused_errno));
    cw_out_char(out, ')');
}

/* Which processes have the sockets open, and in which fd; without this process, but for the oldest one's other fds. */
void cw_evidence_holders(struct cw_evidence_list *list)
{
    const struct cw_report *report = list->report;
    uint32_t n = 0, others = 0;
    const struct cw_holder *holders = cw_report_holders(report, list->oldest, &n), *first = NULL;
    struct cw_out *out;

    if (report->view->header->flags & CW_HEADER_FORKED && list->oldest->origin == CW_ORIGIN_FORKED) {
        out = cw_evidence_begin(list, "parent");
        cw_out_str(out, "forked by pid ");
        cw_out_i64(out, report->view->header->ppid);
        if (report->view->header->fork_ms) {
            cw_out_char(out, ' ');
            cw_out_age(out, cw_age(report->in.now_ms, report->view->header->fork_ms));
            cw_out_str(out, " ago");
        }
        cw_evidence_value(list, (uint32_t)report->view->header->ppid, "pid");
        cw_evidence_end(list);
        if (report->view->header->fork_ms)
            cw_evidence_number(list, "forked", cw_age(report->in.now_ms, report->view->header->fork_ms), "s");
    }
    out = cw_evidence_begin(list, "holders");
    for (uint32_t i = 0; i < n; i++) {
        if (holders[i].pid == report->view->header->pid)
            continue;
        first = first ? first : &holders[i];
        others++;
    }
    if (!report->in.holders_known) {
        cw_out_str(out, "who else has it open is not known");
        cw_evidence_unavailable(list,
                                report->in.holders_errno ? errno_name(report->in.holders_errno) : "not looked for");
    } else if (first) {
        cw_out_str(out, "held by pid ");
        cw_out_i64(out, first->pid);
        cw_out_str(out, " (");
        out_name(out, first->name, sizeof(first->name));
        cw_out_str(out, ") as fd ");
        cw_out_i64(out, first->fd);
        if (others > 1) {
            cw_out_str(out, " and ");
            cw_out_count(out, others - 1);
            cw_out_str(out, " more");
        }
        cw_evidence_value(list, (uint32_t)first->pid, "pid");
    } else {
        cw_out_str(out, "no other process has it open");
        cw_evidence_value(list, 0, "pid");
    }
    if (report->in.holders_known && report->in.holders_refused) {
        out_refused(out, &report->in);
        cw_evidence_unavailable(list, errno_name(report->in.holders_refused_errno));
    }
    cw_evidence_end(list);
}
