/* core/conn.c: what each event does to a record. */
#define _GNU_SOURCE
#include "core/conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cmocka.h>

static struct cw_conn opened(enum cw_origin origin)
{
    struct cw_conn conn;
    memset(&conn, 0, sizeof conn);
    cw_conn_open(&conn, origin, CW_CALL_accept4, 7, 11, 22, 3, 1000);
    return conn;
}

static bool in(struct cw_conn *conn, int32_t result, unsigned transfer, uint32_t now_ms)
{
    struct cw_touch touch = {
        .call = CW_CALL_recv, .transfer = (uint8_t)transfer, .result = result, .now_ms = now_ms, .thread = 5};
    return cw_conn_in(conn, &touch);
}

static void out(struct cw_conn *conn, int32_t result, uint32_t now_ms)
{
    struct cw_touch touch = {.call = CW_CALL_send, .result = result, .now_ms = now_ms, .thread = 6};
    cw_conn_out(conn, &touch);
}

static void test_open(void **state)
{
    (void)state;
    struct cw_conn conn = opened(CW_ORIGIN_ACCEPT);
    assert_int_equal(conn.flags, CW_CONN_IN_USE | CW_CONN_CONNECTED);
    assert_int_equal(conn.fd, 7);
    assert_int_equal(conn.open_stack, 11);
    assert_int_equal(conn.open_thread, 22);
    assert_int_equal(conn.fork_seq, 3);
    assert_int_equal(conn.open_ms, 1000);
    assert_int_equal(opened(CW_ORIGIN_SOCKET).flags, CW_CONN_IN_USE);
}

static void test_first_and_last_read(void **state)
{
    (void)state;
    struct cw_conn conn = opened(CW_ORIGIN_ACCEPT);
    assert_false(in(&conn, 100, 0, 1500));
    assert_false(in(&conn, -EAGAIN, 0, 1600));
    assert_int_equal(conn.in_first_ms, 1500);
    assert_int_equal(conn.in_first_res, 100);
    assert_int_equal(conn.in_last_ms, 1600);
    assert_int_equal(conn.in_last_res, -EAGAIN);
    assert_int_equal(conn.touch_thread, 5);
    assert_false(conn.flags & CW_CONN_IN_FAILED);
    in(&conn, -ECONNRESET, 0, 1700);
    assert_true(conn.flags & CW_CONN_IN_FAILED);
}

static void test_end_of_stream(void **state)
{
    (void)state;
    struct cw_conn conn = opened(CW_ORIGIN_ACCEPT);
    assert_true(in(&conn, 0, 0, 2000)); /* the first to meet it */
    assert_false(in(&conn, 0, 0, 3000));
    assert_true(conn.flags & CW_CONN_EOF_SEEN);
    assert_true(conn.flags & CW_CONN_EOF_CONSUMED);
    assert_int_equal(conn.eof_ms, 2000);
    assert_int_equal(conn.fin_ms, 2000);
    assert_int_equal(conn.eof_call, CW_CALL_recv);
}

static void test_peek_has_seen_but_not_consumed(void **state)
{
    (void)state;
    struct cw_conn conn = opened(CW_ORIGIN_ACCEPT);
    assert_true(in(&conn, 0, CW_TRANSFER_PEEK, 2000));
    assert_true(conn.flags & CW_CONN_EOF_SEEN);
    assert_false(conn.flags & CW_CONN_EOF_CONSUMED);
    assert_false(in(&conn, 0, 0, 2500));
    assert_true(conn.flags & CW_CONN_EOF_CONSUMED);
    assert_int_equal(conn.eof_ms, 2000);
}

static void test_empty_read_is_no_end(void **state)
{
    (void)state;
    struct cw_conn conn = opened(CW_ORIGIN_ACCEPT);
    assert_false(in(&conn, 0, CW_TRANSFER_EMPTY, 2000));
    assert_false(in(&conn, 0, CW_TRANSFER_EMPTY | CW_TRANSFER_PEEK, 2000));
    assert_false(conn.flags & (CW_CONN_EOF_SEEN | CW_CONN_EOF_CONSUMED));
    assert_int_equal(conn.eof_ms, 0);
}

/* A server: read, write, read, write are two requests answered; a client: write, read are one answer. */
static void test_turns(void **state)
{
    (void)state;
    struct cw_conn server = opened(CW_ORIGIN_ACCEPT), client = opened(CW_ORIGIN_CONNECT);
    in(&server, 10, 0, 1);
    in(&server, 10, 0, 2);
    out(&server, 10, 3);
    out(&server, 10, 4);
    in(&server, 10, 0, 5);
    out(&server, 10, 6);
    assert_int_equal(server.turns_out, 2);
    assert_int_equal(server.turns_in, 1);
    out(&client, 10, 1);
    in(&client, 10, 0, 2);
    in(&client, 0, 0, 3); /* the end is no answer */
    assert_int_equal(client.turns_in, 1);
    assert_int_equal(client.turns_out, 0);
    out(&client, -EPIPE, 4);
    assert_true(client.flags & CW_CONN_OUT_FAILED);
}

