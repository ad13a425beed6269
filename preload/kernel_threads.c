/* What the threads of this process are doing, and which of the functions that used a leaked socket have not returned. */
#define _GNU_SOURCE
#include "preload/kernel.h"

#include "core/proctask.h"
#include "core/waitset.h"
#include "preload/clock.h"
#include "preload/interrupted.h"
#include "preload/ledger_parts.h"
#include "preload/memo.h"
#include "preload/probe.h"
#include "preload/record.h"
#include "preload/stack.h"
#include "preload/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define THREADS_MAX 4096u
#define TOUCHES 256u
/* No stack is larger: a place further above the stack pointer than that belongs to another stack. */
#define STACK_MAX_BYTES (UINT64_C(1) << 30)
#define LOW_HALF UINT64_C(0xFFFFFFFF)

/* What is known of a thread beyond its record. */
struct known {
    uintptr_t sp; /* 0: not known */
    bool here;    /* it lives */
    bool running; /* on the CPU: its stack pointer is nowhere to be read, and its stack in use */
};

/* The answer for connections that were touched from the same place: there may be thousands of them. */
struct touch {
    uint64_t ra;
    uint32_t sp, stack, thread;
    uint8_t live;
};

struct work {
    struct known threads[THREADS_MAX];
    struct touch touches[TOUCHES];
};

/* --- what each thread is doing --- */

/* "/proc/self/task/TID/NAME" */
static const char *task_path(char path[64], int32_t tid, const char *name)
{
    static const char before[] = "/proc/self/task/";
    char digits[12];
    unsigned n = 0, at = sizeof before - 1;
    __builtin_memcpy(path, before, at);
    for (uint32_t rest = (uint32_t)tid; rest || !n; rest /= 10)
        digits[n++] = (char)('0' + rest % 10);
    while (n)
        path[at++] = digits[--n];
    for (path[at++] = '/'; *name;)
        path[at++] = *name++;
    path[at] = 0;
    return path;
}

static bool is_thread(int32_t tid)
{
    char path[64];
    struct stat st;
    return tid > 0 && cw_sys(SYS_newfstatat, AT_FDCWD, task_path(path, tid, ""), &st, 0) == 0;
}

/* The thread that holds the lock, 0 where that cannot be told. */
static int32_t lock_holder(uint64_t mutex)
{
    int32_t owner = 0;
    if (!mutex || !cw_kernel_peek(&owner, (const char *)(uintptr_t)mutex + CW_MUTEX_OWNER_BYTES, sizeof owner))
        return 0;
    return is_thread(owner) ? owner : 0;
}

static bool peek(void *ctx, void *to, uint64_t from, size_t n)
{
    (void)ctx;
    return cw_kernel_peek(to, (const void *)(uintptr_t)from, n);
}

static void enter_call(struct cw_thread *thread, const struct cw_task_call *call, uint32_t now_ms)
{
    uint32_t index = (uint32_t)(thread - CW_P->view.threads), generation = CW_GET(thread->generation) & 0xFFFF;
    cw_waitset_enter(&CW_P->view, call, index | generation << 16, now_ms, peek, NULL);
    int32_t object = cw_proctask_fd(call);
    CW_SET(thread->k_object, object ? object : lock_holder(cw_proctask_mutex(call)));
    CW_SET(thread->k_syscall, (int16_t)call->nr);
    CW_SET(thread->k_errno, 0);
}

static void enter_no_call(struct cw_thread *thread, int error)
{
    CW_SET(thread->k_object, 0);
    CW_SET(thread->k_syscall, error ? CW_SYSCALL_UNKNOWN : CW_SYSCALL_NONE);
    CW_SET(thread->k_errno, (uint8_t)error);
}

static void enter_state(struct cw_thread *thread, char state, uint32_t now_ms)
{
    CW_SET(thread->k_state, state);
    CW_SET(thread->k_stack, 0);
    CW_SET(thread->k_ms, now_ms);
}

/* First the lesser one: what passes in between only adds to the difference. */
static uint64_t suspended_ns(void)
{
    uint64_t awake_ns = cw_clock_ns(CLOCK_MONOTONIC);
    return cw_clock_ns(CLOCK_BOOTTIME) - awake_ns;
}

