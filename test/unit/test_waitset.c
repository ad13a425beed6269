/* core/waitset.c: what a blocked poll or select asks for. */
#include "core/waitset.h"

#include "test/unit/fixture.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/select.h>
#include <sys/syscall.h>

#include <cmocka.h>

enum { NOW = 70000, THREAD = 1 };

/* The thread's memory is our own; what lies above `end`, if set, cannot be had. */
static uint64_t end;

static uint64_t slots[128];

static bool peek(void *ctx, void *to, uint64_t from, size_t n)
{
    assert_null(ctx);
    if (end && from + n > end)
        return false;
    memcpy(to, (const void *)(uintptr_t)from, n);
    return true;
}

struct setting {
    struct fixture *f;
    uint64_t *own_slots;
    struct cw_conn *conns[3]; /* fds 40, 41, 100 */
};

static void begin(struct setting *s)
{
    static const int fds[3] = {40, 41, 100};

    end = 0;
    s->f = fixture_new(8);
    s->own_slots = s->f->view.slots;
    memset(slots, 0, sizeof slots);
    s->f->view.slots = slots;
    s->f->view.n_slots = sizeof slots / sizeof slots[0];
    for (unsigned i = 0; i < 3; i++) {
        s->conns[i] = fixture_conn(s->f, 1000);
        s->conns[i]->fd = fds[i];
        s->f->view.slots[fds[i]] = CW_SLOT_MAKE(CW_SLOT_CONN, 0, s->conns[i] - s->f->view.conns);
    }
}

static void finish(struct setting *s)
{
    s->f->view.slots = s->own_slots;
    fixture_free(s->f);
}

static void expect(const struct cw_conn *conn, unsigned mask)
{
    assert_true(conn->flags & CW_CONN_POLLED);
    assert_int_equal(conn->poll_mask, mask);
    assert_int_equal(conn->polled_ms, NOW);
    assert_int_equal(conn->ctl_thread, THREAD);
    assert_int_equal(conn->event_ms, 0);
}

static void expect_nothing(const struct cw_conn *conn)
{
    assert_false(conn->flags & CW_CONN_POLLED);
    assert_int_equal(conn->polled_ms, 0);
}

static void test_poll(void **state)
{
    (void)state;
    static const int calls[] = {SYS_poll, SYS_ppoll};

    for (unsigned i = 0; i < 2; i++) {
        struct setting s;
        struct pollfd asked[100];
        begin(&s);
        for (int k = 0; k < 100; k++)
            asked[k] = (struct pollfd){.fd = k % 2 ? -1 : 1000000, .events = POLLIN};
        asked[3] = (struct pollfd){.fd = 40, .events = POLLIN | POLLOUT};
        asked[99] = (struct pollfd){.fd = 100, .events = 0};
        struct cw_task_call call = {.nr = calls[i], .args = {(uintptr_t)asked, 100}};
        assert_true(cw_waitset_is(call.nr));
        cw_waitset_enter(&s.f->view, &call, THREAD, NOW, peek, NULL);
        expect(s.conns[0], POLLIN | POLLOUT);
        expect_nothing(s.conns[1]);
        expect(s.conns[2], 0);
        finish(&s);
    }
}

static void test_select(void **state)
{
    (void)state;
    static const int calls[] = {SYS_select, SYS_pselect6};

    for (unsigned i = 0; i < 2; i++) {
        struct setting s;
        fd_set in, out;
        begin(&s);
        FD_ZERO(&in);
        FD_ZERO(&out);
        FD_SET(40, &in);
        FD_SET(40, &out);
        FD_SET(41, &out);
        FD_SET(100, &in); /* not below nfds */
        struct cw_task_call call = {.nr = calls[i], .args = {100, (uintptr_t)&in, (uintptr_t)&out, 0}};
        cw_waitset_enter(&s.f->view, &call, THREAD, NOW, peek, NULL);
        expect(s.conns[0], POLLIN | POLLOUT);
        expect(s.conns[1], POLLOUT);
        expect_nothing(s.conns[2]);
        call.args[0] = 101;
        cw_waitset_enter(&s.f->view, &call, THREAD, NOW, peek, NULL);
        expect(s.conns[2], POLLIN);
        finish(&s);
    }
}

/* Memory that is not there, counts that are nonsense, other calls. */
static void test_refusals(void **state)
{
    (void)state;
    struct setting s;
    struct pollfd asked[40] = {{.fd = 40, .events = POLLIN}, {.fd = -1}};

    begin(&s);
    asked[39] = (struct pollfd){.fd = 41, .events = POLLIN};
    end = (uintptr_t)&asked[39];
    struct cw_task_call call = {.nr = SYS_poll, .args = {(uintptr_t)asked, UINT64_MAX}};
    cw_waitset_enter(&s.f->view, &call, THREAD, NOW, peek, NULL);
    expect(s.conns[0], POLLIN);
    expect_nothing(s.conns[1]);
    call.nr = SYS_read;
    assert_false(cw_waitset_is(call.nr));
    end = 1;
    cw_waitset_enter(&s.f->view, &call, THREAD, NOW, peek, NULL);
    call = (struct cw_task_call){.nr = SYS_select, .args = {UINT64_MAX, 8, 8, 8}};
    cw_waitset_enter(&s.f->view, &call, THREAD, NOW, peek, NULL);
    expect_nothing(s.conns[2]);
    /* A record that is nobody's any more. */
    end = 0;
    s.conns[1]->flags = 0;
    asked[0].fd = 41;
    call = (struct cw_task_call){.nr = SYS_poll, .args = {(uintptr_t)asked, 1}};
    cw_waitset_enter(&s.f->view, &call, THREAD, NOW, peek, NULL);
    expect_nothing(s.conns[1]);
    finish(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_poll),
        cmocka_unit_test(test_select),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