static void test_same_place(void **state)
{
    (void)state;
    struct cw_conn conn = opened(CW_ORIGIN_ACCEPT);
    assert_false(cw_conn_same_place(&conn, 0x401000, 0x7ffe00001000));
    cw_conn_moved(&conn, 0x401000, 0x7ffe00001000, 99);
    assert_true(cw_conn_same_place(&conn, 0x401000, 0x7ffe00001000));
    assert_false(cw_conn_same_place(&conn, 0x401000, 0x7ffe00001010));
    assert_false(cw_conn_same_place(&conn, 0x401004, 0x7ffe00001000));
    assert_int_equal(conn.touch_stack, 99);
}

static void test_interest(void **state)
{
    (void)state;
    struct cw_conn conn = opened(CW_ORIGIN_ACCEPT);
    cw_conn_ctl(&conn, EPOLL_CTL_ADD, EPOLLIN | EPOLLET, 4, 2, 31, 5, 100);
    assert_true(conn.flags & CW_CONN_WATCHED);
    assert_int_equal(conn.epoll_fd, 4);
    assert_int_equal(conn.epoll_mask, EPOLLIN | EPOLLET);
    assert_int_equal(conn.epoll_sets, 1);
    cw_conn_ctl(&conn, EPOLL_CTL_MOD, EPOLLOUT, 4, 2, 32, 5, 200);
    assert_int_equal(conn.epoll_mask, EPOLLOUT);
    cw_conn_ctl(&conn, EPOLL_CTL_DEL, 0, 4, 2, 33, 5, 300);
    assert_false(conn.flags & CW_CONN_WATCHED);
    assert_true(conn.flags & CW_CONN_WAS_WATCHED);
    assert_int_equal(conn.epoll_mask, EPOLLOUT); /* what it was when it was taken out */
    assert_int_equal(conn.ctl_op, EPOLL_CTL_DEL);
    assert_int_equal(conn.ctl_stack, 33);
    assert_int_equal(conn.ctl_ms, 300);
}

static void test_delivered_events(void **state)
{
    (void)state;
    struct cw_conn conn = opened(CW_ORIGIN_ACCEPT);
    assert_false(cw_conn_polled(&conn, CW_CALL_poll, POLLIN, 0, 5, 100));
    assert_true(conn.flags & CW_CONN_POLLED);
    assert_true(cw_conn_polled(&conn, CW_CALL_poll, POLLIN, POLLIN | POLLRDHUP, 5, 200));
    assert_false(
        cw_conn_polled(&conn, CW_CALL_poll, POLLIN, POLLIN | POLLRDHUP, 5, 300)); /* level-triggered: again and again */
    assert_int_equal(conn.event_ms, 200);
    assert_int_equal(conn.fin_ms, 200);
    assert_int_equal(conn.event_mask, POLLIN | POLLRDHUP);
    in(&conn, 5, 0, 400); /* looked at: the next delivery is a new one */
    assert_int_equal(conn.event_ms, 0);
    assert_true(cw_conn_polled(&conn, CW_CALL_select, POLLIN, POLLIN, 5, 500));
}

static void test_poll_interest(void **state)
{
    (void)state;
    struct cw_conn conn = opened(CW_ORIGIN_ACCEPT);
    cw_conn_polled(&conn, CW_CALL_poll, POLLOUT | POLLRDHUP, POLLOUT, 8, 100);
    assert_int_equal(conn.poll_mask, POLLOUT | POLLRDHUP);
    assert_int_equal(conn.ctl_thread, 8);
    assert_int_equal(conn.event_ms, 0); /* room to write is not what a read would follow */
    cw_conn_polled(&conn, CW_CALL_select, POLLIN, 0, 9, 200);
    assert_int_equal(conn.poll_mask, POLLIN);
    assert_int_equal(conn.ctl_thread, 9);
    cw_conn_ctl(&conn, EPOLL_CTL_ADD, EPOLLIN, 4, 2, 31, 5, 300);
    cw_conn_polled(&conn, CW_CALL_poll, POLLPRI, 0, 9, 400);
    assert_int_equal(conn.poll_mask, POLLPRI);
    assert_int_equal(conn.ctl_thread, 5); /* epoll_ctl's own */
    cw_conn_ctl(&conn, EPOLL_CTL_DEL, 0, 4, 2, 31, 6, 500);
    cw_conn_polled(&conn, CW_CALL_poll, POLLIN, 0, 9, 600);
    assert_int_equal(conn.ctl_thread, 6);
}

