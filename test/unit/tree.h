/* A made-up server of several processes, which read the end of stream and do not close, for the tests of reports over more than
 * one. Tests that include this run from the repository's root: the schema and its checker are read from there. */
#ifndef TEST_UNIT_TREE_H
#define TEST_UNIT_TREE_H

#include "core/emit.h"
#include "test/unit/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { NOW = 93000, PROCESSES = 3, MANY = 41 };

struct tree {
    struct fixture *f[MANY];
    struct cw_report_input in[MANY];
    uint32_t n, accept, eof, label; /* the ids are the same in each: all begin alike */
};

/* Processes of one server, which accepts in an event loop, reads the end of stream and does not close. */
static inline void tree_new(struct tree *tree, uint32_t n)
{
    *tree = (struct tree){.n = n};
    for (uint32_t i = 0; i < n; i++) {
        struct fixture *f = tree->f[i] = fixture_new(64);
        uint32_t main = fixture_module(f, "/srv/app/server", CW_MODULE_MAIN);
        const uint64_t accept = CW_FRAME(main, 0x1a2f), readable = CW_FRAME(main, 0x1b04);
        fixture_symbol(f, accept, "accept_client", "/home/u/src/server.c", 118);
        fixture_symbol(f, readable, "on_readable", "/home/u/src/server.c", 164);
        tree->accept = fixture_stack(f, &accept, 1, 0);
        tree->eof = fixture_stack(f, &readable, 1, 0);
        tree->label = fixture_string(f, "tenant-4711");
        f->header.pid = 100 + (int)i;
        f->header.ppid = i ? 100 : 1;
        f->header.ended = CW_ENDED_RUNNING;
        f->header.truth_ms = NOW;
        tree->in[i] = (struct cw_report_input){.now_ms = NOW,
                                               .now_real_ns = f->header.start_real_ns + UINT64_C(93000000000),
                                               .grace_ms = 2000,
                                               .resolver = &f->resolver};
    }
}

static inline void tree_free(struct tree *tree)
{
    for (uint32_t i = 0; i < tree->n; i++)
        fixture_free(tree->f[i]);
}

static inline struct cw_conn *leak(struct tree *tree, uint32_t i, uint32_t fin_age)
{
    struct cw_conn *conn = fixture_conn(tree->f[i], 1000);

    conn->open_stack = tree->accept;
    conn->flags |= CW_CONN_EOF_SEEN | CW_CONN_EOF_CONSUMED | CW_CONN_WATCHED | CW_CONN_WAS_WATCHED;
    conn->epoll_fd = 5;
    conn->epoll_mask = EPOLLIN;
    conn->eof_ms = NOW - fin_age;
    conn->eof_call = CW_CALL_recv;
    conn->eof_stack = tree->eof;
    conn->out_last_ms = NOW - fin_age;
    conn->inode += 1000 * i;
    fixture_close_wait(conn, NOW, fin_age, fin_age);
    conn->k_recv_q = i;
    return conn;
}

static inline char *render(struct tree *tree, enum cw_format format)
{
    struct cw_report *reports = calloc(tree->n, sizeof(*reports));
    const struct cw_report *pointers[MANY];
    void *scratch[MANY];
    struct fixture_text text;

    assert_non_null(reports);
    for (uint32_t i = 0; i < tree->n; i++) {
        size_t bytes = cw_report_scratch_bytes(&tree->f[i]->view);
        scratch[i] = malloc(bytes);
        assert_non_null(scratch[i]);
        assert_int_equal(cw_report_build(&reports[i], &tree->f[i]->view, &tree->in[i], scratch[i], bytes), 0);
        pointers[i] = &reports[i];
    }
    fixture_text_begin(&text);
    assert_int_equal(fixture_emit(&text.out, pointers, tree->n, format), 0);
    fixture_text_end(&text);
    for (uint32_t i = 0; i < tree->n; i++)
        free(scratch[i]);
    free(reports);
    return text.text;
}

static inline void expect_text(struct tree *tree, const char *expected)
{
    char *text = render(tree, CW_FORMAT_TEXT);
    assert_string_equal(text, expected);
    free(text);
}

static inline void expect_part(struct tree *tree, const char *expected)
{
    char *text = render(tree, CW_FORMAT_TEXT);
    if (!strstr(text, expected)) {
        print_error("%s\n", text);
        fail_msg("misses: %s", expected);
    }
    free(text);
}

/* Checks the JSON report against the schema, and a Python expression over the report r. */
static inline void expect_json(struct tree *tree, const char *expression)
{
    char name[] = "/tmp/cwguard-test-XXXXXX", script[2048];
    char *json = render(tree, CW_FORMAT_JSON);
    int fd = mkstemp(name), status = 0;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, json, strlen(json)), (ssize_t)strlen(json));
    close(fd);
    free(json);
    snprintf(
        script, sizeof(script),
        "import json,sys,subprocess; r=json.load(open(sys.argv[1]))\n"
        "bad=subprocess.call([sys.executable,'test/support/schema_check.py','docs/report.schema.json',sys.argv[1]])\n"
        "ok=(%s)\nif not ok: print('false:', sys.argv[1], %s, file=sys.stderr)\nsys.exit(bad or not ok)",
        expression, "r['totals'], r['leaks']");
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        dup2(2, 1);
        execlp("python3", "python3", "-c", script, name, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    unlink(name);
    assert_int_equal(status, 0);
}

#endif
