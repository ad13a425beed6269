#include "cli/process/threads.h"

#include "cli/clock.h"
#include "cli/process/remote_stack.h"
#include "cli/process/tasks.h"
#include "core/ages.h"
#include "core/diagnose.h"
#include "core/leak.h"
#include "core/live_frames.h"
#include "core/waitset.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    STACKS_MS = 3000, /* longer than this no thread is looked at */
    OUTSIDE_STACKS = 256,
    SPIN_MS = 100, /* a thread that has been on the CPU for so long without a rest is not about to sleep in a call */
};

struct look {
    struct cw_load *load;
    const struct cw_proc *proc;
    uint32_t now_ms, grace_ms;
    struct cw_task *tasks;
    size_t task_count;
    uint32_t *votes; /* by thread index: how many sockets make its stack worth having */
    bool outside;    /* no recorder: the threads are all that is known of its code */
};

static uint32_t threads_used(const struct cw_view *view)
{
    uint32_t used = view->header->sections[CW_SECTION_THREADS].used;
    return used < view->n_threads ? used : view->n_threads;
}

static uint32_t conns_used(const struct cw_view *view)
{
    uint32_t used = view->header->sections[CW_SECTION_CONNS].used;
    return used < view->n_conns ? used : view->n_conns;
}

/* --- state and call --- */

/* For how long the machine was suspended since it was started. First the lesser clock: what passes in between only adds. */
static uint64_t suspended_ns(void)
{
    struct timespec awake, all;

    clock_gettime(CLOCK_MONOTONIC, &awake);
    clock_gettime(CLOCK_BOOTTIME, &all);
    return (uint64_t)((all.tv_sec - awake.tv_sec) * INT64_C(1000000000) + all.tv_nsec - awake.tv_nsec);
}

/* The thread that holds the lock that this one waits for, 0 if that is no thread of the process. */
static int32_t lock_owner(const struct look *look, const struct cw_task_call *call)
{
    uint64_t lock = cw_proctask_mutex(call);
    int32_t owner = 0;

    if (!lock || cw_snapshot_peek(look->proc->pid, lock + CW_MUTEX_OWNER_BYTES, &owner, sizeof owner) < 0)
        return 0;
    return cw_tasks_find(look->tasks, look->task_count, owner) ? owner : 0;
}

static bool peek(void *ctx, void *to, uint64_t from, size_t n)
{
    const struct look *look = ctx;
    return cw_snapshot_peek(look->proc->pid, from, to, n) >= 0;
}

/* Nothing but why. */
static void enter_refusal(const struct look *look, struct cw_thread *thread, int error)
{
    thread->k_ms = look->now_ms;
    thread->k_state = 0;
    thread->k_syscall = CW_SYSCALL_UNKNOWN;
    thread->k_errno = (uint8_t)error;
    thread->k_object = 0;
    thread->k_stack = 0;
}

/* Without hooks only this says who waits for a set. */
static void enter_wait(const struct cw_view *view, struct cw_thread *thread)
{
    bool waits = thread->k_syscall == SYS_epoll_wait || thread->k_syscall == SYS_epoll_pwait ||
                 thread->k_syscall == SYS_epoll_pwait2;
    uint32_t fd = (uint32_t)thread->k_object;
    uint64_t slot = waits && fd < view->n_slots ? view->slots[fd] : 0;

    if (CW_SLOT_KIND(slot) != CW_SLOT_SET)
        return;
    thread->in_wait = 1;
    thread->waiting_set = (uint16_t)CW_SLOT_INDEX(slot);
}

/* And what an fd in a call's arguments means: the sockets that the kernel's check has found. */
static void enter_slots(const struct cw_view *view)
{
    for (uint32_t i = 1; i < conns_used(view); i++) {
        int32_t fd = view->conns[i].fd;
        if (fd >= 0 && (uint32_t)fd < view->n_slots && !view->slots[fd])
            view->slots[fd] = CW_SLOT_MAKE(CW_SLOT_CONN, 1, i);
    }
}

