/* core/document.c: the same code path of several processes is one path. Sockets that they share: test_document_share.c. */
#include "core/document.h"

#include "test/unit/fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { NOW = 93000, GRACE = 2000, PROCESSES = 3 };

/* Processes of one server: the same modules, but stacks with other ids in each. */
struct tree {
    struct fixture *f[PROCESSES];
    uint32_t module[PROCESSES], accept[PROCESSES], read[PROCESSES], other[PROCESSES];
    struct cw_report reports[PROCESSES];
    const struct cw_report *pointers[PROCESSES];
    void *scratch[PROCESSES], *document_scratch;
    struct cw_document document;
    enum cw_late late;
};

static uint32_t stack_of(struct fixture *f, uint32_t module, uint64_t offset)
{
    return fixture_stack(f, (const uint64_t[]){CW_FRAME(module, offset), CW_FRAME(module, 0x9000)}, 2, 0);
}

static void tree_new(struct tree *tree)
{
    *tree = (struct tree){.late = CW_LATE_NOTE};
    for (uint32_t i = 0; i < PROCESSES; i++) {
        struct fixture *f = tree->f[i] = fixture_new(40);
        f->header.pid = 100 + (int)i;
        tree->module[i] = fixture_module(f, "/srv/server", CW_MODULE_MAIN);
        for (uint32_t k = 0; k < i; k++)
            stack_of(f, tree->module[i], 0x5000 + k);
        tree->accept[i] = stack_of(f, tree->module[i], 0x10);
        tree->read[i] = stack_of(f, tree->module[i], 0x20);
        tree->other[i] = stack_of(f, tree->module[i], 0x30);
    }
    assert_int_not_equal(tree->accept[0], tree->accept[1]);
}

/* A connection whose end of stream was read in process i. */
static struct cw_conn *leak(struct tree *tree, uint32_t i, uint32_t accept, uint32_t fin_age_ms)
{
    struct cw_conn *conn = fixture_conn(tree->f[i], 1000);
    conn->open_stack = accept;
    conn->flags |= CW_CONN_EOF_SEEN | CW_CONN_EOF_CONSUMED;
    conn->eof_ms = NOW - fin_age_ms;
    conn->eof_stack = tree->read[i];
    conn->eof_call = CW_CALL_recv;
    fixture_close_wait(conn, NOW, fin_age_ms, fin_age_ms);
    return conn;
}

static void tree_free_reports(struct tree *tree)
{
    for (uint32_t i = 0; i < PROCESSES; i++)
        free(tree->scratch[i]);
    free(tree->document_scratch);
}

static const struct cw_document *tree_build(struct tree *tree)
{
    tree_free_reports(tree);
    for (uint32_t i = 0; i < PROCESSES; i++) {
        struct fixture *f = tree->f[i];
        const struct cw_report_input in = {
            .now_ms = NOW, .grace_ms = GRACE, .late = tree->late, .resolver = &f->resolver};
        size_t bytes = cw_report_scratch_bytes(&f->view);
        tree->scratch[i] = malloc(bytes);
        assert_non_null(tree->scratch[i]);
        assert_int_equal(cw_report_build(&tree->reports[i], &f->view, &in, tree->scratch[i], bytes), 0);
        tree->pointers[i] = &tree->reports[i];
    }
    size_t bytes = cw_document_scratch_bytes(tree->pointers, PROCESSES);
    tree->document_scratch = malloc(bytes + 1);
    assert_non_null(tree->document_scratch);
    if (bytes)
        assert_int_equal(
            cw_document_build(&tree->document, tree->pointers, PROCESSES, tree->document_scratch, bytes - 1), -ENOSPC);
    assert_int_equal(cw_document_build(&tree->document, tree->pointers, PROCESSES, tree->document_scratch, bytes), 0);
    return &tree->document;
}

static void tree_free(struct tree *tree)
{
    tree_free_reports(tree);
    for (uint32_t i = 0; i < PROCESSES; i++)
        fixture_free(tree->f[i]);
}

static int pid_of(const struct cw_part *part)
{
    return part->report->view->header->pid;
}

