/* core/frames.c, core/sort.c: stacks as reports show them, and what they are known by across runs. */
#include "core/frames.h"

#include "core/sort.h"
#include "test/unit/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint32_t stack_of(struct fixture *f, uint32_t module, uint64_t offset)
{
    const uint64_t frames[] = {CW_FRAME(module, offset), CW_FRAME(module, 0x9000)};
    return fixture_stack(f, frames, 2, 0);
}

static void test_stack_id_is_stable(void **state)
{
    (void)state;
    uint64_t ids[3];

    for (unsigned run = 0; run < 3; run++) {
        struct fixture *f = fixture_new(2);
        for (unsigned i = 0; i < run; i++) /* other ids and indices in every run */
            fixture_module(f, "/lib/other.so", CW_MODULE_OTHER);
        uint32_t libc = fixture_module(f, "/lib/libc.so.6", CW_MODULE_LIBC),
                 m = fixture_module(f, "/srv/s", CW_MODULE_MAIN);
        memset(f->view.modules[m].build_id, run == 2 ? 0x22 : 0x11, 20);
        memset(f->view.modules[libc].build_id, (int)run, 20); /* another host's libc */
        stack_of(f, m, 0x77 + run);
        const uint64_t frames[] = {CW_FRAME(m, 0x10), CW_FRAME(libc, 0x500 + run), CW_FRAME(0, 0x7f0000 + run)};
        ids[run] = cw_hash_stack(CW_HASH_START, &f->view, fixture_stack(f, frames, 3, 0));
        fixture_free(f);
    }
    assert_true(ids[0] == ids[1]);
    assert_true(ids[0] != ids[2]); /* another build */
}

static void test_frames_shown(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(2);
    uint32_t shim = fixture_module(f, "/lib/libcwguard.so", CW_MODULE_SHIM),
             m = fixture_module(f, "/srv/s", CW_MODULE_MAIN);
    uint32_t libc = fixture_module(f, "/lib/libc.so.6", CW_MODULE_LIBC);
    const uint64_t named[] = {CW_FRAME(shim, 1),    CW_FRAME(m, 0x10),    CW_FRAME(m, 0x20),
                              CW_FRAME(libc, 0x30), CW_FRAME(libc, 0x40), CW_FRAME(m, 0x50)};
    struct cw_symbol symbols[CW_SYMBOLS_MAX];
    uint64_t shown[CW_STACK_MAX_FRAMES];

    fixture_symbol(f, named[1], "clone", "own.c", 1); /* the program's own function of that name stays */
    fixture_symbol(f, named[2], "main", "own.c", 2);
    fixture_symbol(f, named[3], "__libc_start_call_main", NULL, 0);
    fixture_symbol(f, named[4], "__libc_start_main", NULL, 0);
    fixture_symbol(f, named[5], "_start", NULL, 0);
    uint32_t id = fixture_stack(f, named, 6, 0);
    assert_int_equal(cw_frames_shown(&f->view, &f->resolver, id, symbols, shown), 2);
    assert_true(shown[0] == named[1] && shown[1] == named[2]);

    /* libc without debug symbols: of its start-up code only the exported function has a name. */
    const uint64_t stripped[] = {CW_FRAME(m, 0x20), CW_FRAME(libc, 0x35), CW_FRAME(libc, 0x40), CW_FRAME(m, 0x50)};
    assert_int_equal(cw_frames_shown(&f->view, &f->resolver, fixture_stack(f, stripped, 4, 0), symbols, shown), 1);

    /* No names: libc's outer end and _start go by their place alone, and only where the stack is whole. */
    assert_int_equal(cw_frames_shown(&f->view, NULL, id, symbols, shown), 2);
    id = fixture_stack(f, named, 6, CW_STACK_TRUNCATED);
    assert_int_equal(cw_frames_shown(&f->view, NULL, id, symbols, shown), 5);
    id = fixture_stack(f, named, 3, 0); /* no libc at the outer end */
    assert_int_equal(cw_frames_shown(&f->view, NULL, id, symbols, shown), 2);
    id = fixture_stack(f, named + 3, 2, 0); /* nothing but libc: better than nothing */
    assert_int_equal(cw_frames_shown(&f->view, NULL, id, symbols, shown), 2);
    id = fixture_stack(f, named, 1, 0); /* nothing but the shim */
    assert_int_equal(cw_frames_shown(&f->view, &f->resolver, id, symbols, shown), 1);
    assert_int_equal(cw_frames_shown(&f->view, &f->resolver, 0, symbols, shown), 0);
    fixture_free(f);
}

static int compare_ints(const void *a, const void *b, void *ctx)
{
    ++*(unsigned *)ctx;
    return (*(const int *)a > *(const int *)b) - (*(const int *)a < *(const int *)b);
}

static void test_sort(void **state)
{
    (void)state;
    for (size_t n = 0; n < 200; n++) {
        int values[200];
        unsigned seed = (unsigned)n, calls = 0;
        long sum = 0;
        for (size_t i = 0; i < n; i++) {
            seed = seed * 1103515245 + 12345;
            values[i] = (int)(seed >> 16) % 50;
            sum += values[i];
        }
        cw_sort(values, n, sizeof(int), compare_ints, &calls);
        for (size_t i = 0; i < n; i++) {
            sum -= values[i];
            assert_true(!i || values[i - 1] <= values[i]);
        }
        assert_int_equal(sum, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stack_id_is_stable),
        cmocka_unit_test(test_frames_shown),
        cmocka_unit_test(test_sort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
