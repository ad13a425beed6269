/* Forks on record: the ring in the parent's ledger, the child's header. Runs with the library preloaded. */
#define _GNU_SOURCE
#include "test/preload/own_ledger.h"

#include <errno.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>

static struct own_ledger ledger;
static struct pair sockets;

static uint32_t forks(const struct own_ledger *of)
{
    return (uint32_t)CW_GET(of->header->counters[CW_COUNTER_forks]);
}

static const struct cw_fork *record_of(const struct own_ledger *of, uint32_t seq)
{
    return &of->forks[seq % of->header->sections[CW_SECTION_FORKS].capacity];
}

static void end_child(int status)
{
    syscall(SYS_exit_group, status);
}

static int status_of(pid_t child)
{
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

__attribute__((noinline)) static pid_t fork_here(void)
{
    pid_t child = fork();
    __asm__ volatile("");
    return child;
}

static void test_parent_has_it_on_record(void **state)
{
    (void)state;
    uint32_t before = forks(&ledger), from_ms = now_ms(&ledger);
    errno = 77;
    pid_t child = fork_here();
    if (child == 0)
        end_child(0);
    assert_int_equal(errno, 77);
    assert_int_equal(status_of(child), 0);
    assert_int_equal(forks(&ledger), before + 1);
    const struct cw_fork *fork = record_of(&ledger, before + 1);
    assert_int_equal(fork->seq, before + 1);
    assert_int_equal(fork->pid, child);
    assert_in_range(fork->ms, from_ms, now_ms(&ledger));
    assert_true(leads_to(&ledger, fork->stack, (void *)fork_here));
    assert_int_equal(thread_referred(&ledger, fork->thread)->tid, getpid());
    uint32_t capacity = ledger.header->sections[CW_SECTION_FORKS].capacity;
    assert_true(ledger.header->sections[CW_SECTION_FORKS].used > (before + 1) % capacity);
}

/* In a child: 0 if its own header says where and when it was forked. */
static int wrong_in_child(uint32_t from_ms)
{
    char byte;
    recv(sockets.near, &byte, 1, MSG_DONTWAIT); /* the first touch begins a ledger */
    struct own_ledger own = map_ledger();
    uint32_t fork_ms = own.header->fork_ms;
    if (!(own.header->flags & CW_HEADER_FORKED))
        return 1;
    if (!leads_to(&own, own.header->fork_stack, (void *)fork_here))
        return 2;
    if (fork_ms < from_ms || fork_ms > now_ms(&own))
        return 3;
    if (forks(&own) != 0 || own.header->sections[CW_SECTION_FORKS].used > 1)
        return 4;
    if (conn_of(&own, sockets.near)->origin != CW_ORIGIN_FORKED)
        return 5;
    return 0;
}

static void test_child_knows_where_it_was_forked(void **state)
{
    (void)state;
    uint32_t from_ms = now_ms(&ledger);
    pid_t child = fork_here();
    if (child == 0)
        end_child(wrong_in_child(from_ms));
    assert_int_equal(status_of(child), 0);
}

static void test_without_sockets_there_is_no_stack(void **state)
{
    (void)state;
    close_pair(&sockets);
    pid_t child = fork_here();
    if (child == 0)
        end_child(0);
    status_of(child);
    const struct cw_fork *fork = record_of(&ledger, forks(&ledger));
    assert_int_equal(fork->seq, forks(&ledger));
    assert_int_equal(fork->pid, child);
    assert_int_equal(fork->stack, 0);
    sockets = connected();
}

static void test_a_fork_inside_libc_has_neither_stack_nor_pid(void **state)
{
    (void)state;
    uint32_t before = forks(&ledger);
    int terminal = -1;
    pid_t child = forkpty(&terminal, NULL, NULL, NULL);
    if (child < 0)
        skip(); /* no pseudo-terminals here */
    if (child == 0)
        end_child(0);
    status_of(child);
    close(terminal);
    assert_int_equal(forks(&ledger), before + 1);
    const struct cw_fork *fork = record_of(&ledger, before + 1);
    assert_int_equal(fork->seq, before + 1);
    assert_int_equal(fork->stack, 0);
    assert_int_equal(fork->pid, 0);
    assert_int_equal(thread_referred(&ledger, fork->thread)->tid, getpid());
}

static void test_vfork_and_raw_clones_change_nothing(void **state)
{
    (void)state;
    uint32_t before = forks(&ledger);
    struct cw_fork last = *record_of(&ledger, before);
    pid_t child = vfork();
    if (child == 0)
        _exit(0);
    assert_int_equal(status_of(child), 0);
    child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (child == 0)
        end_child(0);
    assert_int_equal(status_of(child), 0);
    child = vfork();
    if (child == 0) {
        pid_t grandchild = fork();
        if (grandchild == 0)
            syscall(SYS_exit_group, 0);
        _exit(grandchild < 0);
    }
    assert_int_equal(status_of(child), 0);
    assert_int_equal(forks(&ledger), before);
    assert_memory_equal(&last, record_of(&ledger, before), sizeof last);
}

static volatile pid_t handler_child;

static void fork_in_handler(int signal)
{
    (void)signal;
    handler_child = fork_here();
    if (handler_child == 0)
        end_child(0);
}

static void test_in_a_signal_handler(void **state)
{
    (void)state;
    uint32_t before = forks(&ledger);
    signal(SIGUSR1, fork_in_handler);
    raise(SIGUSR1);
    assert_int_equal(status_of(handler_child), 0);
    assert_int_equal(record_of(&ledger, before + 1)->seq, before + 1);
    assert_int_equal(record_of(&ledger, before + 1)->pid, handler_child);
    assert_true(leads_to(&ledger, record_of(&ledger, before + 1)->stack, (void *)fork_here));
}

/* In a child that may make no more processes: a user's limit, which root has to become a user to meet. */
static int wrong_after_failure(void)
{
    char byte;
    recv(sockets.near, &byte, 1, MSG_DONTWAIT);
    struct own_ledger own = map_ledger();
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_NPROC, &none);
    if (geteuid() == 0 && (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)))
        return 50;
    errno = 0;
    pid_t child = fork_here();
    if (child == 0)
        end_child(0);
    if (child > 0)
        return 50;
    if (errno != EAGAIN)
        return 1;
    return record_of(&own, forks(&own))->seq == 0 ? 0 : 2;
}