static void touch_by(struct cw_conn *conn, uint32_t thread, bool write)
{
    struct cw_touch touch = {.call = CW_CALL_recv, .result = 1, .now_ms = 100, .thread = thread};
    if (write)
        cw_conn_out(conn, &touch);
    else
        cw_conn_in(conn, &touch);
}

static void test_shared_by_threads(void **state)
{
    (void)state;
    struct cw_conn conn = opened(CW_ORIGIN_ACCEPT);
    touch_by(&conn, 5, false); /* who opened it does not count */
    touch_by(&conn, 5, true);
    assert_false(conn.flags & CW_CONN_SHARED);
    assert_int_equal(conn.touch_thread, 5);
    touch_by(&conn, 6, true);
    assert_true(conn.flags & CW_CONN_SHARED);
    assert_int_equal(conn.touch_thread, 6);
    touch_by(&conn, 6, false);
    assert_true(conn.flags & CW_CONN_SHARED); /* for good */
    conn = opened(CW_ORIGIN_ACCEPT);
    touch_by(&conn, 0, false); /* no room for its record at first */
    touch_by(&conn, 5, false);
    assert_false(conn.flags & CW_CONN_SHARED);
    touch_by(&conn, 0, false); /* 5 is on record, so this is another */
    assert_true(conn.flags & CW_CONN_SHARED);
}

static void test_gaps_between_writes(void **state)
{
    (void)state;
    struct cw_conn conn = opened(CW_ORIGIN_ACCEPT);
    out(&conn, 10, 1000);
    out(&conn, 10, 9000); /* before the end of stream: of no interest */
    in(&conn, 0, 0, 10000);
    out(&conn, 10, 15000); /* the first since */
    assert_int_equal(conn.out_gap_ds, 0);
    out(&conn, 10, 15001);
    assert_int_equal(conn.out_gap_ds, 1); /* rounded up */
    out(&conn, 10, 15301);
    assert_int_equal(conn.out_gap_ds, 3);
    out(&conn, 10, 15602);
    assert_int_equal(conn.out_gap_ds, 4);
    out(&conn, 10, 15702);
    assert_int_equal(conn.out_gap_ds, 4); /* the longest */
    out(&conn, -EPIPE, 99000);
    assert_int_equal(conn.out_gap_ds, 4); /* did not get through */
    out(&conn, 10, 98999);                /* another thread's clock, read a moment before */
    assert_int_equal(conn.out_gap_ds, 4);
    out(&conn, 10, 98999 + 65535 * 100 + 1);
    assert_int_equal(conn.out_gap_ds, UINT16_MAX);
}

static void accepted(struct cw_conn *listener, enum cw_call call, int32_t result, uint32_t now_ms, uint32_t stack)
{
    struct cw_touch touch = {.call = (uint8_t)call, .result = result, .now_ms = now_ms, .thread = 5};
    cw_conn_accepted(listener, &touch, stack);
}

