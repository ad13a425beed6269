/* core/document_share.c: a socket that several processes have open is counted once, and by whom. */
#include "core/document.h"

#include "test/unit/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { NOW = 93000, PROCESSES = 3, INODE = 4711 };

struct tree {
    struct fixture *f[PROCESSES];
    struct cw_view *views[PROCESSES];
    struct cw_conn *conn[PROCESSES]; /* the socket that all of them have open, untouched */
};

static struct cw_conn *shared_conn(struct fixture *f)
{
    struct cw_conn *conn = fixture_conn(f, 1000);

    conn->inode = INODE;
    conn->peer_port = 50000;
    fixture_close_wait(conn, NOW, 50000, 50000);
    return conn;
}

static void tree_new(struct tree *tree)
{
    for (uint32_t i = 0; i < PROCESSES; i++) {
        tree->f[i] = fixture_new(40);
        tree->f[i]->header.pid = 100 + (int)i;
        tree->views[i] = &tree->f[i]->view;
        tree->conn[i] = shared_conn(tree->f[i]);
    }
}

static void tree_share(struct tree *tree)
{
    const struct cw_view *const views[PROCESSES] = {tree->views[0], tree->views[1], tree->views[2]};
    size_t bytes = cw_document_share_bytes(views, PROCESSES);
    void *scratch = malloc(bytes + 1);

    assert_non_null(scratch);
    cw_document_share(tree->views, PROCESSES, scratch, bytes);
    free(scratch);
}

static void tree_free(struct tree *tree)
{
    for (uint32_t i = 0; i < PROCESSES; i++)
        fixture_free(tree->f[i]);
}

/* Which of the three records stand for sockets, as bits. */
static unsigned kept(struct tree *tree)
{
    unsigned bits = 0;

    tree_share(tree);
    for (uint32_t i = 0; i < PROCESSES; i++)
        bits |= tree->conn[i]->flags & CW_CONN_ELSEWHERE ? 0 : 1u << i;
    return bits;
}

static void test_who_stands_for_it(void **state)
{
    (void)state;
    struct tree tree;

    tree_new(&tree);
    assert_int_equal(kept(&tree), 1 << 0); /* nobody has used it: the first one */
    tree.conn[2]->in_last_ms = 2000;
    assert_int_equal(kept(&tree), 1 << 2); /* the only one that did; what was judged before is forgotten */
    tree.conn[1]->out_last_ms = 3000;
    assert_int_equal(kept(&tree), 1 << 1); /* the last one that did */
    /* The ms of a process begin with its recorder. */
    tree.f[2]->header.start_mono_ns += UINT64_C(1500) * 1000000;
    tree.f[2]->header.start_real_ns += UINT64_C(1500) * 1000000;
    tree.conn[2]->k_ms = NOW - 1500;
    assert_int_equal(kept(&tree), 1 << 2);
    tree_free(&tree);
}

static void test_reports_count_once(void **state)
{
    (void)state;
    struct tree tree;
    uint32_t sum = 0;

    tree_new(&tree);
    for (uint32_t i = 0; i < PROCESSES; i++)
        fixture_close_wait(fixture_conn(tree.f[i], 1000), NOW, 50000, 50000); /* one of its own each */
    for (uint32_t i = 0; i < PROCESSES; i++)
        tree.f[i]->view.conns[2].inode = 200 + i;
    tree.conn[0]->k_state = tree.conn[1]->k_state = tree.conn[2]->k_state = 7; /* failed ones too */
    tree.conn[1]->in_last_ms = 5;
    struct cw_conn *listener = fixture_listener(tree.f[2], 500);
    listener->inode = INODE;
    tree_share(&tree);
    assert_false(listener->flags & CW_CONN_ELSEWHERE);
    for (uint32_t i = 0; i < PROCESSES; i++) {
        struct cw_report report;
        const struct cw_report_input in = {.now_ms = NOW, .grace_ms = 2000};
        size_t bytes = cw_report_scratch_bytes(&tree.f[i]->view);
        void *scratch = malloc(bytes);
        assert_non_null(scratch);
        assert_int_equal(cw_report_build(&report, &tree.f[i]->view, &in, scratch, bytes), 0);
        assert_int_equal(report.totals.close_wait, 1);
        assert_int_equal(report.totals.errors, i == 1);
        assert_int_equal(report.context.n_listeners, i == 2);
        sum += report.totals.close_wait + report.totals.errors;
        free(scratch);
    }
    assert_int_equal(sum, PROCESSES + 1);
    tree_free(&tree);
}

/* One that has gone knows less than one that still has it open. */
static void test_ended_long_before(void **state)
{
    (void)state;
    struct tree tree;

    tree_new(&tree);
    tree.conn[0]->in_last_ms = 5000;
    tree.conn[0]->k_ms = NOW - 1000; /* they end together */
    assert_int_equal(kept(&tree), 1 << 0);
    tree.conn[0]->k_ms = NOW - 10000;
    tree.conn[2]->in_last_ms = 1000;
    assert_int_equal(kept(&tree), 1 << 2);
    tree_free(&tree);
}