static void test_one_path(void **state)
{
    (void)state;
    struct tree tree;

    tree_new(&tree);
    leak(&tree, 0, tree.accept[0], 5000);
    for (uint32_t k = 0; k < 3; k++)
        leak(&tree, 1, tree.accept[1], 10000 + k * 1000);
    leak(&tree, 2, tree.accept[2], 60000);
    const struct cw_document *document = tree_build(&tree);
    assert_int_equal(document->n_reports, PROCESSES);
    assert_int_equal(document->n_paths[CW_REPORT_LEAKS], 1);
    const struct cw_path *path = document->paths[CW_REPORT_LEAKS];
    assert_int_equal(path->count, 5);
    assert_int_equal(path->n_parts, 3);
    assert_int_equal(path->oldest_ms, 60000);
    assert_int_equal(path->newest_ms, 5000);
    assert_int_equal(pid_of(&path->parts[0]), 101); /* most sockets */
    assert_int_equal(pid_of(&path->parts[1]), 100); /* then as given */
    assert_int_equal(pid_of(&path->parts[2]), 102);
    assert_int_equal(document->totals.leaked, 5);
    assert_int_equal(document->totals.close_wait, 5);
    assert_int_equal(cw_document_counter(document, CW_COUNTER_connections), 5);
    assert_int_equal(cw_document_connections(document), 5);
    tree.f[1]->header.counters[CW_COUNTER_connections]++; /* it came by exec */
    assert_int_equal(cw_document_connections(document), 5);
    tree.f[1]->header.counters[CW_COUNTER_connections] = 9; /* from outside of these processes */
    assert_int_equal(cw_document_connections(document), 9);
    assert_true(cw_document_has_findings(document));
    assert_true(cw_document_fails(document));
    tree_free(&tree);
}

/* What makes paths two: stack, diagnosis, label's text, section; not ids, which differ from ledger to ledger. */
static void test_what_keeps_apart(void **state)
{
    (void)state;
    struct tree tree;

    tree_new(&tree);
    for (uint32_t i = 0; i < PROCESSES; i++) {
        if (i == 1)
            fixture_string(tree.f[i], "something before it");
        leak(&tree, i, tree.accept[i], 5000);
        leak(&tree, i, tree.other[i], 5000);
        leak(&tree, i, tree.accept[i], 5000)->label = fixture_string(tree.f[i], i == 2 ? "pool b" : "pool a");
        leak(&tree, i, tree.accept[i], 5000)->flags &= ~(uint32_t)(CW_CONN_EOF_SEEN | CW_CONN_EOF_CONSUMED);
        leak(&tree, i, tree.accept[i], 5000)->k_state = 7; /* failed */
    }
    const struct cw_document *document = tree_build(&tree);
    assert_int_equal(document->n_paths[CW_REPORT_LEAKS], 5);
    assert_int_equal(document->n_paths[CW_REPORT_ERRORS], 1);
    assert_int_equal(document->paths[CW_REPORT_ERRORS][0].n_parts, 3);
    uint32_t by_parts[4] = {0};
    for (uint32_t i = 0; i < 5; i++)
        by_parts[document->paths[CW_REPORT_LEAKS][i].n_parts]++;
    assert_int_equal(by_parts[3], 3);
    assert_int_equal(by_parts[2], 1);
    assert_int_equal(by_parts[1], 1);
    tree_free(&tree);
}

/* Where no stack is known at all, the program says whether it can be the same code; in queues the port does. */
static void test_without_stacks(void **state)
{
    (void)state;
    struct tree tree;

    tree_new(&tree);
    strcpy(tree.f[2]->header.exe, "/usr/bin/other");
    for (uint32_t i = 0; i < PROCESSES; i++) {
        for (uint16_t k = 0; k < 2; k++) {
            struct cw_conn *queued = leak(&tree, i, tree.other[i], 5000);
            queued->origin = CW_ORIGIN_QUEUED;
            queued->flags &= ~(uint32_t)(CW_CONN_EOF_SEEN | CW_CONN_EOF_CONSUMED);
            queued->local_port = (uint16_t)(i == 1 ? 8082 - k : 8081 + k); /* two ports, in two orders */
            fixture_listener(tree.f[i], 500)->local_port = queued->local_port;
        }
        struct cw_conn *conn = leak(&tree, i, 0, 5000);
        conn->origin = CW_ORIGIN_UNTRACKED;
        conn->flags &= ~(uint32_t)(CW_CONN_EOF_SEEN | CW_CONN_EOF_CONSUMED);
        conn->eof_stack = 0;
    }
    const struct cw_document *document = tree_build(&tree);
    assert_int_equal(document->n_paths[CW_REPORT_LEAKS], 4);
    for (uint32_t p = 0; p < 4; p++) {
        const struct cw_path *path = &document->paths[CW_REPORT_LEAKS][p];
        bool queued = path->parts->group->diagnosis == CW_DIAGNOSIS_NEVER_ACCEPTED;
        uint16_t port =
            cw_report_conn(path->parts->report, &path->parts->report->items[path->parts->group->first])->local_port;
        assert_int_equal(path->n_parts, queued ? 3 : pid_of(path->parts) == 102 ? 1 : 2);
        for (uint32_t i = 0; queued && i < path->n_parts; i++) {
            const struct cw_part *part = &path->parts[i];
            const struct cw_item *item = &part->report->items[part->group->first];
            assert_int_equal(cw_report_conn(part->report, item)->local_port, port);
        }
    }
    tree.f[0]->header.flags |= CW_HEADER_OUTSIDE;
    assert_int_equal(tree_build(&tree)->totals.leaked, 9);
    for (uint32_t p = 0; p < tree.document.n_paths[CW_REPORT_LEAKS]; p++) {
        const struct cw_path *path = &tree.document.paths[CW_REPORT_LEAKS][p];
        for (uint32_t i = 0; i < path->n_parts; i++)
            assert_true(path->n_parts == 1 || pid_of(&path->parts[i]) != 100);
    }
    tree_free(&tree);
}

