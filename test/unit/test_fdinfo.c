/* core/fdinfo.c: what an epoll set holds, in made-up lines and in the kernel's own. */
#define _GNU_SOURCE
#include "core/fdinfo.h"

#include "test/unit/fixture.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { NOW = 100000, SET = 2, SET_FD = 7 };

static void test_lines(void **state)
{
    (void)state;
    struct cw_watch watch;
    static const char line[] = "tfd:        5 events: 40000019 data: ffff00000005  pos:0 ino:1a2b sdev:8";
    assert_true(cw_fdinfo_watch(line, strlen(line), &watch));
    assert_int_equal(watch.fd, 5);
    assert_int_equal(watch.mask, 0x40000019);
    assert_int_equal(watch.inode, 0x1a2b);
    size_t inode_at = (size_t)(strstr(line, "1a2b") - line);
    for (size_t n = 0; n <= inode_at; n++)
        assert_false(cw_fdinfo_watch(line, n, &watch));
    static const char *const others[] = {
        "pos:\t0", "flags:\t02", "mnt_id:\t15", "tfd: x events: 1 ino:1", "tfd: 1 events: z ino:1", ""};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_false(cw_fdinfo_watch(others[i], strlen(others[i]), &watch));
}

static void test_the_real_file(void **state)
{
    (void)state;
    int pair[2], set = epoll_create1(0), found = 0;
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.fd = 99};
    struct stat st;
    char path[64], line[CW_FDINFO_LINE_BYTES];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(epoll_ctl(set, EPOLL_CTL_ADD, pair[0], &event), 0);
    assert_int_equal(fstat(pair[0], &st), 0);
    assert_int_equal(write(pair[1], "x", 1), 1);
    assert_int_equal(epoll_wait(set, &event, 1, 1000), 1);
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", set);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        struct cw_watch watch;
        if (!cw_fdinfo_watch(line, strcspn(line, "\n"), &watch))
            continue;
        assert_int_equal(watch.fd, pair[0]);
        assert_int_equal(watch.inode, st.st_ino);
        assert_int_equal(watch.mask, EPOLLONESHOT); /* spent: the private bit alone is left */
        found++;
    }
    fclose(file);
    close(set), close(pair[0]), close(pair[1]);
    assert_int_equal(found, 1);
}

/* --- what it does to the records --- */

static struct fixture *made;

static int set_up(void **state)
{
    (void)state;
    made = fixture_new(16);
    made->view.sets[SET].flags = 1;
    made->view.sets[SET].fd = SET_FD;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_free(made);
    return 0;
}

static struct cw_conn *watched(uint32_t inode)
{
    struct cw_conn *conn = fixture_conn(made, 1000);
    fixture_close_wait(conn, NOW, 5000, 5000);
    conn->inode = inode;
    conn->flags |= CW_CONN_WATCHED | CW_CONN_WAS_WATCHED;
    conn->epoll_mask = EPOLLIN | EPOLLONESHOT;
    conn->epoll_set = SET;
    conn->epoll_sets = 1;
    return conn;
}

static void test_the_mask_in_force_is_entered(void **state)
{
    (void)state;
    struct cw_conn *spent = watched(300), *armed = watched(200), *gone = watched(100), *elsewhere = watched(50);
    elsewhere->epoll_set = SET + 1;
    struct cw_watch watches[] = {{.inode = 300, .fd = 9, .mask = EPOLLONESHOT},
                                 {.inode = 50, .fd = 8, .mask = EPOLLOUT},
                                 {.inode = 200, .fd = 6, .mask = EPOLLIN | EPOLLONESHOT},
                                 {.inode = 1, .fd = gone->fd, .mask = EPOLLIN}};
    cw_fdinfo_enter(&made->view, SET, watches, 4);
    assert_int_equal(spent->epoll_mask, EPOLLONESHOT);
    assert_int_equal(armed->epoll_mask, EPOLLIN | EPOLLONESHOT);
    assert_true((spent->flags & CW_CONN_WATCHED) && (armed->flags & CW_CONN_WATCHED));
    assert_false(gone->flags & CW_CONN_WATCHED);
    assert_true(gone->flags & CW_CONN_WAS_WATCHED);
    assert_int_equal(elsewhere->epoll_mask, EPOLLIN | EPOLLONESHOT); /* another set's matter */
}