static void test_a_fork_that_fails_is_not_on_record(void **state)
{
    (void)state;
    pid_t child = fork_here();
    if (child == 0)
        end_child(wrong_after_failure());
    int status = status_of(child);
    if (WEXITSTATUS(status) == 50)
        skip(); /* nothing keeps us from making processes */
    assert_int_equal(status, 0);
}

static void test_the_ring_holds_the_last_ones(void **state)
{
    (void)state;
    uint32_t capacity = ledger.header->sections[CW_SECTION_FORKS].capacity, n = capacity + 3,
             first = forks(&ledger) + 1;
    pid_t *children = calloc(n, sizeof *children);
    assert_non_null(children);
    for (uint32_t i = 0; i < n; i++) {
        children[i] = fork_here();
        if (children[i] == 0)
            end_child(0);
        status_of(children[i]);
    }
    assert_int_equal(forks(&ledger), first + n - 1);
    for (uint32_t i = n - capacity; i < n; i++) {
        assert_int_equal(record_of(&ledger, first + i)->seq, first + i);
        assert_int_equal(record_of(&ledger, first + i)->pid, children[i]);
    }
    assert_int_equal(ledger.header->sections[CW_SECTION_FORKS].used, capacity);
    free(children);
}

int main(void)
{
    sockets = connected();
    ledger = map_ledger();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parent_has_it_on_record),
        cmocka_unit_test(test_child_knows_where_it_was_forked),
        cmocka_unit_test(test_without_sockets_there_is_no_stack),
        cmocka_unit_test(test_a_fork_inside_libc_has_neither_stack_nor_pid),
        cmocka_unit_test(test_vfork_and_raw_clones_change_nothing),
        cmocka_unit_test(test_in_a_signal_handler),
        cmocka_unit_test(test_a_fork_that_fails_is_not_on_record),
        cmocka_unit_test(test_the_ring_holds_the_last_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