/* Ordered as groups are: errors before notes, most sockets first, then the oldest. */
static void test_order(void **state)
{
    (void)state;
    struct tree tree;

    tree_new(&tree);
    for (uint32_t i = 0; i < PROCESSES; i++) { /* 1 socket in each of three */
        leak(&tree, i, tree.accept[i], 5000);
        for (uint32_t k = 0; i == 1 && k < 2; k++) /* 2 in one */
            leak(&tree, i, tree.other[i], 80000);
    }
    leak(&tree, 0, stack_of(tree.f[0], tree.module[0], 0x40), 6000);
    leak(&tree, 2, stack_of(tree.f[2], tree.module[2], 0x50), 7000);
    const struct cw_document *document = tree_build(&tree);
    const struct cw_path *paths = document->paths[CW_REPORT_LEAKS];
    assert_int_equal(document->n_paths[CW_REPORT_LEAKS], 4);
    assert_int_equal(paths[0].count, 3);
    assert_int_equal(paths[1].count, 2);
    assert_int_equal(paths[2].oldest_ms, 7000);
    assert_int_equal(paths[3].oldest_ms, 6000);
    tree_free(&tree);
}

static void late(struct tree *tree, uint32_t i, uint32_t close_stack)
{
    struct cw_conn *conn = leak(tree, i, tree->accept[i], 50000);
    conn->flags |= CW_CONN_LATE;
    conn->fin_ms = 10000;
    conn->close_ms = 55000;
    conn->close_stack = close_stack;
}

static void test_closed_late(void **state)
{
    (void)state;
    struct tree tree;

    tree_new(&tree);
    late(&tree, 0, tree.other[0]);
    late(&tree, 1, tree.other[1]);
    late(&tree, 2, tree.read[2]);
    const struct cw_document *document = tree_build(&tree);
    assert_int_equal(document->n_paths[CW_REPORT_CLOSED_LATE], 2);
    assert_int_equal(document->paths[CW_REPORT_CLOSED_LATE][0].n_parts, 2);
    assert_int_equal(document->totals.closed_late, 3);
    assert_true(cw_document_has_findings(document));
    assert_false(cw_document_fails(document));
    tree.late = CW_LATE_FAIL;
    assert_true(cw_document_fails(tree_build(&tree)));
    tree.late = CW_LATE_OFF;
    assert_false(cw_document_has_findings(tree_build(&tree)));
    tree_free(&tree);
}

/* Connections that nobody accepts, on two listeners that one function has set up: two groups of one process that have all in
 * common are two paths, and none of them has both. */
static void test_twins(void **state)
{
    (void)state;
    struct tree tree;

    tree_new(&tree);
    for (uint32_t i = 0; i < PROCESSES; i++)
        for (uint32_t k = 0; k < 2 * (i + 1); k++) {
            struct fixture *f = tree.f[i];
            uint8_t address = (uint8_t)(1 + k % 2); /* the same port of two addresses */
            if (k < 2) {
                struct cw_conn *listener = fixture_listener(f, 500);
                listener->local[3] = address;
                listener->open_stack = tree.other[i];
            }
            struct cw_conn *conn = leak(&tree, i, tree.other[i], 5000);
            conn->origin = CW_ORIGIN_QUEUED;
            conn->flags &= ~(uint32_t)(CW_CONN_EOF_SEEN | CW_CONN_EOF_CONSUMED);
            conn->fd = -1;
            conn->inode = 0;
            conn->local[3] = address;
        }
    const struct cw_document *document = tree_build(&tree);
    assert_int_equal(tree.reports[0].n_groups[CW_REPORT_LEAKS], 2);
    assert_true(tree.reports[0].groups[CW_REPORT_LEAKS][0].stack_id ==
                tree.reports[0].groups[CW_REPORT_LEAKS][1].stack_id);
    assert_int_equal(document->n_paths[CW_REPORT_LEAKS], 2);
    assert_int_equal(document->totals.queued, 12);
    for (uint32_t p = 0; p < 2; p++) {
        const struct cw_path *path = &document->paths[CW_REPORT_LEAKS][p];
        assert_int_equal(path->n_parts, PROCESSES);
        assert_int_equal(path->count, 6);
        for (uint32_t i = 0; i < PROCESSES; i++)
            assert_int_equal(pid_of(&path->parts[i]), 102 - (int)i);
    }
    tree_free(&tree);
}

