/* core/truth.c and core/table.c: the kernel's answers held against the records. The kernel is a few structs here. */
#include "core/table.h"
#include "core/truth.h"
#include "test/unit/fixture.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { CONNS = 32, SLOTS = 64, NOW = 100000 };

static struct fixture *made;
static uint32_t slots_ready;
static int reserve_result;

static int reserve(enum cw_section_id section, uint32_t first, uint32_t n)
{
    (void)section, (void)first, (void)n;
    return reserve_result;
}

static struct cw_table table = {.slots_ready = &slots_ready, .reserve = reserve};

static int set_up(void **state)
{
    (void)state;
    made = fixture_new(CONNS);
    free(made->view.slots);
    made->view.slots = calloc(SLOTS, sizeof(uint64_t));
    made->view.n_slots = SLOTS;
    table.view = &made->view;
    slots_ready = 0;
    reserve_result = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_free(made);
    return 0;
}

static uint32_t new_conn(void *ctx)
{
    (void)ctx;
    return cw_table_new_conn(&table);
}

static struct cw_truth_check begin(void)
{
    struct cw_truth_check check = {.view = &made->view, .now_ms = NOW, .new_conn = new_conn};
    cw_truth_begin(&check);
    return check;
}

/* A record at fd: 127.0.0.1:80 <- 127.0.0.1:peer_port. */
static struct cw_conn *known(int fd, uint16_t peer_port)
{
    uint64_t old;
    uint32_t index = cw_table_new_conn(&table);
    assert_int_not_equal(index, 0);
    assert_int_equal(cw_table_store(&table, fd, CW_SLOT_CONN, index, &old), 0);
    struct cw_conn *conn = &made->view.conns[index];
    conn->flags = CW_CONN_IN_USE | CW_CONN_CONNECTED;
    conn->family = AF_INET;
    conn->origin = CW_ORIGIN_ACCEPT;
    conn->local_port = 80;
    conn->peer_port = peer_port;
    conn->fd = fd;
    return conn;
}

static struct cw_sock said(uint16_t peer_port, uint32_t inode)
{
    return (struct cw_sock){.family = AF_INET,
                            .state = TCP_CLOSE_WAIT,
                            .protocol = IPPROTO_TCP,
                            .has_queues = true,
                            .has_info = true,
                            .local_port = 80,
                            .peer_port = peer_port,
                            .inode = inode,
                            .recv_q = 1,
                            .last_ack_recv_ms = 5000,
                            .last_data_sent_ms = 9000};
}

static void test_known_socket_gets_the_kernels_word(void **state)
{
    (void)state;
    struct cw_conn *conn = known(5, 50000);
    struct cw_truth_check check = begin();
    struct cw_sock sock = said(50000, 1234);
    cw_truth_fd(&check, 5, &sock);
    assert_int_equal(conn->k_state, TCP_CLOSE_WAIT);
    assert_int_equal(conn->k_ms, NOW);
    assert_int_equal(conn->inode, 1234);
    assert_int_equal(conn->k_recv_q, 1);
    assert_int_equal(conn->k_last_ack_recv, 5000);
    assert_int_equal(check.closes_unseen, 0);
    check = begin(); /* the next check forgets what it does not hear again */
    assert_int_equal(conn->k_state, 0);
}

static void test_another_socket_behind_the_fd(void **state)
{
    (void)state;
    struct cw_conn *conn = known(5, 50000);
    struct cw_truth_check check = begin();
    struct cw_sock sock = said(50001, 1234);
    cw_truth_fd(&check, 5, &sock);
    assert_int_equal(conn->k_state, 0);
    assert_true(conn->flags & CW_CONN_GONE);
    assert_int_equal(check.closes_unseen, 1);
    struct cw_conn *found = &made->view.conns[2];
    assert_int_equal(found->origin, CW_ORIGIN_UNTRACKED);
    assert_int_equal(found->peer_port, 50001);
    assert_int_equal(found->k_state, TCP_CLOSE_WAIT);
}

