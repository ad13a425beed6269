/* core/diagnose.c: which diagnosis wins where two hold, for every pair of them. */
#define _GNU_SOURCE /* POLLRDHUP */
#include "test/unit/makers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* In order of precedence; "<": both can hold, and the row's wins over the column's; "-": they cannot. */
static const struct {
    const char *id, *against;
} table[] = {
    /* clang-format off */
    /* columns in the order of the rows: e n h l h o e r e u n r i o a u f */
    {"error-not-closed",  ". < < < < < < < < < < < < < < < <"},
    {"never-accepted",    ". . < - < < < < < < < - - < < - <"},
    {"held-elsewhere",    ". . . < < < < < < < < < < < < < <"},
    {"left-to-child",     ". . . . < < < - - - < - - < - - <"},
    {"half-open",         ". . . . . < < - - < < < < < < < <"},
    {"owner-stuck",       ". . . . . . < < < < < < < < < < <"},
    {"eof-not-closed",    ". . . . . . . - - < < < < < < < <"},
    {"reading-paused",    ". . . . . . . . < < - < < < - < <"},
    {"event-ignored",     ". . . . . . . . . < < < < < < < <"},
    {"unwatched",         ". . . . . . . . . . < < - < < < <"},
    {"never-watched",     ". . . . . . . . . . . < - < < - <"},
    {"response-unread",   ". . . . . . . . . . . . - < < - <"},
    {"idle-pooled",       ". . . . . . . . . . . . . < < - <"},
    {"owner-gone",        ". . . . . . . . . . . . . . < < <"},
    {"abandoned",         ". . . . . . . . . . . . . . . < <"},
    {"untracked",         ". . . . . . . . . . . . . . . . <"},
    {"fin-unread",        ". . . . . . . . . . . . . . . . ."},
    /* clang-format on */
};

/* Whether both hold at once in a world that two of their makers make, and whether the first is then the one found. */
static void try_pair(const struct maker *first, const struct maker *second, bool *ret_both, bool *ret_wins)
{
    struct world w;

    world_new(&w, 0);
    first->make(&w);
    second->make(&w);
    struct cw_facts facts = world_facts(&w);
    enum cw_diagnosis_id winner = first->id < second->id ? first->id : second->id;
    if (cw_diagnoses[first->id].holds(&facts) && cw_diagnoses[second->id].holds(&facts)) {
        *ret_both = true;
        *ret_wins = *ret_wins || cw_diagnose(&facts) == winner;
        assert_true(cw_diagnose(&facts) <= winner);
    }
    world_free(&w);
}

static void try_all(unsigned row, unsigned column, bool *ret_both, bool *ret_wins)
{
    const struct maker written = {CW_DIAGNOSIS_ABANDONED, "make_written", make_written};

    for (size_t i = 0; i < MAKERS_COUNT; i++) {
        if (makers[i].id != row && makers[i].id != column)
            continue;
        for (size_t k = 0; k <= MAKERS_COUNT; k++) {
            const struct maker *other = k < MAKERS_COUNT ? &makers[k] : &written;
            if (other->id != (makers[i].id == row ? column : row))
                continue;
            try_pair(&makers[i], other, ret_both, ret_wins);
            try_pair(other, &makers[i], ret_both, ret_wins);
        }
    }
}

static void test_pairs(void **state)
{
    (void)state;
    unsigned n[2] = {0};

    assert_int_equal(sizeof(table) / sizeof(table[0]), CW_DIAGNOSIS_COUNT);
    for (unsigned row = 0; row < CW_DIAGNOSIS_COUNT; row++) {
        assert_string_equal(cw_diagnoses[row].id, table[row].id);
        assert_int_equal(strlen(table[row].against), 2 * CW_DIAGNOSIS_COUNT - 1);
        for (unsigned column = row + 1; column < CW_DIAGNOSIS_COUNT; column++) {
            char expected = table[row].against[2 * column];
            bool both = false, wins = false;
            try_all(row, column, &both, &wins);
            if (both != (expected == '<') || both != wins || (expected != '<' && expected != '-'))
                fail_msg("%s and %s: %s hold together%s", table[row].id, table[column].id, both ? "can" : "cannot",
                         both && !wins ? ", and the first does not win" : "");
            n[both]++;
        }
    }
    print_message("%u pairs can hold together, %u cannot\n", n[1], n[0]);
    assert_int_equal(n[0] + n[1], CW_DIAGNOSIS_COUNT * (CW_DIAGNOSIS_COUNT - 1) / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pairs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