/* Closed late in one process, open in another: not closed at all. */
static void test_closed_late_by_some(void **state)
{
    (void)state;
    struct tree tree;

    tree_new(&tree);
    for (uint32_t i = 0; i < 2; i++) {
        tree.conn[i]->flags |= CW_CONN_LATE;
        tree.conn[i]->close_ms = NOW - 500 - i;
        tree.conn[i]->in_last_ms = 5000 - i;
    }
    assert_int_equal(kept(&tree), 1 << 2);
    tree.conn[2]->k_state = 1; /* ESTABLISHED there: not this socket any more */
    assert_int_equal(kept(&tree), 1 << 0 | 1 << 2);
    assert_false(tree.conn[2]->flags & CW_CONN_ELSEWHERE);
    tree_free(&tree);
}

static void test_other_machines(void **state)
{
    (void)state;
    struct tree tree;

    tree_new(&tree);
    strcpy(tree.f[1]->header.host, "web8");
    tree.f[2]->header.start_mono_ns += UINT64_C(3) * 86400 * 1000000000; /* the same wall clock: booted earlier */
    assert_int_equal(kept(&tree), 7);
    strcpy(tree.f[1]->header.host, "web7");
    assert_int_equal(kept(&tree), 1 << 0 | 1 << 2);
    tree.conn[1]->peer_port++; /* an inode that was given away anew */
    assert_int_equal(kept(&tree), 7);
    tree.conn[1]->peer_port = 0; /* not known */
    assert_int_equal(kept(&tree), 1 << 0 | 1 << 2);
    memset(tree.f[0]->header.host, 'x', sizeof(tree.f[0]->header.host)); /* no NUL */
    assert_int_equal(kept(&tree), 7);
    tree_free(&tree);
}

static void queue(struct tree *tree, uint32_t i)
{
    tree->conn[i]->origin = CW_ORIGIN_QUEUED;
    tree->conn[i]->fd = -1;
    tree->conn[i]->inode = 0;
}

static void test_queued(void **state)
{
    (void)state;
    struct tree tree;

    tree_new(&tree);
    for (uint32_t i = 0; i < PROCESSES; i++)
        queue(&tree, i);
    assert_int_equal(kept(&tree), 1 << 0);
    tree.f[1]->header.pid_ns = 7; /* another container's */
    assert_int_equal(kept(&tree), 1 << 0 | 1 << 1);
    tree.f[1]->header.pid_ns = 0;
    tree.conn[0]->local_port++;
    tree.conn[1]->peer[2]++;
    assert_int_equal(kept(&tree), 7);
    tree.conn[0]->local_port--;
    tree.conn[1]->peer[2]--;
    /* The same addresses as a socket of an IPv6 listener. */
    tree.conn[2]->family = 10;
    memcpy(tree.conn[2]->local, (uint8_t[16]){[10] = 0xFF, 0xFF, 10, 0, 0, 1}, 16);
    memcpy(tree.conn[2]->peer, (uint8_t[16]){[10] = 0xFF, 0xFF, 10, 0, 0, 2}, 16);
    assert_int_equal(kept(&tree), 1 << 0);
    /* Accepted since: it waits no more. */
    tree.conn[2]->origin = CW_ORIGIN_ACCEPT;
    tree.conn[2]->inode = INODE;
    assert_int_equal(kept(&tree), 1 << 2);
    tree.conn[2]->local_port = tree.conn[2]->peer_port = 0; /* where it leads is not known */
    assert_int_equal(kept(&tree), 1 << 0 | 1 << 2);
    tree_free(&tree);
}

/* The master of a server has the listener and does nothing with it; a worker waits for it, and can tell why nobody accepts. */
static void test_queued_for_a_worker(void **state)
{
    (void)state;
    struct tree tree;
    struct cw_conn *listeners[PROCESSES];

    tree_new(&tree);
    for (uint32_t i = 0; i < PROCESSES; i++) {
        queue(&tree, i);
        listeners[i] = fixture_conn(tree.f[i], 500);
        listeners[i]->flags = CW_CONN_IN_USE | CW_CONN_LISTENER;
        listeners[i]->local_port = tree.conn[i]->local_port;
    }
    assert_int_equal(kept(&tree), 1 << 0);
    listeners[1]->in_last_ms = 900; /* has accepted from it */
    assert_int_equal(kept(&tree), 1 << 1);
    listeners[2]->flags |= CW_CONN_WATCHED;
    assert_int_equal(kept(&tree), 1 << 2);
    listeners[2]->local_port++; /* another port's */
    assert_int_equal(kept(&tree), 1 << 1);
    listeners[0]->flags |= CW_CONN_POLLED;
    assert_int_equal(kept(&tree), 1 << 0);
    tree_free(&tree);
}