static void test_accepts(void **state)
{
    (void)state;
    static const int failures[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
    for (unsigned i = 0; i < sizeof failures / sizeof *failures; i++) {
        struct cw_conn listener = opened(CW_ORIGIN_SOCKET);
        int32_t failure = -failures[i];
        accepted(&listener, CW_CALL_accept4, 7, 100, 41);
        assert_int_equal(listener.in_first_res, 7);
        accepted(&listener, CW_CALL_accept, -EAGAIN, 200, 0);
        assert_int_equal(listener.in_last_res, -EAGAIN);
        assert_int_equal(listener.touch_stack, 41);
        assert_false(cw_conn_accept_fails(&listener, -EAGAIN));
        assert_true(cw_conn_accept_fails(&listener, failure));
        accepted(&listener, CW_CALL_accept, failure, 300, 42);
        assert_false(cw_conn_accept_fails(&listener, failure)); /* the second has no stack of its own */
        accepted(&listener, CW_CALL_accept, failure, 400, 0);
        assert_int_equal(listener.in_last_res, failure);
        assert_int_equal(listener.in_call, CW_CALL_accept);
        assert_int_equal(listener.touch_stack, 42);
        accepted(&listener, CW_CALL_accept4, -EAGAIN, 600, 0); /* Linux takes the fd first: there is room again */
        assert_int_equal(listener.in_last_res, -EAGAIN);
        assert_int_equal(listener.in_last_ms, 600);
        accepted(&listener, CW_CALL_accept4, 8, 700, 43);
        assert_int_equal(listener.in_last_res, 8);
        assert_int_equal(listener.in_call, CW_CALL_accept4);
        assert_int_equal(listener.touch_stack, 43);
        assert_int_equal(listener.in_first_ms, 100);
        assert_int_equal(listener.touch_thread, 5);
    }
}

static void test_accept_has_looked_at_what_was_delivered(void **state)
{
    (void)state;
    struct cw_conn listener = opened(CW_ORIGIN_SOCKET);
    assert_true(cw_conn_polled(&listener, CW_CALL_poll, POLLIN, POLLIN, 5, 100));
    accepted(&listener, CW_CALL_accept, 7, 200, 41);
    assert_int_equal(listener.event_ms, 0);
}

static void test_passed_on(void **state)
{
    (void)state;
    struct cw_conn conn = opened(CW_ORIGIN_ACCEPT);
    cw_conn_passed_on(&conn, 51, 300);
    assert_true(conn.flags & CW_CONN_SCM_SENT);
    assert_false(conn.flags & CW_CONN_COPIED);
    assert_int_equal(conn.copy_stack, 51);
    assert_int_equal(conn.copy_close_ms, 300);
    assert_int_equal(conn.copy_close_stack, 0);
}

static void test_shutdown_halves(void **state)
{
    (void)state;
    struct cw_conn conn = opened(CW_ORIGIN_ACCEPT);
    cw_conn_shutdown(&conn, SHUT_WR, 41, 100);
    assert_true((conn.flags & CW_CONN_SHUT_WR) && !(conn.flags & CW_CONN_SHUT_RD));
    cw_conn_shutdown(&conn, SHUT_RDWR, 42, 200);
    assert_true((conn.flags & CW_CONN_SHUT_WR) && (conn.flags & CW_CONN_SHUT_RD));
    assert_int_equal(conn.shut_ms, 100);
    assert_int_equal(conn.shut_stack, 41);
}

static void test_addresses(void **state)
{
    (void)state;
    struct cw_conn conn = opened(CW_ORIGIN_ACCEPT);
    struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(8080)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(443), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    in4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cw_conn_set_peer(&conn, (struct sockaddr *)&in4, sizeof in4);
    assert_int_equal(conn.family, AF_INET);
    assert_int_equal(conn.peer_port, 8080);
    assert_memory_equal(conn.peer, &in4.sin_addr, 4);
    cw_conn_set_local(&conn, (struct sockaddr *)&in6, sizeof in6);
    assert_int_equal(conn.family, AF_INET6);
    assert_int_equal(conn.local_port, 443);
    assert_memory_equal(conn.local, &in6.sin6_addr, 16);
    cw_conn_set_peer(&conn, (struct sockaddr *)&in6, 4); /* cut off: nothing is believed */
    assert_int_equal(conn.peer_port, 8080);
    cw_conn_set_peer(&conn, NULL, 0);
    assert_int_equal(conn.peer_port, 8080);
}

static void test_forked_keeps_what_it_is(void **state)
{
    (void)state;
    struct cw_conn conn = opened(CW_ORIGIN_ACCEPT);
    conn.peer_port = 50000;
    conn.inode = 77;
    conn.fin_ms = 500;
    in(&conn, 0, 0, 2000);
    cw_conn_ctl(&conn, EPOLL_CTL_ADD, EPOLLIN, 4, 2, 31, 5, 100);
    cw_conn_forked(&conn);
    assert_int_equal(conn.origin, CW_ORIGIN_FORKED);
    assert_int_equal(conn.open_call, CW_CALL_accept4);
    assert_int_equal(conn.open_stack, 11);
    assert_int_equal(conn.peer_port, 50000);
    assert_int_equal(conn.inode, 77);
    assert_int_equal(conn.fin_ms, 500);
    assert_int_equal(conn.flags, CW_CONN_IN_USE | CW_CONN_CONNECTED); /* what the parent did is the parent's */
    assert_int_equal(conn.eof_ms, 0);
    assert_int_equal(conn.in_last_ms, 0);
    assert_int_equal(conn.open_thread, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_first_and_last_read),
        cmocka_unit_test(test_end_of_stream),
        cmocka_unit_test(test_peek_has_seen_but_not_consumed),
        cmocka_unit_test(test_empty_read_is_no_end),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_same_place),
        cmocka_unit_test(test_interest),
        cmocka_unit_test(test_delivered_events),
        cmocka_unit_test(test_poll_interest),
        cmocka_unit_test(test_shared_by_threads),
        cmocka_unit_test(test_gaps_between_writes),
        cmocka_unit_test(test_accepts),
        cmocka_unit_test(test_accept_has_looked_at_what_was_delivered),
        cmocka_unit_test(test_passed_on),
        cmocka_unit_test(test_shutdown_halves),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_forked_keeps_what_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
