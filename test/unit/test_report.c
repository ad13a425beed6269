/* core/report.c: from facts to groups. */
#include "core/report.h"

#include "test/unit/fixture.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { NOW = 93000, GRACE = 2000, CONTEXT_BYTES = 16 /* of an empty context, rounded up */ };

struct built {
    struct cw_report report;
    void *scratch;
};

static struct cw_report_input input(const struct fixture *f)
{
    return (struct cw_report_input){.now_ms = NOW,
                                    .now_real_ns = f->header.start_real_ns + UINT64_C(93000000000),
                                    .grace_ms = GRACE,
                                    .resolver = &f->resolver};
}

static bool has_groups(const struct cw_report *report)
{
    unsigned n = 0;
    for (unsigned i = 0; i < CW_REPORT_SECTIONS; i++)
        n += report->n_groups[i];
    return n > 0;
}

static struct built build(struct fixture *f, const struct cw_report_input *in)
{
    struct built built;
    size_t bytes = cw_report_scratch_bytes(&f->view);
    built.scratch = malloc(bytes);
    assert_non_null(built.scratch);
    assert_int_equal(cw_report_build(&built.report, &f->view, in, built.scratch, bytes), 0);
    return built;
}

/* A connection in CLOSE_WAIT for fin_age ms, opened at `origin`. */
static struct cw_conn *leak(struct fixture *f, uint32_t origin, uint32_t fin_age)
{
    struct cw_conn *conn = fixture_conn(f, 1000);
    conn->open_stack = origin;
    fixture_close_wait(conn, NOW, fin_age, fin_age + 1);
    return conn;
}

static uint32_t stack_of(struct fixture *f, uint32_t module, uint64_t offset)
{
    const uint64_t frames[] = {CW_FRAME(module, offset), CW_FRAME(module, 0x9000)};
    return fixture_stack(f, frames, 2, 0);
}

static void test_what_counts(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(20);
    uint32_t m = fixture_module(f, "/srv/server", CW_MODULE_MAIN), s = stack_of(f, m, 0x10);

    leak(f, s, 50000);                            /* leaked */
    leak(f, s, GRACE);                            /* leaked, just */
    leak(f, s, GRACE - 1);                        /* settling: too young */
    leak(f, s, 50000)->flags |= CW_CONN_SETTLING; /* settling: FIN came after the end began */
    leak(f, s, 50000)->flags &= ~(uint32_t)CW_CONN_IN_USE;
    leak(f, s, 50000)->k_state = TCP_ESTABLISHED;
    leak(f, s, 50000)->k_state = TCP_CLOSE;       /* failed: in the section of errors */
    leak(f, s, 50000)->k_ms = 0;                  /* the kernel was not asked */
    leak(f, s, 50000)->origin = CW_ORIGIN_QUEUED; /* no fd: ss shows no owner */
    struct cw_conn *listener = leak(f, s, 50000);
    listener->flags |= CW_CONN_LISTENER;
    struct cw_conn *late = leak(f, s, 50000);
    late->flags |= CW_CONN_LATE;
    late->fin_ms = 10000;
    late->close_ms = 55000;
    late->close_stack = stack_of(f, m, 0x20);

    struct cw_report_input in = input(f);
    struct built b = build(f, &in);
    assert_int_equal(b.report.totals.close_wait, 4);
    assert_int_equal(b.report.totals.leaked, 3); /* with the queued one */
    assert_int_equal(b.report.totals.settling, 2);
    assert_int_equal(b.report.totals.queued, 1);
    assert_int_equal(b.report.totals.closed_late, 1);
    assert_int_equal(b.report.totals.errors, 1);
    assert_int_equal(b.report.totals.not_listed, 0);
    assert_int_equal(b.report.n_groups[CW_REPORT_LEAKS], 2);
    assert_int_equal(b.report.groups[CW_REPORT_LEAKS][1].diagnosis, CW_DIAGNOSIS_NEVER_ACCEPTED);
    assert_int_equal(b.report.n_groups[CW_REPORT_ERRORS], 1);
    assert_int_equal(b.report.groups[CW_REPORT_ERRORS][0].diagnosis, CW_DIAGNOSIS_ERROR_NOT_CLOSED);
    assert_int_equal(b.report.groups[CW_REPORT_ERRORS][0].oldest_ms, NOW - 1000); /* since it was opened */
    assert_int_equal(b.report.groups[CW_REPORT_LEAKS][0].count, 2);
    assert_int_equal(b.report.groups[CW_REPORT_LEAKS][0].oldest_ms, 50000);
    assert_int_equal(b.report.groups[CW_REPORT_LEAKS][0].newest_ms, GRACE);
    assert_int_equal(b.report.n_groups[CW_REPORT_CLOSED_LATE], 1);
    assert_int_equal(b.report.groups[CW_REPORT_CLOSED_LATE][0].oldest_ms, 45000);
    assert_int_equal(b.report.groups[CW_REPORT_CLOSED_LATE][0].severity, CW_SEVERITY_NOTE);
    assert_int_equal(b.report.context.n_listeners, 1);
    assert_true(has_groups(&b.report));
    assert_true(cw_report_fails(&b.report));
    free(b.scratch);
    fixture_free(f);
}