static void enter_state(const struct look *look, struct cw_thread *thread)
{
    const struct cw_task *task = cw_tasks_find(look->tasks, look->task_count, thread->tid);
    struct cw_task_stat stat;
    struct cw_task_call call;
    int error = task ? cw_task_stat(look->proc->pid, task->tid, &stat) : -ESRCH;

    enter_refusal(look, thread, error == -ESRCH ? 0 : -error);
    if (error && error != -ESRCH)
        return;
    if (error || cw_proctask_is_another(look->load->view.header, thread, stat.start_ticks, suspended_ns())) {
        thread->k_state = 'X';
        return;
    }
    thread->k_state = stat.state;
    error = cw_task_call(look->proc->pid, task->tid, &call);
    if (error) {
        thread->k_errno = (uint8_t)-error;
        return;
    }
    uint32_t index = (uint32_t)(thread - look->load->view.threads);
    cw_waitset_enter(&look->load->view, &call, index | (thread->generation & 0xFFFF) << 16, look->now_ms, peek,
                     (void *)(uintptr_t)look);
    thread->k_syscall = (int16_t)call.nr;
    thread->k_object = cw_proctask_fd(&call);
    if (!thread->k_object)
        thread->k_object = lock_owner(look, &call);
    if (look->outside)
        enter_wait(&look->load->view, thread);
}

/* --- whose stack is worth having --- */

/* When it was last seen to do something with a socket. */
static uint32_t last_seen_ms(const struct look *look, const struct cw_thread *thread)
{
    const struct cw_view *view = &look->load->view;
    uint32_t last_ms = thread->wait_ms;

    for (uint32_t i = 1; i < conns_used(view); i++)
        if (cw_view_thread(view, view->conns[i].touch_thread) == thread)
            last_ms = cw_later(last_ms, cw_later(view->conns[i].in_last_ms, view->conns[i].out_last_ms));
    return last_ms;
}

static void vote(const struct look *look, const struct cw_thread *thread, bool even_waiting)
{
    if (!thread || !thread->k_ms || thread->exit_ms || thread->k_state == 'X' || thread->k_state == 'Z')
        return;
    /* Waiting for work is what it should do. */
    if (thread->in_wait && !even_waiting)
        return;
    look->votes[thread - look->load->view.threads]++;
}

/* The first ones: those that a report speaks of. */
static uint32_t find_listeners(const struct cw_view *view, uint32_t ret[CW_LISTENERS_MAX])
{
    const uint32_t of = CW_CONN_IN_USE | CW_CONN_LISTENER;
    uint32_t n = 0;

    for (uint32_t i = 1; i < conns_used(view) && n < CW_LISTENERS_MAX; i++)
        if ((view->conns[i].flags & of) == of)
            ret[n++] = i;
    return n;
}

/* Those that owner-stuck and never-accepted may turn on (core/diagnosis_owner.c, core/diagnosis_listener.c). */
static void count_votes(const struct look *look)
{
    struct cw_view *view = &look->load->view;
    uint32_t listeners[CW_LISTENERS_MAX], n_listeners = find_listeners(view, listeners);

    for (uint32_t i = 1; i < conns_used(view); i++) {
        struct cw_conn *conn = &view->conns[i];
        if (!(conn->flags & CW_CONN_IN_USE) || (conn->flags & (CW_CONN_LATE | CW_CONN_LISTENER)) ||
            !cw_leak_judge(conn, look->now_ms, look->grace_ms))
            continue;
        if (conn->origin == CW_ORIGIN_QUEUED) {
            for (uint32_t k = 0; k < n_listeners; k++)
                if (view->conns[listeners[k]].local_port == conn->local_port)
                    vote(look, cw_listener_acceptor(view, &view->conns[listeners[k]]), true);
            continue;
        }
        const struct cw_set *set = conn->flags & CW_CONN_WATCHED ? cw_view_set(view, conn->epoll_set) : NULL;
        vote(look, cw_view_thread(view, conn->touch_thread), false);
        if (set)
            vote(look, cw_view_thread(view, set->return_thread), false);
        else if (conn->flags & CW_CONN_POLLED)
            vote(look, cw_view_thread(view, conn->ctl_thread), false);
    }
}