/* One report alone: its groups, in its order. */
static void test_alone(void **state)
{
    (void)state;
    struct tree tree;
    struct cw_document document;

    tree_new(&tree);
    for (uint32_t k = 0; k < 20; k++)
        leak(&tree, 0, stack_of(tree.f[0], tree.module[0], 0x100 + k % 7), 5000 + k * 100 % 700);
    leak(&tree, 0, tree.other[0], 5000)->k_state = 7;
    tree_build(&tree);
    char scratch[4096];
    assert_int_equal(cw_document_build(&document, tree.pointers, 1, scratch, sizeof(scratch)), 0);
    for (unsigned section = 0; section < CW_REPORT_SECTIONS; section++) {
        assert_int_equal(document.n_paths[section], tree.reports[0].n_groups[section]);
        for (uint32_t i = 0; i < document.n_paths[section]; i++) {
            assert_ptr_equal(document.paths[section][i].parts->group, &tree.reports[0].groups[section][i]);
            assert_int_equal(document.paths[section][i].count, tree.reports[0].groups[section][i].count);
        }
    }
    tree_free(&tree);
}

/* 1,000 processes of 50 code paths each, 40 of them the same everywhere. */
static void test_many(void **state)
{
    (void)state;
    enum { REPORTS = 1000, GROUPS = 50, OWN = 10 };
    struct fixture *f = fixture_new(1);
    uint32_t m = fixture_module(f, "/srv/server", CW_MODULE_MAIN), common[GROUPS];
    struct cw_report *reports = calloc(REPORTS, sizeof(*reports));
    const struct cw_report **pointers = calloc(REPORTS, sizeof(*pointers));
    struct cw_group *groups = calloc((size_t)REPORTS * GROUPS, sizeof(*groups));
    const struct cw_item item = {.conn = 1};
    struct cw_document document;
    struct timespec from, to;

    assert_true(reports && pointers && groups);
    for (unsigned k = 0; k < GROUPS; k++)
        common[k] = stack_of(f, m, 0x100 + k);
    for (uint32_t i = 0; i < REPORTS; i++) {
        for (uint32_t k = 0; k < GROUPS; k++)
            groups[i * GROUPS + k] = (struct cw_group){.diagnosis = CW_DIAGNOSIS_EOF_NOT_CLOSED,
                                                       .count = 1 + (i * 7 + k) % 5,
                                                       .origin_stack = common[k],
                                                       .stack_id = k < OWN ? i * 1000 + k : k};
        reports[i] = (struct cw_report){.view = &f->view, .items = &item, .totals.leaked = GROUPS};
        reports[i].groups[CW_REPORT_LEAKS] = &groups[i * GROUPS];
        reports[i].n_groups[CW_REPORT_LEAKS] = GROUPS;
        pointers[i] = &reports[i];
    }
    size_t bytes = cw_document_scratch_bytes(pointers, REPORTS);
    void *scratch = malloc(bytes);
    assert_non_null(scratch);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    assert_int_equal(cw_document_build(&document, pointers, REPORTS, scratch, bytes), 0);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    assert_int_equal(document.n_paths[CW_REPORT_LEAKS], GROUPS - OWN + REPORTS * OWN);
    assert_int_equal(document.paths[CW_REPORT_LEAKS][0].n_parts, REPORTS);
    assert_int_equal(document.totals.leaked, REPORTS * GROUPS);
    double ms = (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
    print_message("%d reports of %d groups each: %.1f ms, %zu KiB\n", REPORTS, GROUPS, ms, bytes >> 10);
    assert_true(ms < 2000); /* about 50 ms; the margin is for sanitizers and busy machines */
    free(scratch);
    free(groups);
    free(pointers);
    free(reports);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_path), cmocka_unit_test(test_what_keeps_apart),
        cmocka_unit_test(test_order),    cmocka_unit_test(test_closed_late),
        cmocka_unit_test(test_twins),    cmocka_unit_test(test_alone),
        cmocka_unit_test(test_many),     cmocka_unit_test(test_without_stacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
