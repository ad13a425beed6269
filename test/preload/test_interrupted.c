/* Interrupted code: its stack compared with glibc's backtrace(), the system call that it was in, and the places that the memo
 * keeps for the frames of a path. */
#define _GNU_SOURCE
#include "preload/interrupted.h"

#include "preload/memo.h"
#include "test/support/stack_harness.h"

#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* --- what a handler saw --- */

static struct {
    unsigned n, different, longest, calls;
    struct cw_interrupted at;
    struct cw_task_call call;
    bool in_call;
    int error;
} seen;

/* The interrupted code's frames of backtrace(): behind the handler and the trampoline. */
static int by_glibc(const struct cw_interrupted *at, void **all, int max)
{
    int n = backtrace(all, max), first = 0;
    while (first < n && (uintptr_t)all[first] != at->ip)
        first++;
    memmove(all, all + first, (size_t)(n - first) * sizeof *all);
    return n - first;
}

static void on_signal(int sig, siginfo_t *info, void *ucontext)
{
    uintptr_t ip[CW_STACK_MAX_FRAMES];
    void *all[80];
    bool truncated;
    (void)sig, (void)info;
    int error = errno;
    cw_interrupted_take(ucontext, &seen.at);
    seen.in_call = cw_interrupted_call(&seen.at, &seen.call, &seen.error);
    unsigned n = cw_interrupted_frames(&seen.at, ip, CW_STACK_MAX_FRAMES, &truncated);
    int want = by_glibc(&seen.at, all, 80);
    bool same = !truncated && (int)n == want && ip[0] == (uintptr_t)all[0] + 1;
    for (unsigned i = 1; same && i < n; i++)
        same = ip[i] == (uintptr_t)all[i];
    seen.different += !same;
    if (n > seen.longest)
        seen.longest = n;
    CW_ADD(seen.n, 1);
    errno = error;
}

static void handle(int sig, int flags)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | flags};
    assert_int_equal(sigaction(sig, &action, NULL), 0);
    memset(&seen, 0, sizeof seen);
}

static __attribute__((noinline)) unsigned work(unsigned depth)
{
    char text[64];
    unsigned sum = 0;
    if (depth)
        sum = work(depth - 1);
    for (unsigned i = 0; i < 20; i++)
        sum += (unsigned)snprintf(text, sizeof text, "%u %s %g", sum, "word", (double)i);
    __asm__ volatile("" ::: "memory");
    return sum;
}

/* At whatever instruction a timer strikes, prologues and libc's own code included. A few of glibc's hand-written functions
 * have tables of a form that is not followed. */
static void test_at_any_instruction(void **state)
{
    (void)state;
    const struct itimerval often = {{0, 500}, {0, 500}}, off = {{0, 0}, {0, 0}};
    handle(SIGPROF, SA_RESTART);
    assert_int_equal(setitimer(ITIMER_PROF, &often, NULL), 0);
    while (CW_GET(seen.n) < 200)
        work(10);
    assert_int_equal(setitimer(ITIMER_PROF, &off, NULL), 0);
    if (seen.different * 100 > seen.n * 2)
        fail_msg("%u of %u stacks differ from backtrace's", seen.different, seen.n);
    assert_true(seen.longest >= 14);
}

static __attribute__((noinline)) void raise_deep(unsigned depth)
{
    if (depth)
        raise_deep(depth - 1);
    else
        raise(SIGUSR1);
    __asm__ volatile("" ::: "memory");
}

static void test_on_a_signal_stack(void **state)
{
    (void)state;
    static char memory[65536];
    stack_t stack = {.ss_sp = memory, .ss_size = sizeof memory}, before;
    assert_int_equal(sigaltstack(&stack, &before), 0);
    handle(SIGUSR1, SA_ONSTACK);
    raise_deep(20);
    sigaltstack(&before, NULL);
    assert_int_equal(seen.n, 1);
    assert_int_equal(seen.different, 0);
    assert_true(seen.longest > 22);
}

/* Registers that lead nowhere end the walk; they do not end the process. */
static void test_nonsense(void **state)
{
    (void)state;
    uintptr_t ip[CW_STACK_MAX_FRAMES];
    bool truncated;
    struct cw_interrupted at = {.ip = (uintptr_t)work, .sp = 8, .bp = 16};
    assert_int_equal(cw_interrupted_frames(&at, ip, CW_STACK_MAX_FRAMES, &truncated), 1);
    at.ip = 0;
    assert_int_equal(cw_interrupted_frames(&at, ip, CW_STACK_MAX_FRAMES, &truncated), 1);
    at.ip = UINTPTR_MAX;
    assert_int_equal(cw_interrupted_frames(&at, ip, CW_STACK_MAX_FRAMES, &truncated), 1);
    struct cw_task_call call;
    int error;
    at.result = -EINTR;
    assert_false(cw_interrupted_call(&at, &call, &error));
    assert_int_equal(error, 0);
    assert_int_equal(cw_interrupted_frames(&at, ip, 0, &truncated), 0);
}

