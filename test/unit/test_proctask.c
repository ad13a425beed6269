/* core/proctask.c: lines of /proc/PID/task/TID/stat and syscall, made up and the real ones of this process. */
#define _GNU_SOURCE
#include "core/proctask.h"

#include "include/cwguard_ledger.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

static const char stat_text[] = "77 (we) ird (x) S 1 77 77 0 -1 4194304 100 0 0 0 5 6 0 0 20 0 3 0 123456789 1000 50 "
                                "18446744073709551615 1 1 140731234567890 0 0 0\n";
static const char read_text[] =
    "0 0x7 0x7fd98814e000 0x20000 0x7fd9881dfb60 0xffffffff 0x0 0x7ffdcb7895e8 0x7fd9882c82ad\n";

static void test_stat(void **state)
{
    (void)state;
    struct cw_task_stat stat;
    assert_true(cw_proctask_stat(stat_text, strlen(stat_text), &stat));
    assert_int_equal(stat.state, 'S');
    assert_true(stat.start_ticks == 123456789);
    assert_true(stat.start_stack == UINT64_C(140731234567890));
    for (size_t n = 0; n < strlen("77 (we) ird (x) S 1 77 77 0 -1 4194304 100 0 0 0 5 6 0 0 20 0 3 0"); n++)
        assert_false(cw_proctask_stat(stat_text, n, &stat));
    static const char long_state[] = "77 (x) SS 1 2 3";
    assert_false(cw_proctask_stat(long_state, strlen(long_state), &stat));
}

static void test_syscall_of_a_blocked_thread(void **state)
{
    (void)state;
    struct cw_task_call call;
    assert_true(cw_proctask_syscall(read_text, strlen(read_text), &call));
    assert_int_equal(call.nr, SYS_read);
    assert_int_equal(call.args[0], 7);
    assert_true(call.args[2] == 0x20000 && call.args[4] == UINT64_C(0xffffffff));
    assert_true(call.sp == UINT64_C(0x7ffdcb7895e8) && call.pc == UINT64_C(0x7fd9882c82ad));
    assert_int_equal(cw_proctask_fd(&call), 7);
    assert_true(cw_proctask_mutex(&call) == 0);
    for (size_t n = 0; n < strlen(read_text) - strlen(" 0x7fd9882c82ad"); n++)
        assert_false(cw_proctask_syscall(read_text, n, &call));
}

static void test_syscall_of_others(void **state)
{
    (void)state;
    struct cw_task_call call;
    static const char running[] = "running\n", faulting[] = "-1 0x7ff0 0x1234\n", runner[] = "runningx\n",
                      trailing[] = "-1 0x7ff0 0x1234 0x1\n", huge[] = "99999 0x0 0x0 0x0 0x0 0x0 0x0 0x1 0x2\n",
                      wrong[] = "0 0x7g 0x0 0x0 0x0 0x0 0x0 0x1 0x2\n";
    assert_true(cw_proctask_syscall(running, strlen(running), &call));
    assert_int_equal(call.nr, CW_SYSCALL_NONE);
    assert_true(call.sp == 0);
    assert_true(cw_proctask_syscall(faulting, strlen(faulting), &call));
    assert_int_equal(call.nr, CW_SYSCALL_NONE);
    assert_true(call.sp == 0x7ff0 && call.pc == 0x1234);
    assert_false(cw_proctask_syscall(runner, strlen(runner), &call));
    assert_false(cw_proctask_syscall(trailing, strlen(trailing), &call));
    assert_false(cw_proctask_syscall(huge, strlen(huge), &call));
    assert_false(cw_proctask_syscall(wrong, strlen(wrong), &call));
    assert_false(cw_proctask_syscall("", 0, &call));
}

static void test_what_a_contended_mutex_is(void **state)
{
    (void)state;
    struct cw_task_call call = {.nr = SYS_futex, .args = {0x1000, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 2}};
    assert_true(cw_proctask_mutex(&call) == 0x1000);
    assert_int_equal(cw_proctask_fd(&call), 0);
    call.args[2] = 0; /* a condition variable, a semaphore */
    assert_true(cw_proctask_mutex(&call) == 0);
    call.args[2] = 2;
    call.args[1] = FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG;
    assert_true(cw_proctask_mutex(&call) == 0);
    call = (struct cw_task_call){.nr = SYS_poll, .args = {0x1000, 1, 2}};
    assert_int_equal(cw_proctask_fd(&call), 0);
}