/* The same port pair in another life of the number: the inode, once known, decides. */
static void test_same_ports_other_inode(void **state)
{
    (void)state;
    struct cw_conn *conn = known(5, 50000);
    conn->inode = 1;
    struct cw_truth_check check = begin();
    struct cw_sock sock = said(50000, 2);
    cw_truth_fd(&check, 5, &sock);
    assert_int_equal(conn->k_state, 0);
    assert_int_equal(check.closes_unseen, 1);
}

static void test_copies_are_one_socket(void **state)
{
    (void)state;
    struct cw_conn *conn = known(9, 50000);
    struct cw_truth_check check = begin();
    struct cw_sock sock = said(50000, 1234);
    const int fds[] = {4, 9}; /* 4: a copy that no hook saw being made */
    cw_truth_socket(&check, fds, 2, &sock);
    assert_int_equal(conn->k_state, TCP_CLOSE_WAIT);
    assert_int_equal(conn->fd, 4);
    assert_int_equal(conn->refs, 2);
    assert_int_equal(made->view.header->sections[CW_SECTION_CONNS].used, 2);
}

static void test_unseen_socket_without_room(void **state)
{
    (void)state;
    known(5, 50000);
    reserve_result = -1;
    struct cw_truth_check check = begin();
    struct cw_sock sock = said(50001, 1);
    cw_truth_fd(&check, 6, &sock);
    assert_int_equal(check.no_room, 1);
}

static void test_mapped_address_is_the_same(void **state)
{
    (void)state;
    struct cw_conn *conn = known(5, 50000);
    memcpy(conn->peer, (const uint8_t[]){127, 0, 0, 1}, 4);
    struct cw_sock sock = said(50000, 1);
    sock.family = AF_INET6;
    memcpy(sock.peer, (const uint8_t[]){0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 127, 0, 0, 1}, 16);
    struct cw_truth_check check = begin();
    cw_truth_fd(&check, 5, &sock);
    assert_int_equal(conn->k_state, TCP_CLOSE_WAIT);
    sock.peer[15] = 2;
    check = begin();
    conn->inode = 0;
    conn->family = AF_INET;
    memcpy(conn->peer, (const uint8_t[]){127, 0, 0, 1}, 4);
    cw_truth_fd(&check, 5, &sock);
    assert_int_equal(check.closes_unseen, 1);
}

static void test_queued_belongs_to_a_listener(void **state)
{
    (void)state;
    struct cw_conn *listener = known(3, 0);
    listener->flags |= CW_CONN_LISTENER;
    listener->open_stack = 17;
    struct cw_truth_check check = begin();
    struct cw_sock sock = said(50000, 0);
    assert_int_equal(cw_truth_queued(&check, &sock, 1), 1);
    struct cw_conn *queued = &made->view.conns[2];
    assert_int_equal(queued->origin, CW_ORIGIN_QUEUED);
    assert_int_equal(queued->open_stack, 17);
    assert_true(queued->flags & CW_CONN_LATE);
    sock.local_port = 81;
    assert_int_equal(cw_truth_queued(&check, &sock, 0), 0); /* nobody here listens on it */
}

static struct cw_conn *listening(int fd, uint32_t stack)
{
    struct cw_conn *conn = known(fd, 0);
    conn->flags = CW_CONN_IN_USE | CW_CONN_LISTENER;
    conn->open_stack = stack;
    return conn;
}

static void with_queue(struct cw_truth_check *check, int fd, uint32_t waiting)
{
    struct cw_sock sock = {.state = TCP_LISTEN, .has_queues = true, .recv_q = waiting, .send_q = 128, .inode = 77};
    cw_truth_listener(check, fd, &sock);
}