/* One view shares nothing with itself; little scratch memory does no harm. */
static void test_alone_and_little_memory(void **state)
{
    (void)state;
    struct tree tree;
    char little[40];

    tree_new(&tree);
    shared_conn(tree.f[0]);
    tree.conn[0]->flags |= CW_CONN_ELSEWHERE; /* a file may say anything */
    cw_document_share(tree.views, 1, NULL, 0);
    assert_false(tree.f[0]->view.conns[1].flags & CW_CONN_ELSEWHERE);
    assert_false(tree.f[0]->view.conns[2].flags & CW_CONN_ELSEWHERE);
    cw_document_share(tree.views, PROCESSES, little, sizeof(little));
    cw_document_share(tree.views, PROCESSES, NULL, 0);
    assert_false(tree.conn[1]->flags & CW_CONN_ELSEWHERE);
    tree_free(&tree);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1103515245 + 12345;
    return *seed >> 16;
}

static void test_hostile(void **state)
{
    (void)state;
    uint32_t seed = 7;

    for (unsigned round = 0; round < 50; round++) {
        struct tree tree;
        tree_new(&tree);
        for (uint32_t i = 0; i < PROCESSES; i++) {
            struct cw_ledger *header = &tree.f[i]->header;
            for (uint32_t k = 0; k < 30; k++) {
                struct cw_conn *conn = fixture_conn(tree.f[i], 1);
                for (size_t b = 0; b < sizeof(*conn); b++)
                    ((unsigned char *)conn)[b] = (unsigned char)next_random(&seed);
                conn->k_state = 8;
                conn->inode = next_random(&seed) % 8;
                conn->peer_port = (uint16_t)(next_random(&seed) % 3);
            }
            header->sections[CW_SECTION_CONNS].used = UINT32_MAX;
            header->start_mono_ns = round % 2 ? UINT64_MAX - next_random(&seed) : header->start_mono_ns;
        }
        tree_share(&tree);
        tree_free(&tree);
    }
}

/* 1,000 processes that have inherited the same 50 sockets. */
static void test_many(void **state)
{
    (void)state;
    enum { VIEWS = 1000, SOCKETS = 50 };
    struct fixture *f = fixture_new(1);
    struct cw_view *views = calloc(VIEWS, sizeof(*views)), **pointers = calloc(VIEWS, sizeof(*pointers));
    struct cw_conn *conns = calloc((size_t)VIEWS * (SOCKETS + 1), sizeof(*conns));
    struct timespec from, to;
    uint32_t n = 0;

    assert_true(views && pointers && conns);
    f->header.sections[CW_SECTION_CONNS].used = SOCKETS + 1;
    for (uint32_t i = 0; i < VIEWS; i++) {
        views[i] = (struct cw_view){.header = &f->header, .conns = &conns[i * (SOCKETS + 1)], .n_conns = SOCKETS + 1};
        pointers[i] = &views[i];
        for (uint32_t k = 1; k <= SOCKETS; k++) {
            *f->view.conns = (struct cw_conn){0};
            f->n_conns = 1;
            struct cw_conn *conn = fixture_conn(f, 1000);
            fixture_close_wait(conn, NOW, 50000, 50000);
            conn->inode = 1000 + k;
            conn->peer_port = (uint16_t)(40000 + k);
            views[i].conns[k] = *conn;
        }
    }
    f->header.sections[CW_SECTION_CONNS].used = SOCKETS + 1;
    size_t bytes = cw_document_share_bytes((const struct cw_view *const *)pointers, VIEWS);
    void *scratch = malloc(bytes);
    assert_non_null(scratch);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    cw_document_share(pointers, VIEWS, scratch, bytes);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    for (uint32_t i = 0; i < VIEWS * (SOCKETS + 1); i++)
        n += conns[i].flags && !(conns[i].flags & CW_CONN_ELSEWHERE);
    assert_int_equal(n, SOCKETS);
    double ms = (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
    print_message("%d processes with the same %d sockets: %.1f ms, %zu KiB\n", VIEWS, SOCKETS, ms, bytes >> 10);
    assert_true(ms < 2000); /* about 80 ms; the margin is for sanitizers and busy machines */
    free(scratch);
    free(conns);
    free(pointers);
    free(views);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_stands_for_it),
        cmocka_unit_test(test_reports_count_once),
        cmocka_unit_test(test_ended_long_before),
        cmocka_unit_test(test_closed_late_by_some),
        cmocka_unit_test(test_other_machines),
        cmocka_unit_test(test_queued),
        cmocka_unit_test(test_queued_for_a_worker),
        cmocka_unit_test(test_alone_and_little_memory),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
