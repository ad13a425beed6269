/* core/leak.c: when a socket in CLOSE_WAIT has leaked. The fake kernel is the k_* fields of a record. */
#include "core/leak.h"
#include "test/unit/fixture.h"

#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { GRACE = 30000, NOW = 1000000 };

static struct cw_conn conn_at(uint32_t now_ms, uint32_t ack_age, uint32_t sent_age)
{
    struct cw_conn conn = {.flags = CW_CONN_IN_USE};
    fixture_close_wait(&conn, now_ms, ack_age, sent_age);
    return conn;
}

static void test_youngest_counts(void **state)
{
    (void)state;
    struct cw_conn conn = conn_at(NOW, 40000, 90000);
    assert_int_equal(cw_leak_age_ms(&conn, NOW), 40000);
    assert_int_equal(cw_leak_age_ms(&conn, NOW + 500), 40500); /* the kernel's answer is half a second old */
    conn = conn_at(NOW, 40000, 10000);
    assert_int_equal(cw_leak_age_ms(&conn, NOW), 10000);
}

static void test_judge_boundary(void **state)
{
    (void)state;
    struct cw_conn conn = conn_at(NOW, GRACE - 1, 90000);
    assert_false(cw_leak_judge(&conn, NOW, GRACE));
    assert_false(conn.flags & CW_CONN_LEAKED);
    assert_int_equal(conn.fin_ms, NOW - (GRACE - 1)); /* the kernel dates a FIN that nobody watched */
    assert_true(cw_leak_judge(&conn, NOW + 1, GRACE));
    assert_true(conn.flags & CW_CONN_LEAKED);
    assert_int_equal(conn.leaked_sent_ms, NOW - 90000);
}

static void test_other_states(void **state)
{
    (void)state;
    struct cw_conn conn = conn_at(NOW, 90000, 90000);
    assert_true(cw_leak_judge(&conn, NOW, GRACE));
    conn.k_state = TCP_CLOSE;
    assert_false(cw_leak_judge(&conn, NOW, GRACE));
    assert_false(conn.flags & CW_CONN_LEAKED);
    assert_int_equal(conn.leaked_sent_ms, 0);
    struct cw_conn unasked = conn_at(NOW, 90000, 90000);
    unasked.k_ms = 0;
    assert_false(cw_leak_judge(&unasked, NOW, GRACE));
    assert_int_equal(unasked.fin_ms, 0);
}

/* Answers to keep-alive probes make the last segment 0..1 s old at every check: the age must grow all the same. */
static void test_keepalive_never_falls_back(void **state)
{
    (void)state;
    struct cw_conn conn = conn_at(NOW, 700, 500000);
    conn.flags |= CW_CONN_KEEPALIVE;
    uint32_t last = 0;
    for (uint32_t t = 0; t <= GRACE; t += 1000) {
        fixture_close_wait(&conn, NOW + t, (t / 1000 * 37) % 1000, 500000 + t);
        bool leaked = cw_leak_judge(&conn, NOW + t, GRACE);
        uint32_t age = cw_leak_age_ms(&conn, NOW + t);
        assert_true(age >= last);
        assert_true(leaked == (age >= GRACE));
        last = age;
    }
    assert_true(last >= GRACE);
}

/* Zero-window probes: data queued, the peer answers each probe, nothing is sent. */
static void test_zero_window(void **state)
{
    (void)state;
    struct cw_conn conn = conn_at(NOW, 100, 60000);
    conn.k_flags |= CW_K_UNACKED;
    conn.fin_ms = NOW - 50000;
    assert_true(cw_leak_judge(&conn, NOW, GRACE));
    fixture_close_wait(&conn, NOW + 5000, 10, 65000);
    conn.k_flags |= CW_K_UNACKED;
    assert_true(cw_leak_judge(&conn, NOW + 5000, GRACE));
    assert_int_equal(cw_leak_age_ms(&conn, NOW + 5000), 55000);
}

static void test_stays_until_sent(void **state)
{
    (void)state;
    struct cw_conn conn = conn_at(NOW, 40000, 40000);
    assert_true(cw_leak_judge(&conn, NOW, GRACE));
    /* The peer's ACK of something old: not a send of ours. Jiffies may move the send by some ms. */
    fixture_close_wait(&conn, NOW + 1000, 0, 40990);
    assert_true(cw_leak_judge(&conn, NOW + 1000, GRACE));
    /* Data is sent: alive again. */
    fixture_close_wait(&conn, NOW + 2000, 0, 200);
    assert_false(cw_leak_judge(&conn, NOW + 2000, GRACE));
    assert_false(conn.flags & CW_CONN_LEAKED);
    assert_int_equal(cw_leak_age_ms(&conn, NOW + 2000), 200);
    /* And dead again, a grace period later. */
    fixture_close_wait(&conn, NOW + 40000, 38000, 38200);
    assert_true(cw_leak_judge(&conn, NOW + 40000, GRACE));
}

static void test_without_tcp_info(void **state)
{
    (void)state;
    struct cw_conn conn = conn_at(NOW, 0, 0);
    conn.fin_ms = NOW - 31000;
    assert_int_equal(cw_leak_age_ms(&conn, NOW), 31000);
    conn.out_last_ms = NOW - 5000; /* a hook saw a write after the FIN */
    assert_int_equal(cw_leak_age_ms(&conn, NOW), 5000);

    struct cw_conn unseen = conn_at(NOW, 0, 0); /* no hook saw a thing: this check is the first sighting */
    assert_false(cw_leak_judge(&unseen, NOW, GRACE));
    assert_int_equal(unseen.fin_ms, NOW);
    fixture_close_wait(&unseen, NOW + GRACE, 0, 0);
    assert_true(cw_leak_judge(&unseen, NOW + GRACE, GRACE));
}

static void test_shutdown_read_is_no_fin(void **state)
{
    (void)state;
    struct cw_conn conn = conn_at(NOW, 3000, 90000);
    conn.flags |= CW_CONN_SHUT_RD | CW_CONN_EOF_SEEN;
    conn.shut_ms = NOW - 80000;
    conn.eof_ms = conn.fin_ms = NOW - 79000; /* read returned 0 because of the shutdown */
    assert_int_equal(cw_leak_age_ms(&conn, NOW), 3000);
    conn.fin_ms = NOW - 81000; /* seen before the shutdown: a real one */
    assert_int_equal(cw_leak_age_ms(&conn, NOW), 81000);
}

static void test_clock_wraps(void **state)
{
    (void)state;
    struct cw_conn conn = conn_at(20000, 31000, 90000); /* FIN before the 32 bits of ms wrapped */
    assert_true(cw_leak_judge(&conn, 20000, GRACE));
    assert_int_equal(conn.fin_ms, (uint32_t)(20000 - 31000));
    assert_int_equal(cw_leak_age_ms(&conn, 21000), 32000);
    struct cw_conn ahead = conn_at(NOW + 5, 0, 400000); /* stamped by a thread whose clock was read later */
    ahead.fin_ms = NOW + 5;
    assert_int_equal(cw_leak_age_ms(&ahead, NOW), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_youngest_counts),  cmocka_unit_test(test_judge_boundary),
        cmocka_unit_test(test_other_states),     cmocka_unit_test(test_keepalive_never_falls_back),
        cmocka_unit_test(test_zero_window),      cmocka_unit_test(test_stays_until_sent),
        cmocka_unit_test(test_without_tcp_info), cmocka_unit_test(test_shutdown_read_is_no_fin),
        cmocka_unit_test(test_clock_wraps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
