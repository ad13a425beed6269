/* Text report: what the threads and the listeners of a process without a recorder are doing. */
#include "core/evidence_list.h"
#include "core/names.h"
#include "core/outside_words.h"
#include "core/syscalls.h"
#include "core/text.h"
#include "core/thread_places.h"
#include "core/threads_report.h"

#include <string.h>

enum { NAMES_SHOWN = 3, THREADS_SHOWN = 64 };

static void out_tid_and_name(struct cw_out *out, const struct cw_thread *thread)
{
    char name[sizeof(thread->name) + 1] = "";

    memcpy(name, thread->name, sizeof(thread->name));
    cw_out_i64(out, thread->tid);
    if (!name[0])
        return;
    cw_out_char(out, ' ');
    cw_out_safe(out, name);
}

/* "1 thread (4243 worker/0)", "12 threads (4243 worker/0, 4244 worker/1, 4245 worker/2 and 9 more)" */
static void out_who(struct cw_out *out, const struct cw_view *view, const struct cw_place *place)
{
    uint32_t shown = 0;

    cw_text_plural(out, place->count, "thread");
    cw_out_str(out, " (");
    for (uint32_t i = place->first; shown < place->count && shown < NAMES_SHOWN && i < view->n_threads; i++) {
        if (!cw_thread_same_place(view, place->first, i))
            continue;
        cw_out_str(out, shown++ ? ", " : "");
        out_tid_and_name(out, &view->threads[i]);
    }
    if (place->count > shown) {
        cw_out_str(out, " and ");
        cw_out_count(out, place->count - shown);
        cw_out_str(out, " more");
    }
    cw_out_char(out, ')');
}

static const char *state_words(const struct cw_thread *thread)
{
    switch (thread->k_state) {
    case 'R':
        return "running";
    case 'S':
        return "sleeping";
    case 'D':
        return "sleeping uninterruptibly";
    case 'T':
        return "stopped by a signal";
    case 't':
        return "stopped by a debugger";
    default:
        return "in a state that is not known";
    }
}

static bool waits_for_lock(const struct cw_thread *thread)
{
    return thread->k_syscall >= 0 && thread->k_object && !cw_syscall_takes_fd(thread->k_syscall);
}

/* "sleeping in recvfrom on fd 7", "sleeping in futex: waits for a lock that thread 4244 holds" */
static void out_doing(struct cw_out *out, const struct cw_thread *thread)
{
    cw_out_str(out, state_words(thread));
    if (thread->k_syscall < 0)
        return;
    cw_out_str(out, " in ");
    if (cw_syscall_name(thread->k_syscall)) {
        cw_out_str(out, cw_syscall_name(thread->k_syscall));
    } else {
        cw_out_str(out, "system call ");
        cw_out_i64(out, thread->k_syscall);
    }
    if (waits_for_lock(thread)) {
        cw_out_str(out, ": waits for a lock that ");
        if (thread->k_object != thread->tid) {
            cw_out_str(out, "thread ");
            cw_out_i64(out, thread->k_object);
            cw_out_str(out, " holds");
        } else {
            cw_out_str(out, "it holds itself");
        }
    } else if (thread->k_object) {
        cw_out_str(out, " on fd ");
        cw_out_i64(out, thread->k_object);
    }
}

/* Why there is no stack. */
static void out_no_stack(struct cw_out *out, const struct cw_thread *thread)
{
    bool refused = thread->k_errno && (thread->k_syscall == CW_SYSCALL_UNKNOWN || thread->k_state != 'R');

    if (refused) {
        cw_out_str(out, "    (its stack could not be read: ");
        cw_out_errno(out, thread->k_errno);
        cw_out_str(out, thread->k_state == 't'
                            ? "; a debugger has it)\n"
                            : "; that takes the right to trace it: run as its user with kernel.yama.ptrace_scope=0, "
                              "or as root with CAP_SYS_PTRACE)\n");
    } else if (thread->k_state == 'R') {
        cw_out_str(out, "    (its stack was not read: it works, and was not to be stopped in the middle of a call)\n");
    } else {
        cw_out_str(out, "    (its stack was not read: there are too many threads)\n");
    }
}