static void test_a_listeners_queue_is_entered(void **state)
{
    (void)state;
    struct cw_conn *listener = listening(3, 17), *conn = known(4, 50000);
    struct cw_truth_check check = begin();
    with_queue(&check, 3, 5);
    with_queue(&check, 4, 5); /* no listener of ours */
    assert_int_equal(listener->k_recv_q, 5);
    assert_int_equal(listener->k_send_q, 128);
    assert_int_equal(listener->k_state, TCP_LISTEN);
    assert_int_equal(listener->k_flags, CW_K_QUEUES);
    assert_int_equal(listener->k_ms, NOW);
    assert_int_equal(listener->inode, 77);
    assert_int_equal(conn->k_state, 0);
}

/* Several listeners on one port: nobody waits in the first, so it is the second's; if somebody waits in both it is not known. */
static void test_queued_behind_several_listeners(void **state)
{
    (void)state;
    listening(3, 17);
    listening(4, 18);
    struct cw_truth_check check = begin();
    with_queue(&check, 3, 0);
    with_queue(&check, 4, 2);
    struct cw_sock sock = said(50000, 0);
    assert_int_equal(cw_truth_queued(&check, &sock, 0), 1);
    assert_int_equal(made->view.conns[3].open_stack, 18);
    check = begin();
    with_queue(&check, 3, 1);
    with_queue(&check, 4, 2);
    assert_int_equal(cw_truth_queued(&check, &sock, 0), 1);
    assert_int_equal(made->view.conns[4].open_stack, 0);
    check = begin();
    with_queue(&check, 3, 0);
    with_queue(&check, 4, 0);
    assert_int_equal(cw_truth_queued(&check, &sock, 0), 0); /* another process's, on the same port */
}

/* Which socket waits at which listener is not told: no more are entered than their queues hold. */
static void test_no_more_queued_than_the_queues_hold(void **state)
{
    (void)state;
    struct cw_conn *first = listening(3, 17), *second = listening(4, 18);
    struct cw_truth_check check = begin();
    with_queue(&check, 3, 2);
    with_queue(&check, 4, 1);
    for (uint16_t i = 0; i < 3; i++) {
        struct cw_sock sock = said((uint16_t)(50000 + i), 0);
        assert_int_equal(cw_truth_queued(&check, &sock, 0), 1);
    }
    assert_int_equal(first->k_flags | second->k_flags, CW_K_QUEUES);
    struct cw_sock another = said(50003, 0);
    assert_int_equal(cw_truth_queued(&check, &another, 0), 0); /* another process's, on the same port */
    assert_true(first->k_flags & second->k_flags & CW_K_PORT_SHARED);
    assert_int_equal(cw_truth_queued(&check, &another, 1), 1); /* what survives the close is taken back afterwards */
    check = begin();
    with_queue(&check, 3, 2);
    with_queue(&check, 4, 1);
    assert_int_equal(first->k_flags | second->k_flags, CW_K_QUEUES);
    assert_int_equal(cw_truth_queued(&check, &another, 0), 1);
    check = begin(); /* nothing is known of the queues */
    for (uint16_t i = 0; i < 9; i++) {
        struct cw_sock sock = said((uint16_t)(50000 + i), 0);
        assert_int_equal(cw_truth_queued(&check, &sock, 0), 1);
    }
}

/* Parent and child listen on one port: between them each socket is entered once. */
static void test_queued_at_the_parents_and_our_own(void **state)
{
    (void)state;
    struct cw_conn *inherited = listening(3, 17), *own = listening(4, 18);
    inherited->origin = CW_ORIGIN_FORKED;
    struct cw_truth_check check = begin();
    check.parent_lives = true;
    with_queue(&check, 3, 2);
    with_queue(&check, 4, 1);
    struct cw_sock sock = said(50000, 0);
    assert_int_equal(cw_truth_queued(&check, &sock, 0), 0);
    assert_int_equal(cw_truth_queued(&check, &sock, 0), 0);
    assert_int_equal(cw_truth_queued(&check, &sock, 0), 1);
    assert_int_equal(made->view.conns[3].open_stack, 18);
    assert_int_equal(cw_truth_queued(&check, &sock, 0), 0);
    assert_true(own->k_flags & CW_K_PORT_SHARED);
}

