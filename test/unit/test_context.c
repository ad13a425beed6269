/* core/context.c: what other records say of a socket. */
#include "core/context.h"
#include "test/unit/fixture.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

struct gathered {
    struct cw_context context;
    struct cw_symbol symbols[CW_SYMBOLS_MAX];
    uint32_t memory[64];
};

static const struct cw_context *gather(struct fixture *f, struct gathered *ret)
{
    assert_true(cw_context_bytes(&f->view) <= sizeof(ret->memory));
    cw_context_gather(&ret->context, &f->view, &f->resolver, ret->symbols, ret->memory, cw_context_bytes(&f->view));
    return &ret->context;
}

static struct cw_conn *touched(struct fixture *f, uint32_t thread, uint32_t in_ms, uint32_t out_ms)
{
    struct cw_conn *conn = fixture_conn(f, 1);
    conn->touch_thread = thread;
    conn->in_last_ms = in_ms;
    conn->out_last_ms = out_ms;
    return conn;
}

static void test_last_conn(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(20);
    struct gathered g;
    uint32_t a = fixture_thread(f, 10, "a"), b = fixture_thread(f, 11, "b"), idle = fixture_thread(f, 12, "c");

    touched(f, a, 100, 0);
    struct cw_conn *last_a = touched(f, a, 100, 900);
    touched(f, a, 800, 850);
    touched(f, a, 950, 0)->flags |= CW_CONN_LATE; /* closed since: nobody is stuck on it */
    touched(f, a, 960, 0)->flags = 0;
    touched(f, a + (1u << 16), 970, 0); /* another thread's, before or after this one had the record */
    touched(f, 999, 970, 0);
    touched(f, a, 0, 0);
    touched(f, b, UINT32_MAX - 5, 0);
    struct cw_conn *last_b = touched(f, b, 7, UINT32_MAX - 9); /* later: the clock has wrapped */
    const struct cw_context *context = gather(f, &g);
    assert_ptr_equal(cw_context_last_conn(context, cw_view_thread(&f->view, a)), last_a);
    assert_ptr_equal(cw_context_last_conn(context, cw_view_thread(&f->view, b)), last_b);
    assert_null(cw_context_last_conn(context, cw_view_thread(&f->view, idle)));
    assert_null(cw_context_last_conn(context, NULL));
    assert_null(cw_context_last_conn(NULL, cw_view_thread(&f->view, a)));
    assert_null(cw_context_last_conn(context, &f->view.threads[f->view.n_threads - 1])); /* not handed out yet */
    fixture_free(f);
}

static void test_more_threads_than_memory(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(4);
    struct gathered g;
    uint32_t a = fixture_thread(f, 10, "a"), b = fixture_thread(f, 11, "b");

    touched(f, a, 100, 0);
    touched(f, b, 100, 0);
    memset(g.memory, 0xA5, sizeof(g.memory));
    cw_context_gather(&g.context, &f->view, NULL, g.symbols, g.memory, 2 * sizeof(uint32_t));
    assert_non_null(cw_context_last_conn(&g.context, cw_view_thread(&f->view, a)));
    assert_null(cw_context_last_conn(&g.context, cw_view_thread(&f->view, b)));
    assert_int_equal(g.memory[2], 0xA5A5A5A5);
    fixture_free(f);
}

static void test_in_call(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(4);
    struct gathered g;
    struct cw_thread *thread = cw_view_thread(&f->view, fixture_thread(f, 10, "a")) ? &f->view.threads[1] : NULL;

    assert_non_null(thread);
    fixture_thread(f, 11, "b");
    assert_null(cw_context_in_call(gather(f, &g), 7));
    thread->k_ms = 1;
    thread->k_syscall = SYS_recvfrom;
    thread->k_object = 7;
    assert_ptr_equal(cw_context_in_call(gather(f, &g), 7), thread);
    assert_null(cw_context_in_call(gather(f, &g), 8));
    thread->k_object = 0; /* not known: not fd 0 */
    assert_null(cw_context_in_call(gather(f, &g), 0));
    thread->k_object = -7;
    assert_null(cw_context_in_call(gather(f, &g), -7));
    thread->k_object = 7;
    thread->k_syscall = SYS_futex; /* of a futex it is a thread */
    assert_null(cw_context_in_call(gather(f, &g), 7));
    thread->k_syscall = CW_SYSCALL_NONE;
    assert_null(cw_context_in_call(gather(f, &g), 7));
    thread->k_syscall = SYS_read;
    thread->k_ms = 0; /* left over: nobody has asked */
    assert_null(cw_context_in_call(gather(f, &g), 7));
    assert_null(cw_context_in_call(NULL, 7));
    fixture_free(f);
}