static void out_place(struct cw_out *out, const struct cw_report *report, const struct cw_place *place, unsigned number)
{
    const struct cw_thread *thread = &report->view->threads[place->first];

    cw_text_colour(out, report, CW_COLOUR_BOLD);
    cw_out_str(out, "THREAD ");
    cw_out_u64(out, number);
    cw_text_colour(out, report, CW_COLOUR_OFF);
    cw_out_str(out, "  ");
    out_who(out, report->view, place);
    cw_out_str(out, "  ");
    out_doing(out, thread);
    cw_out_char(out, '\n');
    if (thread->k_stack)
        cw_text_frames(out, report, thread->k_stack);
    else
        out_no_stack(out, thread);
}

/* "  fd 3  127.0.0.1:8080  2 waiting of at most 128, in epoll set 5 with EPOLLIN; thread 4243 waits on that set now" */
static void out_listener(struct cw_out *out, const struct cw_report *report, const struct cw_conn *listener)
{
    const struct cw_thread *thread = cw_outside_acceptor(report->view, listener);
    bool accepts = thread != NULL;

    cw_out_str(out, "  fd ");
    cw_out_i64(out, listener->fd);
    cw_out_str(out, "  ");
    cw_redact_address(out, report->in.redact, CW_REDACT_LOCAL, listener->family, listener->local, listener->local_port);
    cw_out_str(out, "  ");
    if (listener->k_flags & CW_K_QUEUES) {
        cw_out_count(out, listener->k_recv_q);
        cw_out_str(out, " waiting");
        if (listener->k_send_q) {
            cw_out_str(out, " of at most ");
            cw_out_count(out, listener->k_send_q);
        }
        cw_out_str(out, ", ");
    }
    if (listener->flags & CW_CONN_WATCHED) {
        cw_out_str(out, "in epoll set ");
        cw_out_i64(out, listener->epoll_fd);
        cw_out_str(out, " with ");
        cw_evidence_epoll_mask(out, listener->epoll_mask);
        if (!thread)
            thread = cw_outside_waiter(report->view, listener->epoll_set);
    } else {
        cw_out_str(out, "in no epoll set");
    }
    if (thread) {
        cw_out_str(out, "; thread ");
        cw_out_i64(out, thread->tid);
        cw_out_str(out, accepts ? " is in accept on it now" : " waits on that set now");
    } else if (listener->flags & CW_CONN_POLLED) {
        cw_out_str(out, "; a thread is in poll or select for it now");
    }
    cw_out_char(out, '\n');
}

static void out_listeners(struct cw_out *out, const struct cw_report *report)
{
    uint32_t n = report->context.n_listeners;

    if (!n)
        return;
    cw_out_str(out, "LISTENERS: ");
    cw_text_plural(out, n, "listening socket");
    cw_out_str(out, " of pid ");
    cw_out_i64(out, report->view->header->pid);
    cw_out_char(out, '\n');
    for (uint32_t i = 0; i < n; i++)
        out_listener(out, report, &report->view->conns[report->context.listeners[i]]);
}

void cw_text_threads(struct cw_out *out, const struct cw_report *report)
{
    struct cw_place places[CW_PLACES_MAX];
    uint32_t others = 0, threads = 0;
    unsigned n;

    if (!(report->view->header->flags & CW_HEADER_OUTSIDE))
        return;
    out_listeners(out, report);
    n = cw_thread_places(report->view, places, &others);
    if (!n)
        return;
    for (unsigned i = 0; i < n; i++)
        threads += places[i].count;
    cw_out_str(out, "THREADS: ");
    cw_text_plural(out, threads + others, "thread");
    cw_out_str(out, " of pid ");
    cw_out_i64(out, report->view->header->pid);
    cw_out_str(out, threads + others == 1 ? ", and where it is now"
                                          : ", and where they are now; some may just wait for work");
    cw_out_char(out, '\n');
    for (unsigned i = 0; i < n && i < THREADS_SHOWN; i++)
        out_place(out, report, &places[i], i + 1);
    for (unsigned i = THREADS_SHOWN; i < n; i++)
        others += places[i].count;
    if (!others)
        return;
    cw_out_str(out, "and ");
    cw_text_plural(out, others, "thread");
    cw_out_str(out, " at other places\n");
}
