/* Sockets on record: failing accepts, what poll and select were asked for, who shares a socket, where it was passed on to.
 * Runs with the library preloaded. */
#define _GNU_SOURCE
#include "test/preload/own_ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/wait.h>

static struct own_ledger ledger;

/* --- accept --- */

__attribute__((noinline)) static int accept_in_vain(int listener)
{
    int fd = accept(listener, NULL, NULL);
    __asm__ volatile("");
    return fd;
}

__attribute__((noinline)) static int accept_elsewhere(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    __asm__ volatile("");
    return fd;
}

/* Takes every fd below a limit of 64; returns the one to give back last. */
static int use_up_fds(struct rlimit *ret_before)
{
    struct rlimit few;
    int last = -1;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, ret_before), 0);
    few = *ret_before;
    few.rlim_cur = 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    for (int fd; (fd = open("/dev/null", O_RDONLY)) >= 0;)
        last = fd;
    assert_int_equal(errno, EMFILE);
    return last;
}

static void give_back_fds(int last, const struct rlimit *before)
{
    for (int fd = last; fd >= 0; fd--) {
        struct stat null, st;
        if (fstat(fd, &st) == 0 && stat("/dev/null", &null) == 0 && st.st_rdev == null.st_rdev && fd > 2)
            close(fd);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, before), 0);
}

static void test_an_accept_that_fails_for_want_of_an_fd(void **state)
{
    (void)state;
    struct pair p = listening();
    struct rlimit before;
    const struct cw_conn *listener = conn_of(&ledger, p.listener);
    fcntl(p.listener, F_SETFL, O_NONBLOCK);
    assert_true(accept_elsewhere(p.listener) < 0 && errno == EAGAIN);
    assert_int_equal(listener->in_last_res, -EAGAIN);
    assert_int_equal(listener->in_call, CW_CALL_accept4);
    assert_int_equal(listener->touch_stack, 0);
    int last = use_up_fds(&before);
    assert_true(accept_in_vain(p.listener) < 0 && errno == EMFILE);
    uint32_t stack = listener->touch_stack;
    assert_int_equal(listener->in_last_res, -EMFILE);
    assert_int_equal(listener->in_call, CW_CALL_accept);
    assert_true(leads_to(&ledger, stack, (void *)accept_in_vain));
    assert_true(accept_elsewhere(p.listener) < 0 && errno == EMFILE);
    assert_int_equal(listener->touch_stack, stack); /* the first of them */
    give_back_fds(last, &before);
    next_tick(&ledger);
    uint32_t from_ms = now_ms(&ledger);
    assert_true(accept_elsewhere(p.listener) < 0 && errno == EAGAIN);
    assert_int_equal(listener->in_last_res, -EAGAIN); /* there is room again */
    assert_in_range(listener->in_last_ms, from_ms, now_ms(&ledger));
    p.far = client_of(&p);
    p.near = accept_elsewhere(p.listener);
    assert_true(p.near >= 0);
    assert_int_equal(listener->in_last_res, p.near);
    assert_int_equal(listener->in_call, CW_CALL_accept4);
    assert_true(leads_to(&ledger, listener->touch_stack, (void *)accept_elsewhere));
    assert_true(accept_elsewhere(p.listener) < 0 && errno == EAGAIN);
    assert_int_equal(listener->in_last_res, -EAGAIN);
    close_pair(&p);
}

/* --- poll and select --- */

static void test_what_poll_was_asked_for(void **state)
{
    (void)state;
    struct pair p = connected();
    const struct cw_conn *conn = conn_of(&ledger, p.near);
    assert_int_equal(conn->poll_mask, 0);
    struct pollfd asked = {.fd = p.near, .events = POLLIN | POLLRDHUP};
    assert_int_equal(poll(&asked, 1, 0), 0);
    assert_int_equal(conn->poll_mask, POLLIN | POLLRDHUP);
    assert_int_equal(thread_referred(&ledger, conn->ctl_thread)->tid, own_tid());
    struct timespec now = {0, 0};
    asked.events = POLLOUT;
    assert_int_equal(ppoll(&asked, 1, &now, NULL), 1);
    assert_int_equal(conn->poll_mask, POLLOUT);
    close_pair(&p);
}

enum { BY_SELECT, BY_PSELECT, BY_SYSCALL };

static int select_by(int how, int n, fd_set *in, fd_set *out, fd_set *except)
{
    struct timespec now = {0, 0};
    struct timeval at_once = {0, 0};
    switch (how) {
    case BY_SELECT:
        return select(n, in, out, except, &at_once);
    case BY_PSELECT:
        return pselect(n, in, out, except, &now, NULL);
    default:
        return (int)syscall(SYS_select, n, in, out, except, &at_once);
    }
}

