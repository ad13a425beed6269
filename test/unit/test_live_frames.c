/* core/live_frames.c: which frames of an earlier stack are still there. */
#include "core/live_frames.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { HANDLER = 0x100, LOOP = 0x200, START = 0x300, CLONE = 0x400, LOCK = 0x500, WAIT = 0x600, OTHER = 0x700 };

#define LIVE(touch, now) cw_live_frames(touch, sizeof(touch) / sizeof *(touch), now, sizeof(now) / sizeof *(now))

static void test_inside_the_handler(void **state)
{
    (void)state;
    const uint64_t touch[] = {HANDLER, LOOP, START, CLONE};
    const uint64_t now[] = {LOCK, HANDLER + 8, LOOP, START, CLONE};
    assert_int_equal(LIVE(touch, now), 1);
}

static void test_back_in_the_loop(void **state)
{
    (void)state;
    const uint64_t touch[] = {HANDLER, LOOP, START, CLONE};
    const uint64_t now[] = {WAIT, LOOP + 8, START, CLONE};
    assert_int_equal(LIVE(touch, now), 2);
}

/* It must not be taken for the first call: that one has returned. */
static void test_again_at_the_same_place(void **state)
{
    (void)state;
    const uint64_t touch[] = {HANDLER, LOOP, START};
    const uint64_t now[] = {LOCK, HANDLER, LOOP, START};
    assert_int_equal(LIVE(touch, now), 0);
    assert_int_equal(LIVE(touch, touch), 0);
}

static void test_nothing_in_common(void **state)
{
    (void)state;
    const uint64_t touch[] = {HANDLER, LOOP, START}, now[] = {HANDLER, LOOP, OTHER};
    assert_int_equal(LIVE(touch, now), 0);
    assert_int_equal(cw_live_frames(touch, 3, now, 0), 0);
    assert_int_equal(cw_live_frames(touch, 0, now, 3), 0);
    assert_int_equal(cw_live_frames(NULL, 0, NULL, 0), 0);
}

static void test_what_lies_further_in_does_not_count(void **state)
{
    (void)state;
    const uint64_t touch[] = {HANDLER, LOOP, OTHER, START, CLONE};
    const uint64_t now[] = {HANDLER, LOOP, WAIT, START, CLONE};
    assert_int_equal(LIVE(touch, now), 3);
}

/* A recursive function stands in the stack more than once. */
static void test_recursion(void **state)
{
    (void)state;
    const uint64_t touch[] = {HANDLER, LOOP, LOOP, LOOP, START};
    const uint64_t shorter[] = {LOOP, LOOP, START}, longer[] = {WAIT, LOOP, LOOP, LOOP, LOOP, START};
    assert_int_equal(LIVE(touch, shorter), 2);
    assert_int_equal(LIVE(touch, longer), 1);
}

static void test_now_is_part_of_touch(void **state)
{
    (void)state;
    const uint64_t touch[] = {HANDLER, LOOP, START, CLONE}, now[] = {CLONE};
    assert_int_equal(LIVE(touch, now), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inside_the_handler),
        cmocka_unit_test(test_back_in_the_loop),
        cmocka_unit_test(test_again_at_the_same_place),
        cmocka_unit_test(test_nothing_in_common),
        cmocka_unit_test(test_what_lies_further_in_does_not_count),
        cmocka_unit_test(test_recursion),
        cmocka_unit_test(test_now_is_part_of_touch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
