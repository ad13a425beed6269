/* cli/top/model.c, rows.c, text.c, detail.c: what `cwguard top` shows, without a terminal and without a kernel. */
#include "cli/top/detail.h"
#include "cli/top/model.h"
#include "cli/top/rows.h"
#include "cli/top/text.h"

#include "test/unit/fixture.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NOW = 1000000, GRACE = 30000 };

/* A document over one process. */
struct world {
    struct fixture *f;
    uint32_t accept, read, other;
    struct cw_report report;
    const struct cw_report *reports[1];
    void *scratch, *document_scratch;
    struct cw_document document;
    struct cw_top_model model;
};

static void begin(struct world *world)
{
    *world = (struct world){.f = fixture_new(400)};
    struct fixture *f = world->f;
    uint32_t module = fixture_module(f, "/srv/server", CW_MODULE_MAIN);
    uint64_t frames[] = {CW_FRAME(module, 0x10), CW_FRAME(module, 0x20), CW_FRAME(module, 0x30)};

    world->accept = fixture_stack(f, &frames[0], 1, 0);
    world->read = fixture_stack(f, &frames[1], 1, 0);
    world->other = fixture_stack(f, &frames[2], 1, 0);
    fixture_symbol(f, frames[0], "accept_clients", "/src/server.c", 20);
    fixture_symbol(f, frames[1], "on_readable", "/src/server.c", 73);
    snprintf(f->header.exe, sizeof f->header.exe, "/srv/server");
}

/* A connection whose end was read so long ago. */
static struct cw_conn *leak(struct world *world, uint32_t accept, uint32_t fin_age_ms)
{
    struct cw_conn *conn = fixture_conn(world->f, 1000);
    conn->open_stack = accept;
    conn->flags |= CW_CONN_EOF_SEEN | CW_CONN_EOF_CONSUMED;
    conn->eof_ms = NOW - fin_age_ms;
    conn->eof_stack = world->read;
    conn->eof_call = CW_CALL_recv;
    fixture_close_wait(conn, NOW, fin_age_ms, fin_age_ms);
    return conn;
}

static const struct cw_top_states states = {.known = true, .established = 7, .close_wait = 9, .other = 1};

static const struct cw_top_model *build(struct world *world, const struct cw_top_states *all)
{
    const struct cw_report_input in = {.now_ms = NOW, .grace_ms = GRACE, .resolver = &world->f->resolver};
    size_t bytes = cw_report_scratch_bytes(&world->f->view);

    cw_top_model_free(&world->model);
    free(world->scratch);
    free(world->document_scratch);
    world->scratch = malloc(bytes);
    assert_int_equal(cw_report_build(&world->report, &world->f->view, &in, world->scratch, bytes), 0);
    world->reports[0] = &world->report;
    bytes = cw_document_scratch_bytes(world->reports, 1);
    world->document_scratch = malloc(bytes + 1);
    assert_int_equal(cw_document_build(&world->document, world->reports, 1, world->document_scratch, bytes), 0);
    assert_int_equal(cw_top_model_build(&world->model, &world->document, all, all), 0);
    return &world->model;
}

static void end(struct world *world)
{
    cw_top_model_free(&world->model);
    free(world->scratch);
    free(world->document_scratch);
    fixture_free(world->f);
}

/* --- the model --- */

static void test_counts(void **state)
{
    struct world world;
    const struct cw_top_model *model;

    (void)state;
    begin(&world);
    for (unsigned i = 0; i < 5; i++)
        leak(&world, world.accept, GRACE + 70000); /* a leak for more than a minute */
    for (unsigned i = 0; i < 3; i++)
        leak(&world, world.accept, GRACE + 59000 + i);
    leak(&world, world.accept, GRACE - 1); /* none yet */
    model = build(&world, &states);
    assert_int_equal(model->n_processes, 1);
    assert_int_equal(model->processes[0].pid, 4242);
    assert_string_equal(model->processes[0].name, "server");
    assert_int_equal(model->processes[0].leaked, 8);
    assert_int_equal(model->processes[0].states.established, 7);
    assert_int_equal(model->leaked, 8);
    assert_int_equal(model->close_wait, 9);
    assert_int_equal(model->n_groups, 1);
    assert_int_equal(model->groups[0].count, 8);
    assert_int_equal(model->groups[0].per_minute, 3);
    assert_int_equal(model->groups[0].oldest_ms, GRACE + 70000);
    assert_int_equal(model->groups[0].key.kind, CW_TOP_LEAK);
    assert_int_equal(model->groups[0].key.diagnosis, CW_DIAGNOSIS_EOF_NOT_CLOSED);
    end(&world);
}