/* /proc/net/tcp tells a listener's Recv-Q and not its limit. */
static void test_a_limit_once_known_stays(void **state)
{
    (void)state;
    struct cw_conn *listener = listening(3, 17);
    struct cw_truth_check check = begin();
    struct cw_sock sock = {.state = TCP_LISTEN, .has_queues = true, .recv_q = 3};
    listener->k_send_q = 99; /* of no check */
    cw_truth_listener(&check, 3, &sock);
    assert_int_equal(listener->k_send_q, 0);
    with_queue(&check, 3, 5);
    cw_truth_listener(&check, 3, &sock);
    assert_int_equal(listener->k_recv_q, 3);
    assert_int_equal(listener->k_send_q, 128);
}

/* Each socket asked by itself, and the queues read from /proc afterwards. */
static void test_queues_of_a_socket_asked_before(void **state)
{
    (void)state;
    struct cw_conn *conn = known(5, 50000), *other = known(6, 50001);
    struct cw_truth_check check = begin();
    struct cw_sock sock = said(50000, 1234), queues = sock;
    sock.has_queues = false;
    sock.recv_q = 0;
    cw_truth_fd(&check, 5, &sock);
    assert_int_equal(conn->k_flags, 0);
    queues.recv_q = 7;
    queues.send_q = 3;
    queues.inode = 1235;
    cw_truth_queues(&check, 5, &queues); /* it means another socket by now */
    assert_int_equal(conn->k_flags, 0);
    queues.inode = 1234;
    cw_truth_queues(&check, 5, &queues);
    cw_truth_queues(&check, 6, &queues); /* not in CLOSE_WAIT */
    assert_int_equal(conn->k_recv_q, 7);
    assert_int_equal(conn->k_send_q, 3);
    assert_int_equal(conn->k_flags, CW_K_QUEUES | CW_K_UNACKED);
    assert_int_equal(conn->k_last_ack_recv, 5000);
    assert_int_equal(other->k_flags, 0);
}

static void test_queued_at_the_listeners_address(void **state)
{
    (void)state;
    struct cw_conn *listener = listening(3, 17);
    memcpy(listener->local, (const uint8_t[]){127, 0, 0, 1}, 4);
    struct cw_truth_check check = begin();
    struct cw_sock sock = said(50000, 0);
    memcpy(sock.local, (const uint8_t[]){127, 0, 0, 2}, 4);
    assert_int_equal(cw_truth_queued(&check, &sock, 0), 0);
    sock.local[3] = 1;
    sock.family = AF_INET6;
    assert_int_equal(cw_truth_queued(&check, &sock, 0), 0);
    sock.family = AF_INET;
    assert_int_equal(cw_truth_queued(&check, &sock, 0), 1);
}

/* What waits at an inherited listener is the parent's to report, as long as there is a parent. */
static void test_queued_is_reported_by_the_parent(void **state)
{
    (void)state;
    struct cw_conn *listener = listening(3, 17);
    listener->origin = CW_ORIGIN_FORKED;
    struct cw_truth_check check = begin();
    struct cw_sock sock = said(50000, 0);
    check.parent_lives = true;
    assert_int_equal(cw_truth_queued(&check, &sock, 0), 0);
    check.parent_lives = false;
    assert_int_equal(cw_truth_queued(&check, &sock, 0), 1);
    listener->origin = CW_ORIGIN_SOCKET;
    check.parent_lives = true;
    assert_int_equal(cw_truth_queued(&check, &sock, 0), 1);
}