/* --- system calls --- */

static void (*blocks)(void);
static int tube[2];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pid_t blocked_tid;

static void *blocked_main(void *unused)
{
    CW_SET(blocked_tid, gettid());
    blocks();
    return unused;
}

/* Waits until the thread sleeps in its call, sends it a signal, and waits until that was handled. */
static void interrupt(void (*what)(void), pthread_t *ret_thread)
{
    char path[64], text[CW_PROCTASK_BYTES];
    struct cw_task_stat stat = {.state = 0};
    blocks = what;
    CW_SET(blocked_tid, 0);
    assert_int_equal(pthread_create(ret_thread, NULL, blocked_main, NULL), 0);
    while (!CW_GET(blocked_tid))
        ;
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", CW_GET(blocked_tid));
    while (stat.state != 'S') {
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        size_t n = fread(text, 1, sizeof text, file);
        fclose(file);
        assert_true(cw_proctask_stat(text, n, &stat));
    }
    assert_int_equal(pthread_kill(*ret_thread, SIGUSR1), 0);
    while (!CW_GET(seen.n))
        ;
}

static void reads(void)
{
    char byte;
    assert_int_equal(read(tube[0], &byte, 1), 1);
}

static void locks(void)
{
    pthread_mutex_lock(&lock);
    pthread_mutex_unlock(&lock);
}

static void naps(void)
{
    const struct timespec long_time = {.tv_sec = 1000};
    nanosleep(&long_time, NULL); /* until the signal */
}

static void test_calls(void **state)
{
    (void)state;
    pthread_t thread;
    handle(SIGUSR1, SA_RESTART);
    assert_int_equal(pipe(tube), 0);
    interrupt(reads, &thread);
    assert_true(seen.in_call);
    assert_int_equal(seen.call.nr, SYS_read);
    assert_int_equal(cw_proctask_fd(&seen.call), tube[0]);
    assert_int_equal(write(tube[1], "x", 1), 1);
    pthread_join(thread, NULL);

    handle(SIGUSR1, SA_RESTART);
    pthread_mutex_lock(&lock);
    interrupt(locks, &thread);
    assert_true(seen.in_call);
    assert_true(cw_proctask_mutex(&seen.call) == (uintptr_t)&lock);
    pthread_mutex_unlock(&lock);
    pthread_join(thread, NULL);

    handle(SIGUSR1, SA_RESTART);
    interrupt(naps, &thread);
    pthread_join(thread, NULL);
    if (seen.in_call)
        assert_int_equal(seen.call.nr, SYS_clock_nanosleep);
    else
        assert_int_equal(seen.error, EINTR);

    handle(SIGUSR1, SA_RESTART);
    raise_deep(0); /* in tgkill, which returned before */
    assert_true(!seen.in_call && !seen.error);
    close(tube[0]), close(tube[1]);
}

/* --- the memo's places --- */

static __attribute__((noinline)) uint32_t capture(struct cw_site *ret_site)
{
    *ret_site = CW_SITE();
    return cw_stack_capture(ret_site);
}

static __attribute__((noinline)) unsigned check_places(unsigned depth)
{
    unsigned found = 0;
    if (depth) {
        found = check_places(depth - 1);
        __asm__ volatile("" ::: "memory");
        return found;
    }
    struct cw_site site;
    struct cw_memo_places places;
    uint32_t cursor = 0, id = capture(&site);
    uintptr_t ip[CW_STACK_MAX_FRAMES];
    unsigned n = harness_frames(id, ip, NULL);
    while (cw_memo_places(site.ra, cw_stack_epoch(), id, &cursor, &places)) {
        if (places.depth != cw_static.main_stack_end - site.ra_at)
            continue;
        found++;
        assert_int_equal(places.n, n);
        for (unsigned i = 0; i < n; i++) {
            assert_true(places.ip[i] == ip[i]);
            /* The site's own word is gone: capture() has returned. */
            assert_true(i == 0 || *(const uintptr_t *)(site.ra_at + places.place[i]) == ip[i]);
        }
    }
    return found;
}

static void test_places(void **state)
{
    (void)state;
    for (unsigned depth = 0; depth < 20; depth++) {
        check_places(depth); /* walked */
        assert_int_equal(check_places(depth), 1);
    }
    struct cw_memo_places places;
    uint32_t cursor = 0;
    assert_false(cw_memo_places((uintptr_t)work, cw_stack_epoch(), 1, &cursor, &places));
}

static int setup(void **state)
{
    void *first[4];
    (void)state;
    backtrace(first, 4); /* loads libgcc_s, with malloc */
    harness_begin(32, CW_UNWINDER_LIBUNWIND);
    CW_P->pid = getpid(); /* whose memory is looked at */
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_at_any_instruction),
        cmocka_unit_test(test_on_a_signal_stack),
        cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_places),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