static void test_option_late(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(4);
    struct cw_conn *late = leak(f, 0, 50000);
    late->flags |= CW_CONN_LATE;
    late->fin_ms = 10000;
    late->close_ms = 55000;

    struct cw_report_input in = input(f);
    struct built b = build(f, &in);
    assert_true(has_groups(&b.report));
    assert_false(cw_report_fails(&b.report));
    free(b.scratch);
    in.late = CW_LATE_FAIL;
    b = build(f, &in);
    assert_true(cw_report_fails(&b.report));
    assert_int_equal(b.report.groups[CW_REPORT_CLOSED_LATE][0].severity, CW_SEVERITY_ERROR);
    free(b.scratch);
    in.late = CW_LATE_OFF;
    b = build(f, &in);
    assert_false(has_groups(&b.report));
    assert_int_equal(b.report.totals.closed_late, 1);
    free(b.scratch);
    fixture_free(f);
}

static void test_groups_and_order(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(20);
    uint32_t m = fixture_module(f, "/srv/server", CW_MODULE_MAIN);
    uint32_t a = stack_of(f, m, 0x10), b_stack = stack_of(f, m, 0x20), eof = stack_of(f, m, 0x30);

    leak(f, a, 5000);             /* group of 1, young */
    for (int i = 0; i < 3; i++) { /* group of 3: same origin as the first, another diagnosis */
        struct cw_conn *conn = leak(f, a, 4000 + (uint32_t)i * 1000);
        conn->flags |= CW_CONN_EOF_SEEN;
        conn->eof_stack = eof;
    }
    leak(f, b_stack, 60000);                  /* group of 1, old */
    struct cw_conn *other = leak(f, a, 3000); /* same diagnosis and origin as the three, other deciding stack */
    other->flags |= CW_CONN_EOF_SEEN;
    other->eof_stack = b_stack;
    leak(f, b_stack, 59000)->label = fixture_string(f, "pool");

    struct cw_report_input in = input(f);
    struct built b = build(f, &in);
    const struct cw_group *groups = b.report.groups[CW_REPORT_LEAKS];
    assert_int_equal(b.report.n_groups[CW_REPORT_LEAKS], 5);
    assert_int_equal(groups[0].count, 3);
    assert_int_equal(groups[0].diagnosis, CW_DIAGNOSIS_EOF_NOT_CLOSED);
    assert_int_equal(b.report.items[groups[0].first].age_ms, 6000); /* oldest first within the group */
    assert_int_equal(b.report.items[groups[0].first + 2].age_ms, 4000);
    assert_int_equal(groups[1].oldest_ms, 60000);
    assert_int_equal(groups[2].oldest_ms, 59000);
    assert_string_equal(cw_view_string(&f->view, groups[2].label), "pool");
    assert_int_equal(groups[3].oldest_ms, 5000);
    assert_int_equal(groups[4].oldest_ms, 3000);
    free(b.scratch);
    fixture_free(f);
}

static void test_hostile_records(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(50);
    uint32_t seed = 12345;

    memset(f->header.exe, 'x', sizeof(f->header.exe)); /* no NUL */
    memset(f->header.command, 'x', sizeof(f->header.command));
    for (uint32_t i = 0; i < 50; i++) {
        struct cw_conn *conn = fixture_conn(f, 1);
        for (size_t k = 0; k < sizeof(*conn); k++) {
            seed = seed * 1103515245 + 12345;
            ((unsigned char *)conn)[k] = (unsigned char)(seed >> 16);
        }
        conn->flags |= CW_CONN_IN_USE | (i % 2 ? CW_CONN_LATE : 0);
        conn->k_state = TCP_CLOSE_WAIT;
    }
    f->header.sections[CW_SECTION_CONNS].used = UINT32_MAX;
    struct cw_report_input in = input(f);
    struct built b = build(f, &in);
    assert_int_equal(f->header.exe[sizeof(f->header.exe) - 1], 0);
    assert_true(b.report.totals.closed_late > 0);
    cw_report_last_activity_ms(&f->view);
    free(b.scratch);
    fixture_free(f);
}