/* What its files say; false if it is gone. */
static bool ask_thread(struct cw_thread *thread, uint32_t now_ms, struct known *ret)
{
    char path[64], text[CW_PROCTASK_BYTES];
    struct cw_task_stat stat;
    struct cw_task_call call;
    int32_t tid = CW_GET(thread->tid);
    ssize_t n = cw_file_read(task_path(path, tid, "stat"), text, sizeof text);

    if (n < 0 && n != -ENOENT && n != -ESRCH) {
        enter_no_call(thread, (int)-n);
        enter_state(thread, 0, now_ms);
        return true;
    }
    if (n <= 0 || !cw_proctask_stat(text, (size_t)n, &stat) ||
        cw_proctask_is_another(CW_P->view.header, thread, stat.start_ticks, suspended_ns()))
        return false;
    n = cw_file_read(task_path(path, tid, "syscall"), text, sizeof text);
    bool said = n > 0 && cw_proctask_syscall(text, (size_t)n, &call);
    if (said)
        enter_call(thread, &call, now_ms);
    else
        enter_no_call(thread, n < 0 ? (int)-n : EIO);
    enter_state(thread, stat.state, now_ms);
    *ret = (struct known){.here = stat.state != 'X' && stat.state != 'Z',
                          .sp = said ? (uintptr_t)call.sp : 0,
                          .running = stat.state == 'R' && (!said || !call.sp)};
    return true;
}

/* The thread that we are in: its files would speak of us. */
static void ask_self(struct cw_thread *thread, uint32_t now_ms, const struct cw_interrupted *at, struct known *ret)
{
    uintptr_t ip[CW_STACK_MAX_FRAMES];
    struct cw_task_call call;
    int error = 0;
    bool truncated, in_call = at && cw_interrupted_call(at, &call, &error);

    if (in_call)
        enter_call(thread, &call, now_ms);
    else
        enter_no_call(thread, error);
    enter_state(thread, in_call || error ? 'S' : 'R', now_ms);
    *ret = (struct known){.here = at != NULL, .sp = at ? at->sp : 0};
    if (!at)
        return;
    unsigned max = cw_static.options.depth && cw_static.options.depth < CW_STACK_MAX_FRAMES ? cw_static.options.depth
                                                                                            : CW_STACK_MAX_FRAMES;
    unsigned n = cw_interrupted_frames(at, ip, max, &truncated);
    CW_SET(thread->k_stack, cw_stack_enter(ip, n, truncated));
}

static void ask_all(struct work *work, uint32_t now_ms, uint32_t self, const struct cw_interrupted *interrupted)
{
    uint32_t used = cw_table_used(&cw_table, CW_SECTION_THREADS);
    for (uint32_t i = 1; i < used && i < THREADS_MAX; i++) {
        struct cw_thread *thread = &CW_P->view.threads[i];
        if (CW_GET(thread->exit_ms) || !CW_GET(thread->tid))
            continue;
        if (i == CW_THREAD_INDEX(self)) {
            ask_self(thread, now_ms, interrupted, &work->threads[i]);
        } else if (!ask_thread(thread, now_ms, &work->threads[i])) {
            enter_no_call(thread, 0);
            enter_state(thread, 'X', now_ms);
        }
    }
}

/* --- which functions have not returned --- */

static bool word_is(uintptr_t at, uintptr_t value)
{
    uintptr_t word;
    return at % sizeof word == 0 && cw_kernel_peek(&word, (const void *)at, sizeof word) && word == value;
}

/* Whether the stack that ends there is this thread's: the main thread's end is known, at another's lies glibc's descriptor of
 * the thread, which begins with its own address (the thread pointer, x86-64 psABI). */
static bool ends_there(const struct cw_thread *thread, uintptr_t end)
{
    return CW_GET(thread->tid) == CW_P->pid ? end == cw_static.main_stack_end : word_is(end, end);
}

/* The first frame from the inside that, like all further out, still has its return address in place. Index 0, the return into
 * the function that called us, says nothing: the next call from there lies in the same place. */