/* The indices say what a search through the records says, where there is no memory for them. */
static void test_without_indices(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(4);
    struct gathered g, bare;
    uint32_t refs[4], n_sets = 3;
    uint16_t sets[3];

    for (unsigned i = 0; i < 4; i++)
        refs[i] = fixture_thread(f, (int)(10 + i), "t");
    for (unsigned i = 0; i < n_sets; i++)
        sets[i] = fixture_set(f, (int)(20 + i));
    for (unsigned i = 1; i <= 4; i++) {
        f->view.threads[i].in_wait = i != 2;
        f->view.threads[i].waiting_set = sets[i / 2 % n_sets];
        f->view.threads[i].exit_ms = i == 1;
        f->view.threads[i].k_ms = 1;
        f->view.threads[i].k_syscall = SYS_read;
        f->view.threads[i].k_object = (int)(30 - i / 2);
    }
    for (uint32_t i = 0; i < 11; i++)
        fixture_fork(f, refs[i * i % 4], i);
    gather(f, &g);
    cw_context_gather(&bare.context, &f->view, NULL, bare.symbols, bare.memory, 5 * sizeof(uint32_t));
    assert_non_null(g.context.first_waiter);
    assert_non_null(g.context.calls);
    assert_non_null(g.context.forks);
    assert_null(bare.context.first_waiter);
    assert_null(bare.context.calls);
    assert_null(bare.context.forks);
    for (unsigned i = 0; i < n_sets; i++) {
        const struct cw_set *set = cw_view_set(&f->view, sets[i]);
        assert_ptr_equal(cw_context_waiter(&g.context, set), cw_context_waiter(&bare.context, set));
    }
    assert_non_null(cw_context_waiter(&g.context, cw_view_set(&f->view, sets[2])));
    for (int fd = 26; fd < 32; fd++)
        assert_ptr_equal(cw_context_in_call(&g.context, fd), cw_context_in_call(&bare.context, fd));
    assert_ptr_equal(cw_context_in_call(&g.context, 29), &f->view.threads[2]);
    for (unsigned i = 0; i < 4; i++)
        for (uint32_t seq = 0; seq < 14; seq++)
            assert_ptr_equal(cw_context_fork(&g.context, refs[i], seq), cw_context_fork(&bare.context, refs[i], seq));
    /* Odd ones by the first thread, even ones by the second; 11 in all, of which the ring has kept the last 8. */
    assert_int_equal(cw_context_fork(&g.context, refs[1], 9)->seq, 10);
    assert_int_equal(cw_context_fork(&g.context, refs[0], 1)->seq, 5);
    assert_null(cw_context_fork(&g.context, refs[1], 11));
    fixture_free(f);
}

static void test_listener(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(CW_LISTENERS_MAX + 20);
    struct gathered g;
    struct cw_conn *conn = fixture_conn(f, 1);

    assert_null(cw_context_listener(gather(f, &g), conn));
    struct cw_conn *listener = fixture_listener(f, 1);
    assert_ptr_equal(cw_context_listener(gather(f, &g), conn), listener);
    assert_null(cw_context_listener(NULL, conn));
    listener->local_port = 8081;
    assert_null(cw_context_listener(gather(f, &g), conn));
    listener->local_port = conn->local_port = 0;
    assert_null(cw_context_listener(gather(f, &g), conn));
    listener->local_port = conn->local_port = 8080;
    struct cw_conn *second = fixture_listener(f, 1);
    assert_null(cw_context_listener(gather(f, &g), conn));
    second->local[3] = 99; /* bound to another address */
    assert_ptr_equal(cw_context_listener(gather(f, &g), conn), listener);
    second->flags = 0;
    listener->flags &= ~(uint32_t)CW_CONN_IN_USE;
    assert_null(cw_context_listener(gather(f, &g), conn));
    for (unsigned i = 0; i < CW_LISTENERS_MAX + 5; i++) /* more than are kept: the first ones */
        fixture_listener(f, 1)->local_port = (uint16_t)(9000 + i);
    assert_int_equal(gather(f, &g)->n_listeners, CW_LISTENERS_MAX);
    conn->local_port = 9000 + CW_LISTENERS_MAX - 1;
    assert_non_null(cw_context_listener(&g.context, conn));
    conn->local_port = 9000 + CW_LISTENERS_MAX;
    assert_null(cw_context_listener(&g.context, conn));
    fixture_free(f);
}

static void test_interpreted(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(2);
    struct gathered g;
    uint32_t m = fixture_module(f, "/usr/bin/python3", CW_MODULE_MAIN);

    fixture_symbol(f, CW_FRAME(m, 1), "_PyEval_EvalFrameDefault", NULL, 0);
    fixture_symbol(f, CW_FRAME(m, 2), "inlined_helper", NULL, 0);
    fixture_symbol(f, CW_FRAME(m, 2), "luaV_execute", NULL, 0);
    fixture_symbol(f, CW_FRAME(m, 3), "_PyEval_EvalFrameDefault_not", NULL, 0);
    fixture_symbol(f, CW_FRAME(m, 4), NULL, "only-file.c", 7);
    gather(f, &g);
    assert_true(cw_context_interpreted(&g.context, CW_FRAME(m, 1)));
    assert_true(cw_context_interpreted(&g.context, CW_FRAME(m, 2)));
    assert_false(cw_context_interpreted(&g.context, CW_FRAME(m, 3)));
    assert_false(cw_context_interpreted(&g.context, CW_FRAME(m, 4)));
    assert_false(cw_context_interpreted(&g.context, CW_FRAME(m, 5)));
    assert_true(cw_context_interpreted(&g.context, CW_FRAME(0, 0x7f0000001000))); /* compiled at run time */
    g.context.resolver = NULL;
    assert_false(cw_context_interpreted(&g.context, CW_FRAME(m, 1)));
    assert_false(cw_context_interpreted(NULL, CW_FRAME(m, 1)));
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_last_conn),   cmocka_unit_test(test_more_threads_than_memory),
        cmocka_unit_test(test_in_call),     cmocka_unit_test(test_listener),
        cmocka_unit_test(test_interpreted), cmocka_unit_test(test_without_indices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