static void test_what_no_hook_saw(void **state)
{
    (void)state;
    struct cw_conn *conn = watched(100), *by_number = watched(0), *several = watched(70), *healthy = watched(60);
    conn->flags &= ~(uint32_t)(CW_CONN_WATCHED | CW_CONN_WAS_WATCHED);
    conn->epoll_set = 0;
    several->epoll_sets = 2;
    healthy->k_state = TCP_ESTABLISHED;
    struct cw_watch watches[] = {{.inode = 100, .fd = 3, .mask = EPOLLIN | EPOLLET},
                                 {.inode = 99, .fd = by_number->fd, .mask = EPOLLOUT}};
    cw_fdinfo_enter(&made->view, SET, watches, 2);
    assert_true((conn->flags & CW_CONN_WATCHED) && (conn->flags & CW_CONN_WAS_WATCHED));
    assert_int_equal(conn->epoll_set, SET);
    assert_int_equal(conn->epoll_fd, SET_FD);
    assert_int_equal(conn->epoll_mask, EPOLLIN | EPOLLET);
    assert_int_equal(by_number->epoll_mask, EPOLLOUT);
    assert_true(several->flags & CW_CONN_WATCHED); /* it may be in the other one */
    assert_true(healthy->flags & CW_CONN_WATCHED); /* nobody asked */
}

static void test_a_listener_is_wanted(void **state)
{
    (void)state;
    struct cw_conn *listener = watched(100), *queued = watched(0), *late = watched(100);
    listener->k_state = TCP_LISTEN;
    listener->flags = (listener->flags | CW_CONN_LISTENER) & ~(uint32_t)CW_CONN_CONNECTED;
    queued->origin = CW_ORIGIN_QUEUED;
    late->flags |= CW_CONN_LATE;
    assert_true(cw_fdinfo_wanted(listener));
    assert_false(cw_fdinfo_wanted(queued));
    assert_false(cw_fdinfo_wanted(late));
    cw_fdinfo_enter(&made->view, SET, NULL, 0);
    assert_false(listener->flags & CW_CONN_WATCHED);
    cw_fdinfo_enter(&made->view, 10000, NULL, 0); /* no such set */
}

/* A refusal is on record until the set is read again, and changes nothing else. */
static void test_refused(void **state)
{
    (void)state;
    struct cw_conn *conn = watched(100);
    struct cw_watch watches[] = {{.inode = 100, .fd = 3, .mask = EPOLLOUT}};
    cw_fdinfo_refused(&made->view, SET, EACCES);
    assert_int_equal(made->view.sets[SET].k_errno, EACCES);
    assert_int_equal(conn->epoll_mask, EPOLLIN | EPOLLONESHOT);
    assert_true(conn->flags & CW_CONN_WATCHED);
    cw_fdinfo_enter(&made->view, SET, watches, 1);
    assert_int_equal(made->view.sets[SET].k_errno, 0);
    assert_int_equal(conn->epoll_mask, EPOLLOUT);
    cw_fdinfo_refused(&made->view, 10000, EACCES); /* no such set */
}

/* Sorted by inode whatever the order was. */
static void test_many(void **state)
{
    (void)state;
    struct cw_watch watches[500];
    struct cw_conn *conn = watched(77);
    for (uint32_t i = 0; i < 500; i++)
        watches[i] = (struct cw_watch){.inode = 1 + (i * 7919u + 13u) % 500u, .fd = (int)i, .mask = EPOLLIN};
    for (uint32_t i = 0; i < 500; i++)
        if (watches[i].inode == 77)
            watches[i].mask = EPOLLRDHUP;
    cw_fdinfo_enter(&made->view, SET, watches, 500);
    for (uint32_t i = 1; i < 500; i++)
        assert_true(watches[i - 1].inode < watches[i].inode);
    assert_int_equal(conn->epoll_mask, EPOLLRDHUP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_the_real_file),
        cmocka_unit_test_setup_teardown(test_the_mask_in_force_is_entered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_no_hook_saw, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_listener_is_wanted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