/* Where /proc may not be read, the report's own word on CLOSE_WAIT is shown, and nothing is made up. */
static void test_states_not_known(void **state)
{
    struct world world;
    const struct cw_top_states none = {0};
    const struct cw_top_model *model;
    char row[CW_TOP_ROW_BYTES];

    (void)state;
    begin(&world);
    leak(&world, world.accept, GRACE);
    leak(&world, world.accept, 5);
    model = build(&world, &none);
    assert_int_equal(model->close_wait, 2);
    cw_top_row_process(row, &model->processes[0], 0);
    assert_non_null(strstr(row, " -           2       -       1  "));
    cw_top_row_totals(row, model);
    assert_string_equal(row, "1 process, 2 in CLOSE_WAIT, 1 leaked by 1 code path");
    end(&world);
}

static void test_nothing(void **state)
{
    struct cw_top_model model;
    char row[CW_TOP_ROW_BYTES];
    const struct cw_top_states none = {0};
    const struct cw_top_process process = {
        .pid = 9, .name = "sleep", .outside = true, .unknown = true, .states = {.known = true}};
    const struct cw_top_process leaking = {.pid = 10, .name = "server", .leaked = 1};

    (void)state;
    assert_int_equal(cw_top_model_build(&model, NULL, NULL, &none), 0);
    cw_top_model_sort(&model, CW_TOP_BY_AGE);
    cw_top_row_totals(row, &model);
    assert_string_equal(row, "0 processes, 0 in CLOSE_WAIT, 0 leaked");
    assert_int_equal(cw_top_model_add(&model, &process), 0);
    assert_int_equal(cw_top_model_add(&model, &leaking), 0);
    assert_int_equal(model.n_processes, 2);
    cw_top_model_sort(&model, CW_TOP_BY_AGE);
    assert_int_equal(model.processes[0].pid, 10); /* who leaks comes first */
    cw_top_row_process(row, &model.processes[1], 0);
    assert_non_null(strstr(row, "sleep (outside) "));
    assert_non_null(strstr(row, " 0           0       0       -  ")); /* whether it leaks is not known */
    cw_top_model_free(&model);
}

static void test_order(void **state)
{
    struct world world;
    struct cw_top_model *model;
    struct cw_top_key first;

    (void)state;
    begin(&world);
    for (unsigned i = 0; i < 5; i++)
        leak(&world, world.accept, GRACE + 500000);
    for (unsigned i = 0; i < 3; i++)
        leak(&world, world.other, GRACE + 10 + i);
    for (unsigned i = 0; i < 9; i++) { /* a note, of which there are most: idle in a pool */
        struct cw_conn *noted = fixture_conn(world.f, 1000);
        noted->origin = CW_ORIGIN_CONNECT;
        noted->open_call = CW_CALL_socket;
        noted->open_stack = world.accept;
        noted->out_first_ms = noted->out_last_ms = 2000;
        noted->in_first_ms = noted->in_last_ms = 2010;
        noted->in_last_res = noted->out_last_res = 100;
        noted->in_call = CW_CALL_recv;
        noted->out_call = CW_CALL_send;
        noted->turns_in = 3;
        noted->touch_stack = world.read;
        fixture_close_wait(noted, NOW, GRACE + 800000, GRACE + 800000);
    }
    model = (struct cw_top_model *)(uintptr_t)build(&world, &states);
    assert_int_equal(model->n_groups, 3);
    cw_top_model_sort(model, CW_TOP_BY_COUNT);
    assert_int_equal(model->groups[0].count, 5);
    assert_int_equal(model->groups[1].count, 3);
    assert_int_equal(model->groups[2].count, 9);
    assert_int_equal(model->groups[2].key.kind, CW_TOP_NOTE);
    first = model->groups[0].key;
    cw_top_model_sort(model, CW_TOP_BY_RATE);
    assert_int_equal(model->groups[0].count, 3);
    assert_int_equal(model->groups[0].per_minute, 3);
    cw_top_model_sort(model, CW_TOP_BY_AGE);
    assert_int_equal(model->groups[0].count, 5);

    /* The same path is known again at the next look, another one is not taken for it. */
    leak(&world, world.accept, GRACE + 1);
    model = (struct cw_top_model *)(uintptr_t)build(&world, &states);
    cw_top_model_sort(model, CW_TOP_BY_COUNT);
    assert_int_equal(model->groups[0].count, 6);
    assert_true(cw_top_same(&model->groups[0].key, &first));
    assert_false(cw_top_same(&model->groups[1].key, &first));
    assert_false(cw_top_same(&model->groups[2].key, &first));
    end(&world);
}