static void test_little_scratch(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(10);
    struct cw_report report;
    struct cw_report_input in = input(f);
    size_t empty = cw_report_scratch_bytes(&f->view); /* room for 64 more than there are now */
    /* No thread is on record: the context takes one unit of its alignment, of the room for 64 more. */
    size_t base = empty - 64 * (sizeof(struct cw_item) + sizeof(struct cw_group)) - cw_context_bytes(&f->view) -
                  64 * sizeof(uint32_t) + CONTEXT_BYTES;
    void *scratch = malloc(empty);

    assert_non_null(scratch);
    for (int i = 0; i < 10; i++)
        leak(f, 0, 50000);
    assert_int_equal(cw_report_build(&report, &f->view, &in, scratch, base - 1), -ENOSPC);
    assert_int_equal(cw_report_build(&report, &f->view, &in, scratch, base), 0);
    assert_int_equal(report.totals.not_listed, 10);
    assert_int_equal(report.totals.leaked, 10); /* counts are true all the same */
    size_t three = base + 3 * (sizeof(struct cw_item) + sizeof(struct cw_group));
    assert_int_equal(cw_report_build(&report, &f->view, &in, scratch, three), 0);
    assert_int_equal(report.totals.not_listed, 7);
    assert_int_equal(report.groups[CW_REPORT_LEAKS][0].count, 3);
    free(scratch);
    fixture_free(f);
}

/* 19,000 sockets over 1,000 code paths, in the worst order. */
static void test_many(void **state)
{
    (void)state;
    enum { SOCKETS = 19000, PATHS = 1000 };
    struct fixture *f = fixture_new(SOCKETS);
    uint32_t m = fixture_module(f, "/srv/server", CW_MODULE_MAIN), stacks[PATHS];
    struct timespec from, to;

    for (unsigned i = 0; i < PATHS; i++) {
        uint64_t frames[32];
        for (unsigned k = 0; k < 32; k++)
            frames[k] = CW_FRAME(m, 0x1000 + 64 * i + k);
        stacks[i] = fixture_stack(f, frames, 32, 0);
    }
    for (uint32_t i = 0; i < SOCKETS; i++)
        leak(f, stacks[i * 7919 % PATHS], 3000 + i % 89000);
    struct cw_report_input in = input(f);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    struct built b = build(f, &in);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    assert_int_equal(b.report.n_groups[CW_REPORT_LEAKS], PATHS);
    assert_int_equal(b.report.totals.leaked, SOCKETS);
    double ms = (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
    print_message("report over %d sockets and %d paths: %.1f ms\n", SOCKETS, PATHS, ms);
    assert_true(ms < 1000); /* about 20 ms; the margin is for sanitizers and busy machines */
    free(b.scratch);
    fixture_free(f);
}

static void test_last_activity(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(4);
    assert_int_equal(cw_report_last_activity_ms(&f->view), 0);
    f->header.truth_ms = 5000;
    fixture_conn(f, 6000)->in_last_ms = 7500;
    fixture_conn(f, 9000)->flags = 0; /* not in use: leftovers */
    assert_int_equal(cw_report_last_activity_ms(&f->view), 7500);
    fixture_thread(f, 1, "t");
    f->view.threads[1].wait_ms = 8000;
    assert_int_equal(cw_report_last_activity_ms(&f->view), 8000);
    f->view.sets[1].idle_ms = 8100;
    assert_int_equal(cw_report_last_activity_ms(&f->view), 8100);
    fixture_free(f);
}

static void test_times_of_the_report(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(4);
    f->header.process_start_mono_ns -= UINT64_C(2000000000);
    f->header.truth_ms = NOW - 12000;
    struct cw_report_input in = input(f);
    in.age_ms = 3000;
    struct built b = build(f, &in);
    assert_true(cw_report_started_real_ns(&b.report) == f->header.start_real_ns - UINT64_C(2000000000));
    assert_int_equal(cw_report_uptime_ms(&b.report), 92000);
    assert_int_equal(cw_report_truth_age_ms(&b.report), 15000);
    free(b.scratch);
    fixture_free(f);
}

/* Titles that servers give themselves may hold arguments, and peers. */
static void test_called(void **state)
{
    (void)state;
    static const struct {
        const char *exe, *argv0, *called;
    } cases[] = {
        {"/usr/sbin/nginx", "nginx", "nginx"},
        {"/usr/sbin/nginx", "nginx: master process nginx -c /etc/secret.conf", "/usr/sbin/nginx"},
        {"/opt/My Server/bin", "/opt/My Server/bin", "/opt/My Server/bin"},
        {"/usr/bin/python3", "", "/usr/bin/python3"},
        {"", "a b", "a b"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture *f = fixture_new(4);
        struct cw_report_input in = input(f);
        memset(f->header.command, 0, sizeof f->header.command);
        strcpy(f->header.command, cases[i].argv0);
        strcpy(f->header.exe, cases[i].exe);
        struct built built = build(f, &in);
        assert_string_equal(cw_report_called(&built.report), cases[i].called);
        free(built.scratch);
        fixture_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_counts),
        cmocka_unit_test(test_option_late),
        cmocka_unit_test(test_groups_and_order),
        cmocka_unit_test(test_hostile_records),
        cmocka_unit_test(test_little_scratch),
        cmocka_unit_test(test_last_activity),
        cmocka_unit_test(test_times_of_the_report),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_called),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