/* A connection in state CLOSE has lost its remote address: that is no sign of another socket. */
static void test_failed_connections(void **state)
{
    (void)state;
    struct cw_conn *conn = known(5, 50000), *copied = known(9, 50001), *fresh = known(6, 0), *other = known(7, 50002),
                   *leaked = known(8, 50003);
    const int fds[] = {4, 9}, five = 5, six = 6, seven = 7, eight = 8, ten = 10;
    fresh->flags = CW_CONN_IN_USE; /* a socket() that was never connected */
    other->inode = 70;
    copied->inode = 90;
    conn->epoll_fd = 3;
    struct cw_truth_check check = begin();
    struct cw_sock sock = said(50003, 80);
    cw_truth_fd(&check, eight, &sock);
    assert_true(cw_truth_failed(&check, &five, 1, 50, 80));
    assert_true(cw_truth_failed(&check, fds, 2, 90, 0));
    assert_false(cw_truth_failed(&check, &six, 1, 60, 80));
    assert_false(cw_truth_failed(&check, &seven, 1, 71, 80)); /* another socket behind the number */
    assert_false(cw_truth_failed(&check, &eight, 1, 80, 80)); /* it has said CLOSE_WAIT */
    assert_false(cw_truth_failed(&check, &ten, 1, 100, 80));  /* no record */
    assert_int_equal(conn->k_state, TCP_CLOSE);
    assert_int_equal(conn->k_ms, NOW);
    assert_int_equal(conn->inode, 50);
    assert_int_equal(conn->peer_port, 50000);
    assert_int_equal(copied->k_state, TCP_CLOSE);
    assert_int_equal(copied->fd, 4);
    assert_int_equal(copied->refs, 2);
    assert_int_equal(leaked->k_state, TCP_CLOSE_WAIT);
    assert_int_equal(check.closes_unseen, 0);
    assert_false((conn->flags | other->flags | copied->flags) & CW_CONN_GONE);
    conn->inode = 0;
    check = begin();
    assert_false(cw_truth_failed(&check, &five, 1, 51, 81)); /* another local port */
    conn->flags |= CW_CONN_SHUT_WR;
    assert_false(cw_truth_failed(&check, &five, 1, 50, 80)); /* both ends have said goodbye */
    conn->flags |= CW_CONN_IN_FAILED;
    assert_true(cw_truth_failed(&check, &five, 1, 50, 80));
}

/* Killed: what hooks saw after the last check counts, unless they saw its end as well. */
static void test_by_hooks(void **state)
{
    (void)state;
    struct cw_conn *unchecked = known(5, 1), *checked = known(6, 2), *shut = known(7, 3), *unread = known(8, 4),
                   *since = known(9, 5);
    unchecked->flags |= CW_CONN_EOF_CONSUMED;
    unchecked->eof_ms = NOW;
    *checked = *shut = *since = *unchecked;
    checked->k_ms = NOW + 500; /* the kernel said otherwise since */
    checked->k_state = TCP_CLOSING;
    shut->flags |= CW_CONN_SHUT_WR;
    since->k_ms = NOW - 500; /* established then, read to the end later */
    since->k_state = TCP_ESTABLISHED;
    cw_truth_by_hooks(&made->view);
    assert_int_equal(unchecked->k_state, TCP_CLOSE_WAIT);
    assert_int_equal(unchecked->k_ms, NOW);
    assert_int_equal(checked->k_state, TCP_CLOSING);
    assert_int_equal(shut->k_state, 0);
    assert_int_equal(unread->k_state, 0);
    assert_int_equal(since->k_state, TCP_CLOSE_WAIT);
}

/* --- the table itself --- */

static void test_close_then_reuse(void **state)
{
    (void)state;
    uint64_t old;
    known(5, 50000);
    uint64_t marked = cw_table_mark_closing(&table, 5);
    assert_int_not_equal(marked, 0);
    assert_int_equal(cw_table_mark_closing(&table, 5), 0); /* one closer */
    uint32_t next = cw_table_new_conn(&table);
    assert_int_equal(cw_table_store(&table, 5, CW_SLOT_CONN, next, &old), 0);
    assert_true(old & CW_SLOT_CLOSING); /* its reference is the closer's */
    cw_table_clear(&table, 5, marked);  /* and the new meaning stays */
    assert_int_equal(CW_SLOT_INDEX(cw_table_slot(&table, 5)), next);
    assert_int_equal(cw_table_unref_conn(&table, CW_SLOT_INDEX(marked)), 0);
    assert_int_equal(cw_table_new_conn(&table), CW_SLOT_INDEX(marked)); /* back from the free list */
}