/* Labels tell paths of one code apart. */
static void test_labels(void **state)
{
    struct world world;
    const struct cw_top_model *model;
    char row[CW_TOP_ROW_BYTES];

    (void)state;
    begin(&world);
    leak(&world, world.accept, GRACE)->label = fixture_string(world.f, "smtp");
    leak(&world, world.accept, GRACE)->label = fixture_string(world.f, "http\x1b[31m");
    model = build(&world, &states);
    assert_int_equal(model->n_groups, 2);
    assert_false(cw_top_same(&model->groups[0].key, &model->groups[1].key));
    for (unsigned i = 0; i < 2; i++) {
        cw_top_row_group(row, &model->groups[i], 0);
        assert_null(strchr(row, 0x1b)); /* nothing that a terminal would obey */
    }
    end(&world);
}

/* --- text --- */

static void test_fit(void **state)
{
    char to[64];

    (void)state;
    assert_int_equal(cw_top_fit(to, sizeof to, "server", 6), 6);
    assert_string_equal(to, "server");
    assert_int_equal(cw_top_fit(to, sizeof to, "server", 5), 5);
    assert_string_equal(to, "serv…");
    assert_int_equal(cw_top_fit(to, sizeof to, "größe", 5), 5);
    assert_string_equal(to, "größe");
    assert_int_equal(cw_top_fit(to, sizeof to, "größe", 4), 4);
    assert_string_equal(to, "grö…");
    assert_int_equal(cw_top_fit(to, sizeof to, "日本語", 6), 6);
    assert_string_equal(to, "日本語");
    assert_int_equal(cw_top_fit(to, sizeof to, "日本語", 4), 3); /* half of a wide sign is none */
    assert_string_equal(to, "日…");
    assert_int_equal(cw_top_fit(to, sizeof to, "a\x1b[2Jb", 20), 6);
    assert_string_equal(to, "a?[2Jb");
    assert_int_equal(cw_top_fit(to, sizeof to, "\xff\xfe", 20), 2);
    assert_string_equal(to, "??");
    assert_int_equal(cw_top_fit(to, sizeof to, "cut in a sign \xe6\x97", 20), 16);
    assert_string_equal(to, "cut in a sign ??");
    assert_int_equal(cw_top_fit(to, sizeof to, "x", 0), 0);
    assert_string_equal(to, "");
    assert_int_equal(cw_top_fit(to, sizeof to, "", 10), 0);
    /* A buffer that is too short cuts, too. */
    assert_int_equal(cw_top_fit(to, 8, "1234567890", 10), 5);
    assert_string_equal(to, "1234…");
}

static void test_fit_plain_locale(void **state)
{
    char to[64];

    (void)state;
    assert_non_null(setlocale(LC_CTYPE, "C"));
    assert_int_equal(cw_top_fit(to, sizeof to, "server", 5), 5);
    assert_string_equal(to, "serv~");
    assert_int_equal(cw_top_fit(to, sizeof to, "\xc3\xb6l", 5), 3);
    assert_string_equal(to, "\?\?l");
    assert_non_null(setlocale(LC_CTYPE, "C.UTF-8"));
}

/* No row is ever wider than the screen, and what matters most stays in it. */
static void test_widths(void **state)
{
    struct world world;
    const struct cw_top_model *model;
    struct cw_top_process process;
    char row[CW_TOP_ROW_BYTES];

    (void)state;
    begin(&world);
    for (unsigned i = 0; i < 12; i++)
        leak(&world, world.accept, GRACE + 1000);
    model = build(&world, &states);
    process = model->processes[0];
    strcpy(process.name, "a-program-with-a-very-long-name-of-its-own-日本語-goes-on"); /* 61 bytes */
    for (unsigned width = 40; width <= 240; width++) {
        cw_top_row_process(row, &process, width);
        assert_true(cw_top_columns(row) <= width);
        assert_non_null(strstr(row, "4242"));
        assert_non_null(strstr(row, " 9 ")); /* CLOSE_WAIT */
        cw_top_row_process(row, NULL, width);
        assert_true(cw_top_columns(row) <= width);
        assert_non_null(strstr(row, "LEAKED"));
        cw_top_row_group(row, &model->groups[0], width);
        assert_true(cw_top_columns(row) <= width);
        assert_non_null(strstr(row, " 12 "));
        assert_non_null(strstr(row, "eof-not-closed"));
        cw_top_row_group(row, NULL, width);
        assert_true(cw_top_columns(row) <= width);
    }
    cw_top_row_group(row, &model->groups[0], 80);
    assert_non_null(strstr(row, "on_readable server.c:73"));
    for (unsigned width = 1; width < 40; width++) { /* as far as it goes */
        cw_top_row_process(row, &process, width);
        cw_top_row_group(row, &model->groups[0], width);
    }
    end(&world);
}

