/* core/view.c: nothing outside the sections is ever read, whatever the indices say. */
#include "test/unit/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_records(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(4);
    const struct cw_view *view = &f->view;

    assert_null(cw_view_conn(view, 0));
    assert_ptr_equal(cw_view_conn(view, 4), &view->conns[4]);
    assert_null(cw_view_conn(view, 5));
    assert_null(cw_view_conn(view, UINT32_MAX));
    assert_null(cw_view_set(view, 0));
    assert_non_null(cw_view_set(view, 1));
    assert_null(cw_view_set(view, view->n_sets));
    assert_null(cw_view_module(view, 0));
    assert_null(cw_view_module(view, 0xFFFF));
    fixture_free(f);
}

static void test_threads(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(1);
    uint32_t ref = fixture_thread(f, 77, "worker");

    assert_int_equal(cw_view_thread(&f->view, ref)->tid, 77);
    assert_null(cw_view_thread(&f->view, 0));
    assert_null(cw_view_thread(&f->view, ref + (1u << 16))); /* given to another thread since */
    assert_null(cw_view_thread(&f->view, 0xFFFFFFFF));
    f->view.threads[CW_THREAD_INDEX(ref)].generation += 0x10000; /* only the low half is in the reference */
    assert_non_null(cw_view_thread(&f->view, ref));
    fixture_free(f);
}

static void test_strings(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(1);
    uint32_t id = fixture_string(f, "hello");

    assert_string_equal(cw_view_string(&f->view, id), "hello");
    assert_string_equal(cw_view_string(&f->view, 0), "");
    assert_string_equal(cw_view_string(&f->view, f->view.n_strings), "");
    assert_string_equal(cw_view_string(&f->view, UINT32_MAX), "");
    memset(f->view.strings + f->view.n_strings - 3, 'x', 3); /* no NUL up to the section's end */
    assert_string_equal(cw_view_string(&f->view, f->view.n_strings - 3), "");
    assert_string_equal(cw_view_string(&f->view, f->view.n_strings - 1), "");
    fixture_free(f);
}

static void test_stacks(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(1);
    const uint64_t words[] = {CW_FRAME(1, 0x10), CW_FRAME(1, 0x20)};
    uint32_t id = fixture_stack(f, words, 2, CW_STACK_TRUNCATED), n = f->view.n_stacks;
    const uint64_t *frames = NULL;
    unsigned flags = 0;

    assert_int_equal(cw_view_stack(&f->view, id, &frames, &flags), 2);
    assert_int_equal(frames[1], words[1]);
    assert_int_equal(flags, CW_STACK_TRUNCATED);
    frames = NULL;
    assert_int_equal(cw_view_stack(&f->view, 0, &frames, NULL), 0);
    assert_int_equal(cw_view_stack(&f->view, n, &frames, NULL), 0);
    assert_int_equal(cw_view_stack(&f->view, UINT32_MAX, &frames, NULL), 0);
    assert_int_equal(cw_view_stack(&f->view, id + 100, &frames, NULL), 0); /* nothing there */
    f->view.stacks[n - 2] = CW_STACK_WORD(1, 2, 0);                        /* one word too long for the section */
    assert_int_equal(cw_view_stack(&f->view, n - 2, &frames, NULL), 0);
    f->view.stacks[n - 3] = CW_STACK_WORD(1, 2, 0); /* just fits */
    assert_int_equal(cw_view_stack(&f->view, n - 3, &frames, NULL), 2);
    f->view.stacks[id] = CW_STACK_WORD(1, 65, 0);
    assert_int_equal(cw_view_stack(&f->view, id, &frames, NULL), 0);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_stacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
