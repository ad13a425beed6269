/* Threads on record: when they exited, and whether they wait. Runs with the library preloaded. */
#define _GNU_SOURCE
#include "test/preload/own_ledger.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/wait.h>

static struct own_ledger ledger;
static struct pair sockets;
static int set; /* an epoll set that the near end is in */
static volatile int thread_tid;

static void touch(void)
{
    char byte;
    assert_true(recv(sockets.near, &byte, 1, MSG_DONTWAIT) < 0);
}

static pthread_t start(void *(*function)(void *))
{
    pthread_t thread;
    thread_tid = 0;
    assert_int_equal(pthread_create(&thread, NULL, function, NULL), 0);
    UNTIL(thread_tid != 0);
    return thread;
}

/* Runs a thread to its end; its record. */
static const struct cw_thread *run(void *(*function)(void *))
{
    pthread_join(start(function), NULL);
    const struct cw_thread *thread = thread_of(&ledger, thread_tid);
    assert_non_null(thread);
    return thread;
}

static bool waits(int tid)
{
    const struct cw_thread *thread = thread_of(&ledger, tid);
    return thread && CW_GET(thread->in_wait) == 1;
}

/* --- exits --- */

static void *returns(void *arg)
{
    thread_tid = own_tid();
    touch();
    next_tick(&ledger);
    return arg;
}

static void *calls_pthread_exit(void *arg)
{
    thread_tid = own_tid();
    touch();
    pthread_exit(arg);
}

static void test_exit_is_on_record(void **state)
{
    (void)state;
    uint32_t from_ms = now_ms(&ledger);
    const struct cw_thread *thread = run(returns);
    assert_in_range(thread->exit_ms, from_ms, now_ms(&ledger));
    assert_true(thread->exit_ms > CW_GET(conn_of(&ledger, sockets.near)->in_last_ms));
    thread = run(calls_pthread_exit);
    assert_in_range(thread->exit_ms, from_ms, now_ms(&ledger));
    assert_int_equal(thread_of(&ledger, getpid())->exit_ms, 0);
}

static void *waits_for_ever(void *arg)
{
    struct epoll_event event;
    thread_tid = own_tid();
    epoll_wait(set, &event, 1, -1);
    return arg;
}

static void test_cancelled_in_a_wait(void **state)
{
    (void)state;
    pthread_t thread = start(waits_for_ever);
    UNTIL(waits(thread_tid));
    pthread_cancel(thread);
    pthread_join(thread, NULL);
    assert_int_equal(thread_of(&ledger, thread_tid)->in_wait, 0);
    assert_int_not_equal(thread_of(&ledger, thread_tid)->exit_ms, 0);
}

static pthread_key_t late_key;
static int late_rounds;
static volatile uint32_t late_touch_ms;

/* Later than the recorder's own: keys are taken in the order of their numbers. */
static void touch_at_exit(void *value)
{
    next_tick(&ledger);
    touch();
    late_touch_ms = conn_of(&ledger, sockets.near)->in_last_ms;
    if (--late_rounds > 0)
        pthread_setspecific(late_key, value);
}

static void *touches_at_exit(void *arg)
{
    thread_tid = own_tid();
    touch();
    pthread_setspecific(late_key, &late_key);
    return arg;
}

static void test_a_touch_after_the_destructor(void **state)
{
    (void)state;
    pthread_key_create(&late_key, touch_at_exit);
    late_rounds = 1;
    const struct cw_thread *thread = run(touches_at_exit);
    assert_int_not_equal(thread->exit_ms, 0);
    assert_true(thread->exit_ms >= late_touch_ms);
    late_rounds = PTHREAD_DESTRUCTOR_ITERATIONS; /* the last touch comes after every round of ours */
    thread = run(touches_at_exit);
    assert_true(thread->exit_ms == 0 || thread->exit_ms >= late_touch_ms);
    pthread_key_delete(late_key);
}

/* In a child, whose main thread exits while another goes on: that one says what was seen of it. */
static void *outlives_main(void *arg)
{
    struct own_ledger *own = arg;
    time_t until = time(NULL) + 20;
    while (CW_GET(thread_of(own, getpid())->exit_ms) == 0 && time(NULL) < until)
        sched_yield();
    syscall(SYS_exit_group, thread_of(own, getpid())->exit_ms ? 0 : 1);
    return NULL;
}