/* From outside all of them, the main thread first. */
static void vote_for_all(const struct look *look)
{
    for (uint32_t i = 1; i < threads_used(&look->load->view); i++)
        look->votes[i] = look->load->view.threads[i].tid == look->proc->inner_pid ? 2 : 1;
}

/* The thread with most votes, which are taken from it; 0 when none has any. */
static uint32_t next_choice(const struct look *look)
{
    uint32_t best = 0;

    for (uint32_t i = 1; i < threads_used(&look->load->view); i++)
        if (look->votes[i] > (best ? look->votes[best] : 0))
            best = i;
    if (best)
        look->votes[best] = 0;
    return best;
}

/* --- stacks --- */

/* What of each socket's last use the thread is still in. */
static void enter_live_frames(const struct look *look, uint32_t index, const struct cw_remote_stack *stack)
{
    struct cw_view *view = &look->load->view;

    for (uint32_t i = 1; i < conns_used(view); i++) {
        struct cw_conn *conn = &view->conns[i];
        const uint64_t *touch;
        unsigned flags = 0, n;

        if (!(conn->flags & CW_CONN_IN_USE) || conn->k_state != TCP_CLOSE_WAIT || (conn->flags & CW_CONN_LATE) ||
            cw_view_thread(view, conn->touch_thread) != &view->threads[index])
            continue;
        n = cw_view_stack(view, conn->touch_stack, &touch, &flags);
        if (flags & (CW_STACK_TRUNCATED | CW_STACK_CALLER_ONLY))
            n = 0;
        conn->k_live = (uint8_t)cw_live_frames(touch, n, stack->frames, stack->whole ? stack->n : 0);
    }
}

/* The same stack of another thread, 0 if none has it: equal stacks have one id. */
static uint32_t known_stack(const struct look *look, const struct cw_remote_stack *stack, unsigned flags)
{
    const struct cw_view *view = &look->load->view;

    for (uint32_t i = 1; i < threads_used(view); i++) {
        const uint64_t *frames;
        unsigned other = 0, n = cw_view_stack(view, view->threads[i].k_stack, &frames, &other);
        if (n && n == stack->n && other == flags && !memcmp(frames, stack->frames, n * sizeof *frames))
            return view->threads[i].k_stack;
    }
    return 0;
}

/* False: no stack; where the thread cannot be had at all, why stands in its record. */
static bool enter_stack(const struct look *look, uint32_t index, struct cw_remote *remote, struct cw_snapshot *snapshot,
                        struct cw_remote_stack *stack)
{
    struct cw_thread *thread = &look->load->view.threads[index];
    const struct cw_task *task = cw_tasks_find(look->tasks, look->task_count, thread->tid);
    int error = task ? cw_snapshot_take(snapshot, look->proc->pid, task->tid) : -ESRCH;

    if (error) {
        thread->k_errno = (uint8_t)-error;
        return false;
    }
    cw_remote_unwind(remote, snapshot, stack);
    /* Two registers may not lead beyond the call itself: what the recorder saw says more. */
    if (!look->outside && !stack->whole && !(snapshot->known >> CW_SNAPSHOT_FRAME & 1))
        return false;
    unsigned flags = stack->whole ? 0 : (unsigned)CW_STACK_TRUNCATED;
    thread->k_stack = known_stack(look, stack, flags);
    if (!thread->k_stack)
        thread->k_stack = cw_load_add_stack(look->load, stack->frames, stack->n, flags);
    return true;
}

/* On the CPU it may be inside a call that a stop would cut short (snapshot.c); not if no call has ended for so long. */
static bool may_be_in_call(const struct look *look, const struct cw_thread *thread)
{
    return !look->outside && thread->k_state != 'T' && thread->k_syscall == CW_SYSCALL_NONE &&
           cw_age(look->now_ms, last_seen_ms(look, thread)) < look->grace_ms;
}

