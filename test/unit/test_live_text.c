/* The live line: one socket, many, of one process and of many. */
#include "core/live_text.h"
#include "test/unit/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const char *line_of(struct world *w, uint32_t count, uint32_t processes, uint32_t deciding)
{
    static struct cw_line line;
    struct cw_out out;
    uint64_t frames[CW_STACK_MAX_FRAMES];
    const struct cw_live_leak leak = {.view = &w->f->view,
                                      .symbols = w->symbols,
                                      .frames = frames,
                                      .count = count,
                                      .processes = processes,
                                      .grace_ms = 30000,
                                      .diagnosis = CW_DIAGNOSIS_EOF_NOT_CLOSED,
                                      .open_stack = w->open_stack,
                                      .deciding_stack = deciding,
                                      .deciding_call = CW_CALL_recv,
                                      .pid = 4242};

    cw_out_line(&out, &line);
    cw_live_text(&out, &leak);
    cw_out_flush(&out);
    return line.text;
}

static void begins(const char *text, const char *expected)
{
    if (strncmp(text, expected, strlen(expected)) != 0)
        fail_msg("'%s' does not begin with '%s'", text, expected);
}

static void test_counts(void **state)
{
    struct world w;

    (void)state;
    world_new(&w, 0);
    begins(line_of(&w, 1, 1, 0), "1 socket left in CLOSE_WAIT for more than 30 s [eof-not-closed], opened at ");
    begins(line_of(&w, 10, 1, 0), "10 sockets left in CLOSE_WAIT for more than 30 s [eof-not-closed], opened at ");
    begins(line_of(&w, 1204, 40, 0),
           "1,204 sockets left in CLOSE_WAIT by 40 processes for more than 30 s [eof-not-closed], opened at ");
    world_free(&w);
}

static void test_places(void **state)
{
    struct world w;
    const char *text;

    (void)state;
    world_new(&w, 0);
    text = line_of(&w, 1, 1, 0);
    assert_null(strstr(text, "end of stream"));
    assert_non_null(strstr(text, "; full report: cwguard report 4242"));
    text = line_of(&w, 1, 1, w.eof_stack);
    assert_non_null(strstr(text, ", end of stream seen by recv at "));
    w.open_stack = 0;
    assert_non_null(strstr(line_of(&w, 1, 1, 0), "opened at an unknown place; full report"));
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