/* A number given to another thread: it began after the one on record had touched a socket. */
static void test_another_thread_of_the_same_number(void **state)
{
    (void)state;
    struct cw_ledger header = {
        .start_ticks = 1000, .process_start_mono_ns = UINT64_C(10000000000), .start_mono_ns = UINT64_C(12000000000)};
    struct cw_thread thread = {.first_ms = 3000}; /* 15 s, that is 500 ticks after the process */
    assert_false(cw_proctask_is_another(&header, &thread, 1000, 0));
    assert_false(cw_proctask_is_another(&header, &thread, 1500, 0));
    assert_true(cw_proctask_is_another(&header, &thread, 1504, 0));
    assert_false(cw_proctask_is_another(&header, &thread, 0, 0)); /* not known */
    /* Of 15.04 s since boot the machine was awake for 10 or 15. */
    assert_false(cw_proctask_is_another(&header, &thread, 1504, UINT64_C(5000000000)));
    assert_false(cw_proctask_is_another(&header, &thread, 1504, UINT64_C(10000000)));
    assert_true(cw_proctask_is_another(&header, &thread, 2004, UINT64_C(5000000000)));
    assert_false(cw_proctask_is_another(&header, &thread, 2003, UINT64_C(5000000000)));
    assert_false(cw_proctask_is_another(&header, &thread, 1504, UINT64_MAX));
    assert_false(cw_proctask_is_another(&header, &thread, UINT64_MAX, 0)); /* no such time */
    header.start_ticks = 0;
    assert_false(cw_proctask_is_another(&header, &thread, 1504, 0));
}

/* --- the kernel's own text --- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int thread_tid;

static void *waits(void *unused)
{
    (void)unused;
    __atomic_store_n(&thread_tid, (int)gettid(), __ATOMIC_RELEASE);
    pthread_mutex_lock(&lock);
    pthread_mutex_unlock(&lock);
    return NULL;
}

static size_t file_of(int tid, const char *name, char text[CW_PROCTASK_BYTES])
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/%s", tid, name);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t n = read(fd, text, CW_PROCTASK_BYTES);
    close(fd);
    return n < 0 ? 0 : (size_t)n;
}

static void test_the_real_files(void **state)
{
    (void)state;
    char text[CW_PROCTASK_BYTES];
    struct cw_task_stat stat;
    struct cw_task_call call = {.nr = -5};
    pthread_t thread;
    int tid, owner;

    pthread_mutex_lock(&lock);
    assert_int_equal(pthread_create(&thread, NULL, waits, NULL), 0);
    while (!(tid = __atomic_load_n(&thread_tid, __ATOMIC_ACQUIRE)) || cw_proctask_mutex(&call) == 0) {
        if (!tid)
            continue;
        size_t n = file_of(tid, "syscall", text);
        if (n == 0) {
            print_message("skipped: /proc/self/task/TID/syscall cannot be read here\n");
            break;
        }
        assert_true(cw_proctask_syscall(text, n, &call));
    }
    if (cw_proctask_mutex(&call)) {
        assert_true(cw_proctask_mutex(&call) == (uintptr_t)&lock);
        memcpy(&owner, (const char *)&lock + CW_MUTEX_OWNER_BYTES, sizeof owner);
        assert_int_equal(owner, gettid());
        assert_true(call.sp != 0 && call.pc != 0);
        assert_true(cw_proctask_stat(text, file_of(tid, "stat", text), &stat));
        assert_int_equal(stat.state, 'S');
        assert_true(stat.start_ticks > 0);
    }
    pthread_mutex_unlock(&lock);
    pthread_join(thread, NULL);
    assert_true(cw_proctask_syscall(text, file_of((int)gettid(), "syscall", text), &call));
    assert_int_equal(call.nr, SYS_read); /* it is this very read */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stat),
        cmocka_unit_test(test_syscall_of_a_blocked_thread),
        cmocka_unit_test(test_syscall_of_others),
        cmocka_unit_test(test_what_a_contended_mutex_is),
        cmocka_unit_test(test_another_thread_of_the_same_number),
        cmocka_unit_test(test_the_real_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
