/* Call stacks: which way each capture goes. See stack.h; memo.c for the common way, unwind_*.c for the walks. */
#define _GNU_SOURCE
#include "preload/stack.h"

#include "core/stacks.h"
#include "preload/ledger_file.h"
#include "preload/memo.h"
#include "preload/modules.h"
#include "preload/objects.h"
#include "preload/probe.h"
#include "preload/sys.h"
#include "preload/unwind.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

/* Walks are rationed: a burst of 2,000 (a server's start, where every path is new), then 500 a second. At 40-90 us a
 * walk of cold code that is 2-4.5 % of one CPU at worst, where new paths never end; a repeated walk of warm code
 * costs a tenth. */
#define RATION_PER_S 500u
#define RATION_BURST 2000u
#define RATION_UNITS (1000u / RATION_PER_S) /* a walk costs so many units, and each ms brings one */

static const struct cw_walker *walkers[2]; /* in order of preference; NULL: no more */
static uintptr_t main_thread;              /* thread pointer of the main thread */
static uint32_t forks;                     /* before this process, since the library was loaded */
static uint32_t threaded_fork;             /* one of them left threads behind: libunwind's locks may be held for ever */
static uint32_t inside;                    /* a thread is in the stateful walker */
static uint32_t distrusted;                /* somebody has jumped out of it: its locks may be held for ever */
static uint64_t ration = UINT64_MAX;       /* last look in ms, then units left; this value: not yet */

/* --- where we are --- */

static inline uintptr_t thread_pointer(void)
{
    uintptr_t self;
    __asm__("mov %%fs:0, %0" : "=r"(self));
    return self;
}

/* The address above all frames of this thread: glibc puts a thread's descriptor at the top of its stack. On a
 * fiber's or a signal's stack it is only a number that keeps paths apart. */
static inline uintptr_t stack_end(void)
{
    uintptr_t self = thread_pointer();
    return self == main_thread ? cw_static.main_stack_end : self;
}

static inline uint32_t epoch_now(void)
{
    return CW_GET(CW_P->epoch) + (CW_GET(forks) << 20);
}

/* Bytes of the main thread's stack below `sp` that the kernel would still give; 0 if sp is not on it. */
static size_t left_on_main(uintptr_t sp)
{
    struct rlimit limit = {.rlim_cur = RLIM_INFINITY};
    uintptr_t end = cw_static.main_stack_end;
    cw_sys(SYS_prlimit64, 0, RLIMIT_STACK, NULL, &limit);
    uintptr_t low = limit.rlim_cur < end ? end - limit.rlim_cur : 0;
    return sp < end && sp > low ? sp - low : 0;
}

/* Bytes left of the stack we are on, as far as it matters. The main thread's grows, so its pages below need not be
 * there yet. A signal stack is known to the kernel. A thread's own or a fiber's has a guard page below it, if its
 * maker was careful: the pages down to it can be read. (One without a guard page, nearly full, with readable memory
 * below, cannot be told.) */
size_t cw_stack_left(size_t enough_bytes)
{
    uintptr_t sp = (uintptr_t)__builtin_frame_address(0);
    if (CW_GET(cw_static.seccomp) || !(cw_static.may & CW_MAY_SIGNALS))
        return cw_walker_libgcc.stack_bytes; /* not a single call to ask with; hooks have run here, so some is left */
    if (thread_pointer() == main_thread) {
        size_t left = left_on_main(sp);
        if (left)
            return left;
    }
    stack_t signal_stack;
    if (cw_sys(SYS_sigaltstack, NULL, &signal_stack) == 0 && (signal_stack.ss_flags & SS_ONSTACK)) {
        uintptr_t low = (uintptr_t)signal_stack.ss_sp;
        if (sp > low && sp - low <= signal_stack.ss_size)
            return sp - low;
    }
    size_t left = 0;
    while (left < enough_bytes && cw_objects_readable(sp - left - 4096))
        left += 4096;
    return left;
}

/* --- the ration --- */

