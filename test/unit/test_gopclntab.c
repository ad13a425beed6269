/* core/gopclntab.c: a table built here, byte by byte, and the same cut and damaged. A real one: test/real/run go. */
#include "core/gopclntab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TEXT = 0x401000, BYTES = 512, NAMES = 72, UNITS = 120, FILES = 136, VALUES = 160, ENTRIES = 224, FUNCS = 280 };

static uint8_t table[BYTES];

static void put(size_t at, const void *bytes, size_t n)
{
    assert_true(at + n <= sizeof table);
    memcpy(table + at, bytes, n);
}

static void put32(size_t at, uint32_t value)
{
    put(at, &value, sizeof value);
}

static void put64(size_t at, uint64_t value)
{
    put(at, &value, sizeof value);
}

/* main.first at TEXT, 0x40 bytes; main.second behind it, 0x20 bytes. */
static void build(uint32_t magic)
{
    static const uint8_t sp[] = {2, 4, 32, 0x3b, 31, 1, 0};      /* 0 up to 4, 16 up to 0x3f, 0 up to 0x40 */
    static const uint8_t lines[] = {22, 0x10, 4, 0x30, 0};       /* 10 up to 0x10, 12 up to 0x40 */
    static const uint8_t file[] = {4, 0x40, 0};                  /* 1 */
    static const uint8_t far[] = {0x82, 0x08, 0x20, 0, 2, 2, 0}; /* 512 up to 0x20 */

    memset(table, 0, sizeof table);
    put32(0, magic);
    table[6] = 1;
    table[7] = 8;
    put64(8, 2);
    put64(24, TEXT);
    const uint64_t parts[] = {NAMES, UNITS, FILES, VALUES, ENTRIES};
    for (size_t i = 0; i < 5; i++)
        put64(32 + 8 * i, parts[i]);
    put(NAMES + 1, "main.first\0main.second", 23);
    put32(UNITS + 4, UINT32_MAX);
    put32(UNITS + 8, 1);
    put(FILES + 1, "/src/main.go", 13);
    put(VALUES + 1, sp, sizeof sp);
    put(VALUES + 10, lines, sizeof lines);
    put(VALUES + 20, file, sizeof file);
    put(VALUES + 30, far, sizeof far);
    const uint32_t entries[] = {0, FUNCS - ENTRIES, 0x40, FUNCS + 40 - ENTRIES, 0x60};
    put(ENTRIES, entries, sizeof entries);
    const uint32_t first[] = {0, 1, 0, 0, 1, 20, 10, 0, 1}, second[] = {0x40, 12, 0, 0, 30, 0, 0, 0, 0};
    put(FUNCS, first, sizeof first);
    put(FUNCS + 40, second, sizeof second);
}

static void test_find(void **state)
{
    (void)state;
    for (uint32_t magic = 0xfffffff0; magic <= 0xfffffff1 && magic; magic++) {
        struct cw_go_table go;
        struct cw_go_place place;
        build(magic);
        assert_true(cw_go_open(&go, table, sizeof table, TEXT));
        assert_true(cw_go_find(&go, TEXT, &place));
        assert_true(place.start == TEXT);
        assert_string_equal(place.name, "main.first");
        assert_string_equal(place.file, "/src/main.go");
        assert_int_equal(place.line, 10);
        assert_int_equal(place.stack_bytes, 0);
        assert_true(cw_go_find(&go, TEXT + 0x20, &place));
        assert_int_equal(place.line, 12);
        assert_int_equal(place.stack_bytes, 16);
        assert_true(cw_go_find(&go, TEXT + 0x3f, &place));
        assert_int_equal(place.stack_bytes, 0);
        assert_true(cw_go_find(&go, TEXT + 0x5f, &place));
        assert_true(place.start == TEXT + 0x40);
        assert_string_equal(place.name, "main.second");
        assert_null(place.file);
        assert_int_equal(place.line, 0);
        assert_int_equal(place.stack_bytes, 512);
        assert_false(cw_go_find(&go, TEXT - 1, &place));
        assert_false(cw_go_find(&go, TEXT + 0x60, &place));
        assert_false(cw_go_find(&go, UINT64_MAX, &place));
    }
}

static void test_refused(void **state)
{
    (void)state;
    struct cw_go_table go;
    build(0xfffffffa); /* Go 1.16 */
    assert_false(cw_go_open(&go, table, sizeof table, TEXT));
    build(0xfffffff0);
    table[7] = 4;
    assert_false(cw_go_open(&go, table, sizeof table, TEXT));
    build(0xfffffff0);
    put64(8, UINT64_MAX);
    assert_false(cw_go_open(&go, table, sizeof table, TEXT));
    build(0xfffffff0);
    put64(32, sizeof table);
    assert_false(cw_go_open(&go, table, sizeof table, TEXT));
}

static void look_everywhere(const uint8_t *bytes, size_t n)
{
    struct cw_go_table go;
    struct cw_go_place place;

    if (!cw_go_open(&go, bytes, n, TEXT))
        return;
    for (uint64_t at = TEXT - 1; at < TEXT + 0x62; at++)
        if (cw_go_find(&go, at, &place)) {
            assert_true(strlen(place.name) < n && (!place.file || strlen(place.file) < n));
            assert_true(place.stack_bytes >= 0);
        }
}

/* Every length, and every byte changed: in memory of just that size, so that AddressSanitizer sees a read behind it. */
static void test_hostile(void **state)
{
    (void)state;
    static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};

    build(0xfffffff0);
    for (size_t n = 0; n <= sizeof table; n++) {
        uint8_t *copy = malloc(n + 1);
        assert_non_null(copy);
        memcpy(copy, table, n);
        look_everywhere(copy, n);
        free(copy);
    }
    uint8_t *copy = malloc(sizeof table);
    assert_non_null(copy);
    for (size_t i = 8; i < sizeof table; i++)
        for (size_t k = 0; k < sizeof values; k++) {
            memcpy(copy, table, sizeof table);
            copy[i] = values[k];
            look_everywhere(copy, sizeof table);
        }
    free(copy);
}

static void test_outermost(void **state)
{
    (void)state;
    assert_true(cw_go_is_outermost("runtime.goexit"));
    assert_true(cw_go_is_outermost("runtime.mcall"));
    assert_true(cw_go_is_outermost("runtime.goexit.abi0"));
    assert_false(cw_go_is_outermost("runtime.goexit0"));
    assert_false(cw_go_is_outermost("main.main"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_outermost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
