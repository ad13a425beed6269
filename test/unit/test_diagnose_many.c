/* Many leaked sockets over many code paths and several causes: grouped exactly, and fast. */
#define _GNU_SOURCE /* POLLRDHUP */
#include "core/emit.h"
#include "test/unit/makers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { SOCKETS = 10000, PATHS = 200, CAUSES = 6, DEPTH = 24, LIMIT_MS = 1000 };

/* The cause of a path, and where in its record the stack stands that tells paths apart: in an event loop all sockets
 * come from one accept. */
static const struct cause {
    void (*make)(struct world *w);
    size_t stack;
    enum cw_diagnosis_id id;
} causes[CAUSES] = {
    {make_eof, offsetof(struct cw_conn, eof_stack), CW_DIAGNOSIS_EOF_NOT_CLOSED},
    {make_ignored_poll, offsetof(struct cw_conn, event_stack), CW_DIAGNOSIS_EVENT_IGNORED},
    {make_taken_out, offsetof(struct cw_conn, ctl_stack), CW_DIAGNOSIS_UNWATCHED},
    {make_never_watched, offsetof(struct cw_conn, open_stack), CW_DIAGNOSIS_NEVER_WATCHED},
    {make_response_unread, offsetof(struct cw_conn, touch_stack), CW_DIAGNOSIS_RESPONSE_UNREAD},
    {make_abandoned, offsetof(struct cw_conn, touch_stack), CW_DIAGNOSIS_ABANDONED},
};

static unsigned resolve(void *ctx, const struct cw_view *view, uint64_t frame, struct cw_symbol *ret, unsigned max)
{
    (void)view, (void)max;
    snprintf(ctx, 64, "function_%llx", (unsigned long long)CW_FRAME_OFFSET(frame));
    *ret = (struct cw_symbol){.function = ctx, .file = "/src/server.c", .line = (uint32_t)CW_FRAME_OFFSET(frame)};
    return 1;
}

static double cpu_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void make_path(struct world *w, unsigned path, uint32_t stack)
{
    const struct cause *cause = &causes[path % CAUSES];

    w->conn = fixture_conn(w->f, AT_OPEN);
    world_neutral(w, w->conn);
    cause->make(w);
    memcpy((char *)w->conn + cause->stack, &stack, sizeof(stack));
}

static void check_groups(const struct cw_report *report, const uint32_t *stacks)
{
    bool seen[PATHS] = {false};

    assert_int_equal(report->n_groups[CW_REPORT_LEAKS], PATHS);
    for (unsigned i = 0; i < PATHS; i++) {
        const struct cw_group *group = &report->groups[CW_REPORT_LEAKS][i];
        uint32_t own = group->diagnosis == CW_DIAGNOSIS_NEVER_WATCHED ? group->origin_stack : group->deciding_stack;
        unsigned path = 0;
        while (path < PATHS && stacks[path] != own)
            path++;
        assert_true(path < PATHS && !seen[path]);
        seen[path] = true;
        assert_int_equal(group->diagnosis, causes[path % CAUSES].id);
        assert_int_equal(group->count, SOCKETS / PATHS);
        for (uint32_t k = 0; k < group->count; k++) {
            uint32_t stack;
            const struct cw_conn *conn = cw_report_conn(report, &report->items[group->first + k]);
            memcpy(&stack, (const char *)conn + causes[path % CAUSES].stack, sizeof(stack));
            assert_int_equal(stack, own);
        }
    }
}

static void emit(const struct cw_report *report, enum cw_format format, const char *name)
{
    struct fixture_text text;
    double from = cpu_ms();

    fixture_text_begin(&text);
    assert_int_equal(fixture_emit(&text.out, &report, 1, format), 0);
    fixture_text_end(&text);
    double ms = cpu_ms() - from;
    print_message("  as %s: %zu bytes, %.1f ms\n", name, text.n, ms);
    assert_true(ms < LIMIT_MS);
    fixture_text_free(&text);
}

static void test_many(void **state)
{
    (void)state;
    struct world w;
    uint32_t stacks[PATHS];
    char name[64];
    struct cw_report report;

    world_new(&w, 0);
    struct fixture *small = w.f;
    w.f = fixture_new(SOCKETS);
    w.main = fixture_module(w.f, "/srv/server", CW_MODULE_MAIN);
    w.worker = fixture_thread(w.f, 4243, "worker");
    for (unsigned i = 0; i < PATHS; i++) {
        uint64_t frames[DEPTH];
        for (unsigned k = 0; k < DEPTH; k++)
            frames[k] = CW_FRAME(w.main, 0x1000 + k + (k < 4 ? 64 * i : 0)); /* they differ in the inner frames */
        stacks[i] = fixture_stack(w.f, frames, DEPTH, 0);
    }
    w.open_stack = fixture_stack(w.f, (const uint64_t[]){CW_FRAME(w.main, 0x20)}, 1, 0);
    for (uint32_t i = 0; i < SOCKETS; i++)
        make_path(&w, i * 7919 % PATHS, stacks[i * 7919 % PATHS]);
    const struct cw_resolver resolver = {name, resolve};
    struct cw_report_input in = {.now_ms = NOW, .grace_ms = GRACE, .resolver = &resolver};
    size_t bytes = cw_report_scratch_bytes(&w.f->view);
    void *scratch = malloc(bytes);
    assert_non_null(scratch);
    double from = cpu_ms();
    assert_int_equal(cw_report_build(&report, &w.f->view, &in, scratch, bytes), 0);
    double ms = cpu_ms() - from;
    print_message("%d sockets, %d paths, %d causes: %.1f ms\n", SOCKETS, PATHS, CAUSES, ms);
    assert_true(ms < LIMIT_MS); /* a few ms; the margin is for sanitizers and busy machines */
    assert_int_equal(report.totals.leaked, SOCKETS);
    check_groups(&report, stacks);
    emit(&report, CW_FORMAT_TEXT, "text");
    emit(&report, CW_FORMAT_JSON, "JSON");
    free(scratch);
    world_free(&w);
    fixture_free(small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_many)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