static bool ration_take(void)
{
    uint64_t seen = CW_GET(ration), next;
    do {
        uint32_t now = cw_now_ms(), units = RATION_BURST * RATION_UNITS;
        if (seen != UINT64_MAX) {
            uint64_t gained = (uint64_t)(now - (uint32_t)(seen >> 32)) + (uint32_t)seen;
            if (gained < units)
                units = (uint32_t)gained;
        }
        if (units < RATION_UNITS)
            return false;
        next = (uint64_t)now << 32 | (units - RATION_UNITS);
    } while (!__atomic_compare_exchange_n(&ration, &seen, next, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return true;
}

static void count(enum cw_counter counter)
{
    __atomic_fetch_add(&CW_P->view.header->counters[counter], 1, __ATOMIC_RELAXED);
}

/* --- the guard --- */

bool cw_stack_guarded(void)
{
    uintptr_t guard = cw_tls.guard;
    if (__builtin_expect(guard == 0, 1))
        return false;
    if ((uintptr_t)__builtin_frame_address(0) < guard)
        return true;
    /* We are above the walk: a handler of a fault in it has jumped out. What the walker held, it holds for ever. */
    cw_tls.guard = 0;
    CW_SET(distrusted, 1);
    return false;
}

/* All signals but those that a fault raises wait until the walker is out again: no handler can meet its locks, be
 * taken for it by the fence, or jump out of it. */
static void block_signals(uint64_t *ret_before)
{
    uint64_t all = ~UINT64_C(0);
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    for (unsigned i = 0; i < sizeof faults / sizeof *faults; i++)
        all &= ~(UINT64_C(1) << (faults[i] - 1));
    cw_sys(SYS_rt_sigprocmask, SIG_BLOCK, &all, ret_before, 8);
}

static __attribute__((noinline)) bool walk_guarded(const struct cw_walker *walker, struct cw_walk *walk)
{
    uint32_t nobody = 0;
    uint64_t before;
    if (!__atomic_compare_exchange_n(&inside, &nobody, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return false;
    block_signals(&before);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    cw_tls.guard = (uintptr_t)__builtin_frame_address(0);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    walker->walk(walk);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    cw_tls.guard = 0;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    cw_sys(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, 8);
    __atomic_store_n(&inside, 0, __ATOMIC_RELEASE);
    return walk->n > 0;
}

/* Whether this walker may be entered here and now. */
static bool may_enter(const struct cw_walker *walker, size_t left)
{
    if (left < walker->stack_bytes)
        return false;
    return !walker->stateful ||
           !(CW_GET(distrusted) || CW_GET(threaded_fork) || CW_GET(CW_P->threaded_fork) || CW_GET(cw_static.seccomp));
}

static bool walk_stack(struct cw_walk *walk)
{
    size_t left = cw_stack_left(cw_walker_libunwind.stack_bytes);
    for (unsigned i = 0; i < 2 && walkers[i]; i++) {
        walk->n = 0;
        walk->truncated = false;
        if (!may_enter(walkers[i], left))
            continue;
        if (walkers[i]->stateful) {
            if (walk_guarded(walkers[i], walk))
                return true;
            continue;
        }
        walkers[i]->walk(walk);
        if (walk->n)
            return true;
    }
    return false;
}

/* --- capture --- */

/* A function of its own: the frame words and the walk are not on the stack together with what the walker needs. */
static __attribute__((noinline)) uint32_t record(const uintptr_t *ip, unsigned n, unsigned flags)
{
    uint64_t frames[CW_STACK_MAX_FRAMES];
    for (unsigned i = 0; i < n; i++)
        frames[i] = cw_modules_frame(ip[i]);
    uint32_t id = cw_stacks_intern(&CW_P->view, frames, n, flags, cw_ledger_reserve);
    if (!id)
        count(CW_COUNTER_table_full);
    return id;
}

static uint32_t for_memo(uint32_t id)
{
    return id ? id : CW_MEMO_NO_ROOM;
}

/* A path known from before a fork: its frames are the same, its id is not. */
static __attribute__((noinline)) bool capture_recalled(const struct cw_site *site, uint32_t *ret_id)
{
    struct cw_memo_path path;
    if (!cw_memo_recall(site, stack_end(), &path))
        return false;
    *ret_id = record(path.ip, path.n, path.truncated ? CW_STACK_TRUNCATED : 0);
    cw_memo_renew(&path, epoch_now(), for_memo(*ret_id));
    return true;
}

static __attribute__((noinline)) bool capture_walked(const struct cw_site *site, uint32_t *ret_id)
{
    struct cw_walk walk = {.site = site, .max = cw_static.options.depth};
    if (walk.max == 0 || walk.max > CW_STACK_MAX_FRAMES)
        walk.max = CW_STACK_MAX_FRAMES;
    if (!walk_stack(&walk))
        return false;
    *ret_id = record(walk.ip, walk.n, walk.truncated ? CW_STACK_TRUNCATED : 0);
    cw_memo_put(&walk, stack_end(), epoch_now(), for_memo(*ret_id));
    return true;
}

static __attribute__((noinline)) uint32_t capture_new(const struct cw_site *site)
{
    uint32_t id;
    if (capture_recalled(site, &id))
        return id;
    if (walkers[0] && !cw_stack_guarded()) {
        if (!ration_take())
            count(CW_COUNTER_stacks_rationed);
        else if (capture_walked(site, &id))
            return id;
    }
    return record(&site->ra, 1, CW_STACK_CALLER_ONLY);
}

uint32_t cw_stack_capture(const struct cw_site *site)
{
    uint32_t id = cw_memo_find(site, stack_end(), epoch_now());
    if (__builtin_expect(id != 0 && id != CW_MEMO_NO_ROOM, 1))
        return id;
    if (id == CW_MEMO_NO_ROOM) {
        count(CW_COUNTER_table_full);
        return 0;
    }
    int error = errno;
    id = capture_new(site);
    errno = error;
    return id;
}

/* --- the rest --- */

uint32_t cw_stack_enter(const uintptr_t *ip, unsigned n, bool truncated)
{
    return n ? record(ip, n, truncated ? CW_STACK_TRUNCATED : 0) : 0;
}

uint32_t cw_stack_epoch(void)
{
    return epoch_now();
}

/* The first walk makes the walker's own tables and its pipe (fenced); here, not in a signal handler. It also shows
 * that it works: a walker that does not find our caller is no use. */
static __attribute__((noinline)) bool works(const struct cw_walker *walker)
{
    const struct cw_site site = CW_SITE();
    struct cw_walk walk = {.site = &site, .max = 4};
    if (walker->stateful)
        walk_guarded(walker, &walk);
    else
        walker->walk(&walk);
    return walk.n > 0 && walk.ip[0] == site.ra;
}

void cw_stack_init(void)
{
    unsigned n = 0;
    int error = errno;
    main_thread = thread_pointer();
    cw_objects_init(false);
    cw_memo_init(cw_static.options.depth ? cw_static.options.depth : CW_STACK_MAX_FRAMES);
    const struct cw_walker *wanted[2] = {NULL, NULL};
    /* Libunwind makes calls that no hook sees (mincore): not where a filter forbids any of those that were tried. */
    if (cw_static.options.unwinder == CW_UNWINDER_LIBUNWIND && cw_static.may == CW_MAY_ALL)
        wanted[0] = &cw_walker_libunwind;
    if (cw_static.options.unwinder != CW_UNWINDER_CALLER)
        wanted[1] = &cw_walker_libgcc;
    for (unsigned i = 0; i < 2; i++)
        if (wanted[i] && wanted[i]->init() && works(wanted[i]))
            walkers[n++] = wanted[i];
    errno = error;
}

void cw_stack_forked(bool threaded)
{
    if (threaded)
        CW_SET(threaded_fork, 1);
    CW_SET(inside, 0);
    cw_tls.guard = 0;
    __atomic_fetch_add(&forks, 1, __ATOMIC_RELAXED);
}

void cw_stack_code_unloaded(void)
{
    cw_memo_forget();
    cw_objects_changed();
    if (CW_GET(CW_P->live))
        cw_modules_code_unloaded();
    for (unsigned i = 0; i < 2 && walkers[i]; i++)
        if (walkers[i]->code_unloaded)
            walkers[i]->code_unloaded();
}