/* Likewise without hooks: those on the CPU that have slept in some call meanwhile are left alone. */
static void drop_those_in_calls(const struct look *look)
{
    const struct cw_view *view = &look->load->view;
    const struct timespec meanwhile = {.tv_nsec = SPIN_MS * 1000000};
    uint32_t n = threads_used(view);
    uint64_t *before = calloc(n, sizeof *before), after;
    bool any = false;

    for (unsigned pass = 0; before && pass < 2 && (!pass || any); pass++) {
        for (uint32_t i = 1; i < n; i++) {
            const struct cw_task *task = cw_tasks_find(look->tasks, look->task_count, view->threads[i].tid);
            if (view->threads[i].k_syscall != CW_SYSCALL_NONE || view->threads[i].k_state == 'T' || !look->votes[i])
                continue;
            any = true;
            if (!task || cw_task_sleeps(look->proc->pid, task->tid, pass ? &after : &before[i]) < 0 ||
                (pass && after != before[i]))
                look->votes[i] = 0;
        }
        if (!pass && any)
            nanosleep(&meanwhile, NULL);
    }
    free(before);
}

static void enter_stacks(const struct look *look)
{
    struct cw_modules modules;
    struct cw_snapshot *snapshot = cw_snapshot_new();
    struct cw_remote_stack *stack = malloc(sizeof *stack);
    struct cw_remote *remote = NULL;
    uint64_t end_ms = cw_clock_ms(CLOCK_MONOTONIC) + STACKS_MS;
    /* Equal ones take the room of one. */
    unsigned most = look->outside ? OUTSIDE_STACKS : CW_LOAD_SPARE_STACKS;
    uint32_t index;

    if (cw_modules_read(&modules, look->load, look->proc->pid) == 0)
        remote = cw_remote_new(&modules, look->outside);
    bool ready = remote && snapshot && stack;
    for (unsigned n = 0; ready && n < most && cw_clock_ms(CLOCK_MONOTONIC) < end_ms; n++) {
        index = next_choice(look);
        if (!index)
            break;
        if (may_be_in_call(look, &look->load->view.threads[index]))
            continue;
        if (enter_stack(look, index, remote, snapshot, stack))
            enter_live_frames(look, index, stack);
    }
    cw_remote_free(remote);
    cw_modules_free(&modules);
    cw_snapshot_free(snapshot);
    free(stack);
}

/* False: there is nothing more to be had. */
static bool enter_states(struct look *look)
{
    struct cw_view *view = &look->load->view;

    look->outside = view->header->flags & CW_HEADER_OUTSIDE;
    if (look->outside)
        enter_slots(view);
    int error = cw_tasks_read(look->proc, &look->tasks, &look->task_count);
    if (error == -ESRCH)
        return false;
    for (uint32_t i = 1; i < threads_used(view); i++) {
        struct cw_thread *thread = &view->threads[i];
        if (thread->tid <= 0 || thread->exit_ms)
            continue;
        if (error)
            enter_refusal(look, thread, -error);
        else
            enter_state(look, thread);
    }
    return !error;
}

void cw_threads_states(struct cw_load *load, const struct cw_proc *proc, uint32_t now_ms)
{
    struct look look = {.load = load, .proc = proc, .now_ms = now_ms};

    enter_states(&look);
    free(look.tasks);
}

void cw_threads_check(struct cw_load *load, const struct cw_proc *proc, uint32_t now_ms, uint32_t grace_ms)
{
    struct look look = {.load = load, .proc = proc, .now_ms = now_ms, .grace_ms = grace_ms};
    struct cw_view *view = &load->view;

    if (!enter_states(&look))
        return;
    look.votes = calloc((size_t)view->n_threads + 1, sizeof *look.votes);
    if (look.votes) {
        if (look.outside) {
            vote_for_all(&look);
            drop_those_in_calls(&look);
        } else {
            count_votes(&look);
        }
        enter_stacks(&look);
    }
    free(look.votes);
    free(look.tasks);
}