static void test_what_select_was_asked_for(void **state)
{
    (void)state;
    for (int how = BY_SELECT; how <= BY_SYSCALL; how++) {
        struct pair p = connected();
        const struct cw_conn *near = conn_of(&ledger, p.near), *far = conn_of(&ledger, p.far);
        const struct cw_conn *listener = conn_of(&ledger, p.listener);
        fd_set in, out, except;
        FD_ZERO(&in);
        FD_ZERO(&out);
        FD_ZERO(&except);
        FD_SET(p.near, &in);
        FD_SET(p.near, &except);
        FD_SET(p.far, &out);
        assert_int_equal(select_by(how, FD_SETSIZE, &in, &out, &except), 1);
        assert_true(FD_ISSET(p.far, &out) && !FD_ISSET(p.near, &in));
        assert_int_equal(near->poll_mask, POLLIN | POLLPRI);
        assert_int_equal(far->poll_mask, POLLOUT);
        assert_int_equal(listener->poll_mask, 0);
        assert_false(listener->flags & CW_CONN_POLLED);
        assert_int_equal(near->event_ms, 0);
        assert_int_equal(far->event_ms, 0); /* that it may write is nothing to look into */
        assert_int_equal(write(p.far, "x", 1), 1);
        FD_SET(p.near, &in);
        assert_int_equal(select_by(how, p.near + 1, &in, NULL, NULL), 1);
        assert_int_equal(near->poll_mask, POLLIN);
        assert_int_not_equal(near->event_ms, 0);
        assert_int_equal(near->event_mask, POLLIN);
        assert_int_equal(near->event_call, how == BY_PSELECT ? CW_CALL_pselect : CW_CALL_select);
        close_pair(&p);
    }
}

/* Who polls one that is in an epoll set as well does not displace who put it there. */
static void *polls(void *arg)
{
    struct pollfd asked = {.fd = *(int *)arg, .events = POLLIN};
    assert_int_equal(poll(&asked, 1, 0), 0);
    return NULL;
}

static void test_who_watches(void **state)
{
    (void)state;
    struct pair p = connected();
    pthread_t thread;
    int set = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    assert_int_equal(epoll_ctl(set, EPOLL_CTL_ADD, p.near, &event), 0);
    pthread_create(&thread, NULL, polls, &p.near);
    pthread_join(thread, NULL);
    assert_int_equal(thread_referred(&ledger, conn_of(&ledger, p.near)->ctl_thread)->tid, own_tid());
    pthread_create(&thread, NULL, polls, &p.far);
    pthread_join(thread, NULL);
    assert_int_not_equal(thread_referred(&ledger, conn_of(&ledger, p.far)->ctl_thread)->tid, own_tid());
    close(set);
    close_pair(&p);
}

/* --- sharing and passing on --- */

static void *reads(void *arg)
{
    char byte;
    assert_true(recv(*(int *)arg, &byte, 1, MSG_DONTWAIT) < 0);
    return NULL;
}

static void test_read_by_a_second_thread(void **state)
{
    (void)state;
    struct pair p = connected();
    const struct cw_conn *conn = conn_of(&ledger, p.near);
    pthread_t thread;
    reads(&p.near);
    reads(&p.near);
    assert_false(conn->flags & CW_CONN_SHARED);
    pthread_create(&thread, NULL, reads, &p.near);
    pthread_join(thread, NULL);
    assert_true(conn->flags & CW_CONN_SHARED);
    close_pair(&p);
}

__attribute__((noinline)) static void pass_on(int channel, int fd)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    char byte = 'x';
    struct iovec iov = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    assert_int_equal(sendmsg(channel, &message, 0), 1);
}

static void test_passed_on_by_a_message(void **state)
{
    (void)state;
    struct pair p = connected();
    const struct cw_conn *conn = conn_of(&ledger, p.near);
    int channel[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, channel), 0);
    uint32_t from_ms = now_ms(&ledger);
    assert_int_equal(conn->copy_close_ms, 0);
    pass_on(channel[0], p.near);
    assert_true(conn->flags & CW_CONN_SCM_SENT);
    assert_false(conn->flags & CW_CONN_COPIED);
    assert_in_range(conn->copy_close_ms, from_ms, now_ms(&ledger));
    assert_int_equal(conn->copy_close_stack, 0);
    assert_true(leads_to(&ledger, conn->copy_stack, (void *)pass_on));
    close(channel[0]);
    close(channel[1]);
    close_pair(&p);
}

static void test_gap_between_writes_after_the_end(void **state)
{
    (void)state;
    struct pair p = connected();
    const struct cw_conn *conn = conn_of(&ledger, p.near);
    char byte;
    assert_int_equal(write(p.near, "x", 1), 1);
    next_tick(&ledger);
    assert_int_equal(shutdown(p.far, SHUT_WR), 0);
    assert_int_equal(read(p.near, &byte, 1), 0);
    next_tick(&ledger);
    assert_int_equal(write(p.near, "x", 1), 1);
    assert_int_equal(conn->out_gap_ds, 0); /* one write since */
    next_tick(&ledger);
    assert_int_equal(write(p.near, "x", 1), 1);
    assert_int_not_equal(conn->out_gap_ds, 0);
    close_pair(&p);
}

int main(void)
{
    struct pair first = connected();
    ledger = map_ledger();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_accept_that_fails_for_want_of_an_fd),
        cmocka_unit_test(test_what_poll_was_asked_for),
        cmocka_unit_test(test_what_select_was_asked_for),
        cmocka_unit_test(test_who_watches),
        cmocka_unit_test(test_read_by_a_second_thread),
        cmocka_unit_test(test_passed_on_by_a_message),
        cmocka_unit_test(test_gap_between_writes_after_the_end),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    close_pair(&first);
    return failed;
}