static void test_failed_close_is_undone(void **state)
{
    (void)state;
    known(5, 50000);
    uint64_t before = cw_table_slot(&table, 5), marked = cw_table_mark_closing(&table, 5);
    assert_true(cw_table_unmark(&table, 5, marked));
    assert_int_equal(cw_table_slot(&table, 5), before);
}

static void test_close_that_a_sweep_has_settled(void **state)
{
    (void)state;
    uint64_t old;
    struct cw_conn *conn = known(5, 50000);
    uint32_t index = CW_SLOT_INDEX(cw_table_slot(&table, 5));
    uint64_t marked = cw_table_mark_closing(&table, 5);
    assert_true(cw_table_settle(&table, 5, marked));
    assert_false(cw_table_slot(&table, 5) & CW_SLOT_CLOSING);
    assert_int_equal(conn->refs, 2); /* the closer's, and the slot's own */
    assert_int_equal(cw_table_clear(&table, 5, marked), 2);
    assert_int_equal(cw_table_slot(&table, 5), 0);
    cw_table_unref_conn(&table, index);
    assert_int_equal(cw_table_unref_conn(&table, index), 0);
    assert_false(cw_table_settle(&table, 5, marked)); /* a freed record is not referred to again */

    known(5, 50001);
    marked = cw_table_mark_closing(&table, 5);
    assert_true(cw_table_settle(&table, 5, marked));
    assert_int_equal(cw_table_store(&table, 5, CW_SLOT_CONN, cw_table_new_conn(&table), &old), 0);
    assert_false(old & CW_SLOT_CLOSING); /* whoever displaces it lets go of the slot's reference */
    uint64_t slot = cw_table_slot(&table, 5);
    assert_int_equal(cw_table_clear(&table, 5, marked), 1); /* the closer of its own, and the new meaning stays */
    assert_int_equal(cw_table_slot(&table, 5), slot);
}

static void test_late_records_are_kept(void **state)
{
    (void)state;
    struct cw_conn *conn = known(5, 50000);
    conn->flags |= CW_CONN_LATE;
    assert_int_equal(cw_table_unref_conn(&table, 1), 0);
    assert_true(conn->flags & CW_CONN_IN_USE);
    assert_int_equal(cw_table_new_conn(&table), 2);
}

static void test_limits(void **state)
{
    (void)state;
    uint64_t old;
    uint32_t index = cw_table_new_conn(&table);
    assert_true(cw_table_store(&table, SLOTS, CW_SLOT_CONN, index, &old) < 0);
    assert_true(cw_table_store(&table, -1, CW_SLOT_CONN, index, &old) < 0);
    assert_int_equal(cw_table_slot(&table, -1), 0);
    assert_int_equal(cw_table_slot(&table, 1 << 30), 0);
    uint32_t n = 1;
    while (cw_table_new_conn(&table))
        n++;
    assert_true(n < CONNS + 1);
    assert_int_equal(cw_table_new_conn(&table), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_known_socket_gets_the_kernels_word, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_another_socket_behind_the_fd, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_same_ports_other_inode, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_copies_are_one_socket, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unseen_socket_without_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mapped_address_is_the_same, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_queued_belongs_to_a_listener, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_listeners_queue_is_entered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_queued_behind_several_listeners, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_more_queued_than_the_queues_hold, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_queued_at_the_parents_and_our_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_limit_once_known_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_queues_of_a_socket_asked_before, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_queued_at_the_listeners_address, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_queued_is_reported_by_the_parent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failed_connections, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_by_hooks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_close_then_reuse, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failed_close_is_undone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_close_that_a_sweep_has_settled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_late_records_are_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_limits, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