static unsigned frames_in_place(const struct cw_memo_places *places, uintptr_t here, uintptr_t sp)
{
    unsigned live = 0;
    for (unsigned i = places->n - 1; i > 0; i--) {
        uintptr_t at = here + places->place[i];
        if ((sp && at < sp) || !word_is(at, places->ip[i]))
            break;
        live = i;
    }
    return live;
}

/* A path that was taken with the stack pointer `here`. */
static unsigned live_at(const struct cw_thread *thread, const struct touch *touch, uintptr_t here, uintptr_t sp)
{
    struct cw_memo_places places;
    uint32_t cursor = 0, epoch = cw_stack_epoch();
    unsigned live = 0;
    while (!live && cw_memo_places(touch->ra, epoch, touch->stack, &cursor, &places))
        if (ends_there(thread, here + places.depth))
            live = frames_in_place(&places, here, sp);
    return live;
}

static unsigned live_frames(const struct cw_thread *thread, const struct known *known, const struct touch *touch)
{
    if (known->sp) {
        /* What has not returned lies above the stack pointer. */
        uintptr_t here = (known->sp & ~LOW_HALF) | touch->sp;
        if (here < known->sp && known->sp - here > STACK_MAX_BYTES)
            here += LOW_HALF + 1;
        else if (here > known->sp && here - known->sp > STACK_MAX_BYTES)
            here -= LOW_HALF + 1;
        uintptr_t away = here > known->sp ? here - known->sp : known->sp - here;
        return away <= STACK_MAX_BYTES ? live_at(thread, touch, here, known->sp) : 0;
    }
    if (!known->running)
        return 0; /* what is left of calls that have returned looks the same */
    if (CW_GET(thread->tid) == CW_P->pid)
        return live_at(thread, touch, (cw_static.main_stack_end & ~LOW_HALF) | touch->sp, 0);
    /* Threads' stacks are mapped where libraries are, or some 4 GiB off. */
    unsigned live = 0;
    for (uintptr_t i = 0; i < 3 && !live; i++)
        live = live_at(thread, touch, (((uintptr_t)CW_P & ~LOW_HALF) - i * (LOW_HALF + 1)) | touch->sp, 0);
    return live;
}

static uint8_t live_of(struct work *work, const struct cw_conn *conn)
{
    struct touch touch = {.ra = CW_GET(conn->touch_ra),
                          .sp = CW_GET(conn->touch_sp),
                          .stack = CW_GET(conn->touch_stack),
                          .thread = CW_GET(conn->touch_thread)};
    uint32_t index = CW_THREAD_INDEX(touch.thread);
    const struct cw_thread *thread = cw_view_thread(&CW_P->view, touch.thread);

    if (!touch.stack || !touch.ra || !thread || index >= THREADS_MAX || !work->threads[index].here)
        return 0;
    struct touch *kept = &work->touches[(touch.ra ^ touch.ra >> 8 ^ touch.sp >> 4 ^ touch.thread) % TOUCHES];
    if (kept->ra != touch.ra || kept->sp != touch.sp || kept->stack != touch.stack || kept->thread != touch.thread) {
        touch.live = (uint8_t)live_frames(thread, &work->threads[index], &touch);
        *kept = touch;
    }
    return kept->live;
}

void cw_kernel_check_threads(uint32_t now_ms, const struct cw_interrupted *interrupted)
{
    if (!cw_kernel_may(0))
        return;
    long memory = cw_sys(SYS_mmap, 0, sizeof(struct work), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory < 0 && memory > -4096)
        return;
    struct work *work = (struct work *)memory;
    ask_all(work, now_ms, cw_thread_self(now_ms), interrupted);
    uint32_t used = cw_table_used(&cw_table, CW_SECTION_CONNS);
    for (uint32_t i = 1; i < used; i++) {
        struct cw_conn *conn = &CW_P->view.conns[i];
        if ((CW_GET(conn->flags) & (CW_CONN_IN_USE | CW_CONN_LATE)) == CW_CONN_IN_USE &&
            CW_GET(conn->k_state) == TCP_CLOSE_WAIT)
            CW_SET(conn->k_live, live_of(work, conn));
    }
    cw_sys(SYS_munmap, memory, sizeof(struct work));
}
