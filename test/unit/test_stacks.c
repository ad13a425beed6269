/* The stack table: equal content has one id, different content another; a full section and refused memory are no id. */
#include "core/stacks.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define STACK_WORDS 4096u
#define PLACES 512u

/* One mapping: header, index, stacks. */
static struct {
    union {
        struct cw_ledger ledger;
        char bytes[CW_LEDGER_HEADER_BYTES];
    } header;
    uint32_t index[PLACES];
    uint64_t stacks[STACK_WORDS];
} memory;
static struct cw_view view;
static int refuse;
static bool index_asked[PLACES], stacks_asked[STACK_WORDS];

static int reserve(enum cw_section_id section, uint32_t first, uint32_t n)
{
    if (refuse)
        return -ENOMEM;
    bool *asked = section == CW_SECTION_STACKS ? stacks_asked : index_asked;
    assert_true(section == CW_SECTION_STACKS || section == CW_SECTION_STACK_INDEX);
    assert_true(first + n <= (section == CW_SECTION_STACKS ? STACK_WORDS : PLACES));
    for (uint32_t i = first; i < first + n; i++)
        asked[i] = true;
    return 0;
}

static int setup(void **state)
{
    (void)state;
    memset(&memory, 0, sizeof memory);
    memset(index_asked, 0, sizeof index_asked);
    memset(stacks_asked, 0, sizeof stacks_asked);
    refuse = 0;
    struct cw_section *section = memory.header.ledger.sections;
    section[CW_SECTION_STACK_INDEX].offset = CW_LEDGER_HEADER_BYTES;
    section[CW_SECTION_STACK_INDEX].capacity = PLACES;
    section[CW_SECTION_STACKS].used = 1;
    section[CW_SECTION_STACKS].capacity = STACK_WORDS;
    view = (struct cw_view){.header = &memory.header.ledger, .stacks = memory.stacks, .n_stacks = STACK_WORDS};
    return 0;
}

static uint32_t intern(const uint64_t *frames, unsigned n, unsigned flags)
{
    return cw_stacks_intern(&view, frames, n, flags, reserve);
}

static void test_equal_content_equal_id(void **state)
{
    const uint64_t frames[4] = {CW_FRAME(1, 16), CW_FRAME(2, 32), CW_FRAME(1, 48), CW_FRAME(0, 0x7fff12345678)};
    (void)state;
    uint32_t id = intern(frames, 4, 0);
    assert_true(id != 0);
    assert_int_equal(intern(frames, 4, 0), id);
    assert_int_equal(memory.header.ledger.sections[CW_SECTION_STACKS].used, 1 + 5);
    const uint64_t *found;
    unsigned flags;
    assert_int_equal(cw_view_stack(&view, id, &found, &flags), 4);
    assert_memory_equal(found, frames, sizeof frames);
    assert_int_equal(flags, 0);
}

static void test_different_content_different_id(void **state)
{
    uint64_t frames[4] = {CW_FRAME(1, 16), CW_FRAME(2, 32), CW_FRAME(1, 48), CW_FRAME(3, 64)};
    (void)state;
    uint32_t whole = intern(frames, 4, 0), shorter = intern(frames, 3, 0),
             flagged = intern(frames, 4, CW_STACK_TRUNCATED);
    frames[3]++;
    uint32_t other = intern(frames, 4, 0);
    uint32_t ids[] = {0, whole, shorter, flagged, other};
    for (unsigned i = 0; i < 5; i++)
        for (unsigned k = 0; k < i; k++)
            assert_true(ids[i] != ids[k]);
    const uint64_t *found;
    unsigned flags;
    assert_int_equal(cw_view_stack(&view, flagged, &found, &flags), 4);
    assert_int_equal(flags, CW_STACK_TRUNCATED);
    assert_int_equal(cw_view_stack(&view, shorter, &found, &flags), 3);
}

static void test_bounds(void **state)
{
    uint64_t frames[CW_STACK_MAX_FRAMES + 1] = {1};
    (void)state;
    assert_int_equal(intern(frames, 0, 0), 0);
    assert_int_equal(intern(frames, CW_STACK_MAX_FRAMES + 1, 0), 0);
    assert_true(intern(frames, CW_STACK_MAX_FRAMES, 0) != 0);
}

/* Until the words run out each stack gets an id of its own; then none, and the old ones are still found. */
static void test_stacks_full(void **state)
{
    uint64_t frames[31];
    uint32_t last = 0, n = 0, ids[STACK_WORDS / 32 + 1];
    (void)state;
    memset(frames, 0, sizeof frames);
    for (;; n++) {
        frames[0] = n + 1;
        uint32_t id = intern(frames, 31, 0);
        if (id == 0)
            break;
        assert_true(id > last);
        ids[n] = last = id;
    }
    assert_int_equal(n, (STACK_WORDS - 1) / 32);
    assert_true(memory.header.ledger.sections[CW_SECTION_STACKS].used <= STACK_WORDS);
    for (uint32_t i = 0; i < n; i++) {
        frames[0] = i + 1;
        assert_int_equal(intern(frames, 31, 0), ids[i]);
    }
}

/* More stacks than places in the index. */
static void test_index_full(void **state)
{
    (void)state;
    uint32_t n = 0;
    for (uint64_t i = 1; i <= 2 * PLACES; i++)
        n += intern(&i, 1, 0) != 0;
    assert_true(n >= PLACES / 2 && n <= PLACES);
    uint64_t first = 1;
    assert_true(intern(&first, 1, 0) != 0);
}

/* Nothing is touched before it was made real, and a refusal leaves no trace. */
static void test_reserve(void **state)
{
    uint64_t frame = CW_FRAME(4, 4);
    (void)state;
    refuse = 1;
    assert_int_equal(intern(&frame, 1, 0), 0);
    assert_int_equal(memory.header.ledger.sections[CW_SECTION_STACKS].used, 1);
    for (unsigned i = 0; i < PLACES; i++)
        assert_int_equal(memory.index[i], 0);
    refuse = 0;
    for (uint64_t i = 1; i < 200; i++)
        assert_true(intern(&i, 1, 0) != 0);
    for (unsigned i = 0; i < PLACES; i++)
        assert_true(memory.index[i] == 0 || index_asked[i]);
    for (unsigned i = 0; i < STACK_WORDS; i++)
        assert_true(memory.stacks[i] == 0 || stacks_asked[i]);
}

/* An index that somebody has scribbled over leads nowhere outside. */
static void test_nonsense_in_the_index(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PLACES; i++)
        memory.index[i] = i % 2 ? UINT32_MAX - i : STACK_WORDS - 1;
    uint64_t frames[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    assert_int_equal(intern(frames, 8, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_equal_content_equal_id, setup),
        cmocka_unit_test_setup(test_different_content_different_id, setup),
        cmocka_unit_test_setup(test_bounds, setup),
        cmocka_unit_test_setup(test_stacks_full, setup),
        cmocka_unit_test_setup(test_index_full, setup),
        cmocka_unit_test_setup(test_reserve, setup),
        cmocka_unit_test_setup(test_nonsense_in_the_index, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