/* The deciding stack first, then where it was opened, then module and offset; nothing is made up. */
static void test_place(void **state)
{
    struct world world;
    char place[256];
    const struct cw_top_model *model;

    (void)state;
    begin(&world);
    leak(&world, world.accept, GRACE);
    model = build(&world, &states);
    cw_top_place(model->groups[0].path, place, sizeof place);
    assert_string_equal(place, "on_readable server.c:73");
    world.report.in.resolver = NULL;
    cw_top_place(model->groups[0].path, place, sizeof place);
    assert_string_equal(place, "server+0x20");
    end(&world);

    begin(&world);
    leak(&world, world.accept, GRACE)->eof_stack = 0;
    model = build(&world, &states);
    cw_top_place(model->groups[0].path, place, sizeof place);
    assert_string_equal(place, "accept_clients server.c:20");
    end(&world);

    begin(&world);
    leak(&world, 0, GRACE)->eof_stack = 0;
    model = build(&world, &states);
    cw_top_place(model->groups[0].path, place, sizeof place);
    assert_string_equal(place, "no stack is known");
    end(&world);
}

/* --- an opened code path --- */

static unsigned lines_with(const struct cw_top_detail *detail, const char *what)
{
    unsigned n = 0;

    for (size_t i = 0; i < cw_top_detail_lines(detail); i++)
        n += strstr(cw_top_detail_line(detail, i), what) != NULL;
    return n;
}

static void test_detail(void **state)
{
    struct world world;
    struct cw_top_detail detail = {0};
    const struct cw_top_model *model;
    size_t facts;

    (void)state;
    begin(&world);
    for (unsigned i = 0; i < 40; i++)
        leak(&world, world.accept, GRACE + i);
    model = build(&world, &states);
    cw_top_detail_open(&detail, model->groups[0].path);
    assert_string_equal(cw_top_detail_line(&detail, 0),
                        "LEAK  40 sockets in CLOSE_WAIT, oldest 30 s, newest 30 s  [eof-not-closed]");
    assert_int_equal(lines_with(&detail, "accept_clients"), 1);
    assert_true(lines_with(&detail, "on_readable") >= 1);
    assert_int_equal(lines_with(&detail, "  evidence  "), 1);
    assert_int_equal(lines_with(&detail, "  next "), 1);
    assert_int_equal(lines_with(&detail, "10.0.0.1:8080 <- 10.0.0.2:"), 40);
    facts = detail.facts.n;

    leak(&world, world.accept, GRACE);
    model = build(&world, &states);
    cw_top_detail_follow(&detail, model->groups[0].path);
    assert_int_equal(lines_with(&detail, "10.0.0.1:8080 <- 10.0.0.2:"), 41);
    assert_int_equal(lines_with(&detail, "LEAK  41 sockets"), 1);
    assert_int_equal(detail.facts.n, facts);

    cw_top_detail_follow(&detail, NULL);
    assert_int_equal(lines_with(&detail, "10.0.0.1:8080"), 0);
    assert_non_null(strstr(cw_top_detail_line(&detail, 0), "No such sockets any more"));
    assert_int_equal(detail.facts.n, facts); /* what was the matter can still be read */
    assert_string_equal(cw_top_detail_line(&detail, 100000), "");
    cw_top_detail_free(&detail);
    assert_int_equal(cw_top_detail_lines(&detail), 0);
    end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_states_not_known),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_fit),
        cmocka_unit_test(test_fit_plain_locale),
        cmocka_unit_test(test_widths),
        cmocka_unit_test(test_place),
        cmocka_unit_test(test_detail),
    };

    setlocale(LC_CTYPE, "C.UTF-8");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