static void test_main_thread_exits(void **state)
{
    (void)state;
    static struct own_ledger own;
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        touch();
        own = map_ledger();
        if (thread_of(&own, getpid())->exit_ms != 0) /* nothing of the parent's is left in it */
            syscall(SYS_exit_group, 2);
        pthread_create(&thread, NULL, outlives_main, &own);
        pthread_exit(NULL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* More threads than there is room for: records of those that are gone are given to new ones. */
static void test_a_record_used_again(void **state)
{
    (void)state;
    uint32_t capacity = ledger.header->sections[CW_SECTION_THREADS].capacity;
    const struct cw_thread *thread = NULL;
    for (uint32_t i = 0; i < capacity + 8; i++) {
        thread_tid = 0;
        pthread_t started;
        assert_int_equal(pthread_create(&started, NULL, calls_pthread_exit, NULL), 0);
        pthread_join(started, NULL);
    }
    thread = thread_of(&ledger, thread_tid);
    assert_non_null(thread);
    assert_int_not_equal(thread->generation, 0);
    assert_int_not_equal(thread->exit_ms, 0);
    assert_int_equal(thread->k_ms, 0);
    pthread_t waiting = start(waits_for_ever);
    UNTIL(waits(thread_tid));
    thread = thread_of(&ledger, thread_tid);
    assert_int_not_equal(thread->generation, 0);
    assert_int_equal(thread->exit_ms, 0);
    assert_int_equal(thread->wait_ms, 0);
    pthread_cancel(waiting);
    pthread_join(waiting, NULL);
}

/* --- waits --- */

static void *waits_once(void *arg)
{
    struct epoll_event event;
    thread_tid = own_tid();
    epoll_wait(set, &event, 1, -1);
    return arg;
}

static void test_the_first_wait(void **state)
{
    (void)state;
    char byte;
    pthread_t thread = start(waits_once);
    UNTIL(waits(thread_tid));
    assert_int_equal(thread_of(&ledger, thread_tid)->waiting_set, conn_of(&ledger, sockets.near)->epoll_set);
    assert_int_not_equal(thread_of(&ledger, thread_tid)->waiting_set, 0);
    assert_int_equal(write(sockets.far, "x", 1), 1);
    pthread_join(thread, NULL);
    assert_int_equal(thread_of(&ledger, thread_tid)->in_wait, 0);
    assert_int_equal(thread_of(&ledger, thread_tid)->waiting_set, 0);
    assert_int_equal(thread_of(&ledger, thread_tid)->wait_call, CW_CALL_epoll_wait);
    assert_int_equal(recv(sockets.near, &byte, 1, 0), 1);
}

static sigjmp_buf out_of_wait;
static sem_t go_on;

static void jump(int signal)
{
    (void)signal;
    siglongjmp(out_of_wait, 1);
}

static void *jumps_out(void *arg)
{
    struct epoll_event event;
    if (sigsetjmp(out_of_wait, 1) == 0) {
        thread_tid = own_tid();
        epoll_wait(set, &event, 1, -1);
    }
    touch();
    sem_wait(&go_on);
    return arg;
}

static void test_a_wait_left_by_longjmp(void **state)
{
    (void)state;
    sem_init(&go_on, 0, 0);
    signal(SIGUSR1, jump);
    pthread_t thread = start(jumps_out);
    UNTIL(waits(thread_tid));
    pthread_kill(thread, SIGUSR1);
    UNTIL(!waits(thread_tid));
    assert_int_equal(thread_of(&ledger, thread_tid)->waiting_set, 0);
    sem_post(&go_on);
    pthread_join(thread, NULL);
    sem_destroy(&go_on);
}

static int accepted_fd;

__attribute__((noinline)) static void *accepts(void *arg)
{
    thread_tid = own_tid();
    accepted_fd =
        arg ? (int)syscall(SYS_accept4, sockets.listener, NULL, NULL, 0) : accept(sockets.listener, NULL, NULL);
    return NULL;
}

static void wait_in_accept(void *raw, void *from)
{
    pthread_t thread;
    thread_tid = 0;
    assert_int_equal(pthread_create(&thread, NULL, accepts, raw), 0);
    UNTIL(thread_tid != 0 && waits(thread_tid));
    assert_int_equal(thread_of(&ledger, thread_tid)->waiting_set, 0);
    int client = client_of(&sockets);
    pthread_join(thread, NULL);
    const struct cw_thread *record = thread_of(&ledger, thread_tid);
    assert_int_equal(record->in_wait, 0);
    assert_int_equal(record->wait_call, raw ? CW_CALL_accept4 : CW_CALL_accept);
    assert_int_equal(record->wait_res, accepted_fd);
    assert_int_not_equal(record->wait_ms, 0);
    assert_true(leads_to(&ledger, record->wait_stack, from));
    close(accepted_fd);
    close(client);
}

static void test_a_blocking_accept_is_a_wait(void **state)
{
    (void)state;
    wait_in_accept(NULL, (void *)accepts);
    wait_in_accept(&go_on, (void *)accepts);
}

/* In a loop around poll, the loop's wait is the poll. */
static void test_accept_after_poll_is_none(void **state)
{
    (void)state;
    int client = client_of(&sockets);
    struct pollfd asked = {.fd = sockets.listener, .events = POLLIN};
    assert_int_equal(poll(&asked, 1, 20000), 1);
    const struct cw_thread *thread = thread_of(&ledger, getpid());
    uint32_t wait_ms = thread->wait_ms, wait_stack = thread->wait_stack;
    next_tick(&ledger);
    int fd = accept(sockets.listener, NULL, NULL);
    assert_true(fd >= 0);
    assert_int_equal(thread->wait_call, CW_CALL_poll);
    assert_int_equal(thread->wait_ms, wait_ms);
    assert_int_equal(thread->wait_stack, wait_stack);
    assert_int_equal(thread->in_wait, 0);
    close(fd);
    close(client);
}

int main(void)
{
    sockets = connected();
    set = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    if (epoll_ctl(set, EPOLL_CTL_ADD, sockets.near, &event))
        return 2;
    ledger = map_ledger();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exit_is_on_record),
        cmocka_unit_test(test_cancelled_in_a_wait),
        cmocka_unit_test(test_a_touch_after_the_destructor),
        cmocka_unit_test(test_main_thread_exits),
        cmocka_unit_test(test_the_first_wait),
        cmocka_unit_test(test_a_wait_left_by_longjmp),
        cmocka_unit_test(test_a_blocking_accept_is_a_wait),
        cmocka_unit_test(test_accept_after_poll_is_none),
        cmocka_unit_test(
            test_a_record_used_again), /* last: finding a record by tid needs records that are still given out */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
