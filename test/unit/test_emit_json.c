/* core/emit_json.c: always valid JSON and UTF-8, as docs/report.schema.json has it, whatever the ledger holds. Run
 * from the repository's root: the schema and its checker are read from there. */
#include "core/emit.h"
#include "test/unit/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { NOW = 93000 };

/* What a test adds to the report's input. */
static struct cw_report_input added;

static char *render(struct fixture *f, const struct cw_options *options)
{
    struct cw_report report;
    struct fixture_text text;
    struct cw_report_input in = added;

    in.now_ms = NOW;
    in.now_real_ns = f->header.start_real_ns + UINT64_C(93000000000);
    in.grace_ms = 2000;
    in.options = options;
    in.resolver = &f->resolver;
    size_t bytes = cw_report_scratch_bytes(&f->view);
    void *scratch = malloc(bytes);

    assert_non_null(scratch);
    assert_int_equal(cw_report_build(&report, &f->view, &in, scratch, bytes), 0);
    fixture_text_begin(&text);
    assert_int_equal(fixture_emit(&text.out, (const struct cw_report *[]){&report}, 1, CW_FORMAT_JSON), 0);
    fixture_text_end(&text);
    free(scratch);
    return text.text;
}

/* The exit status of `python3 ARGV...` with the text in a file, whose name is argv's last element. */
static int python(const char *const *argv, unsigned argc, const char *json)
{
    char name[] = "/tmp/cwguard-test-XXXXXX";
    const char *args[8] = {"python3"};
    int fd = mkstemp(name), status = 0;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, json, strlen(json)), (ssize_t)strlen(json));
    close(fd);
    for (unsigned i = 0; i < argc; i++)
        args[i + 1] = argv[i];
    args[argc + 1] = name;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        dup2(2, 1);
        execvp("python3", (char *const *)(const void *)args);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    unlink(name);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect_valid(const char *json)
{
    const char *const argv[] = {"test/support/schema_check.py", "docs/report.schema.json"};
    assert_int_equal(python(argv, 2, json), 0);
}

/* Evaluates a Python expression over the report r. */
static void expect_true(const char *json, const char *expression)
{
    char script[1024];
    snprintf(script, sizeof(script),
             "import json,sys; r=json.load(open(sys.argv[1])); ok=(%s)\n"
             "if not ok: print('false:', sys.argv[1:], file=sys.stderr)\nsys.exit(not ok)",
             expression);
    const char *const argv[] = {"-c", script};
    assert_int_equal(python(argv, 2, json), 0);
}

static void test_empty(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(2);
    char *json = render(f, NULL);

    expect_valid(json);
    expect_true(json, "r['leaks'] == [] and r['totals']['close_wait'] == 0 and r['truth'] == 'kernel'"
                      " and r['ended'] == {'how': 'signal', 'status': None, 'signal': 15}"
                      " and r['process']['command'] == ['./server'] and r['options'] == {}"
                      " and r['process']['uptime_s'] == 93 and r['generated'] == '2026-11-22T03:12:09Z'"
                      " and r['totals']['held_by_children'] is None");
    free(json);
    /* A remark, and neither a leak nor a CLOSE_WAIT of this process. */
    added = (struct cw_report_input){.held_known = true, .held_sockets = 3, .held_pids = 1, .held_pid = 7};
    json = render(f, NULL);
    expect_valid(json);
    expect_true(json, "r['totals']['held_by_children'] == 3 and r['totals']['close_wait'] == 0"
                      " and r['totals']['leaked'] == 0");
    free(json);
    added.held_sockets = 0;
    json = render(f, NULL);
    expect_valid(json);
    expect_true(json, "r['totals']['held_by_children'] == 0");
    free(json);
    added = (struct cw_report_input){0};
    fixture_free(f);
}

static void test_leak(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(8);
    uint32_t m = fixture_module(f, "/srv/server", CW_MODULE_MAIN);
    const uint64_t frames[] = {CW_FRAME(m, 0x1a2f), CW_FRAME(0, 0x7f0000001234), CW_FRAME(m, 0x55)};
    struct cw_options options;

    fixture_symbol(f, frames[0], "read_all", "/src/io.h", 7);
    fixture_symbol(f, frames[0], "on_readable", "/src/server.c", 164);
    cw_options_default(&options);
    strcpy(options.log_path, "/tmp/a\"b");
    for (uint32_t i = 0; i < 3; i++) {
        struct cw_conn *conn = fixture_conn(f, 1000);
        conn->open_stack = fixture_stack(f, frames, 3, 0) * (i == 0) + f->view.conns[1].open_stack * (i != 0);
        conn->flags |= CW_CONN_EOF_SEEN;
        conn->eof_ms = NOW - 50250;
        conn->eof_call = CW_CALL_recv;
        conn->eof_stack = conn->open_stack;
        conn->touch_thread = fixture_thread(f, 4243, "a-thread-of-16-b");
        fixture_close_wait(conn, NOW, 50250 + i, 50250 + i);
    }
    f->view.conns[3].k_flags = 0;
    f->view.conns[3].family = 10;
    struct cw_conn *late = fixture_conn(f, 1000);
    fixture_close_wait(late, NOW, 50000, 50000);
    late->flags |= CW_CONN_LATE;
    late->fin_ms = 20000;
    late->close_ms = 61500;
    late->close_call = CW_CALL_close;
    late->close_stack = f->view.conns[1].open_stack;
    struct cw_conn *listener = fixture_conn(f, 500);
    listener->flags = CW_CONN_IN_USE | CW_CONN_LISTENER;
    listener->in_last_ms = 90000;
    listener->family = 10; /* as the oldest one's */
    memset(listener->local, 0, sizeof(listener->local));
    listener->in_last_res = -24;

    char *json = render(f, &options);
    expect_valid(json);
    expect_true(json, "r['totals']['close_wait'] == 3 and r['totals']['leaked'] == 3 and len(r['leaks']) == 1"
                      " and r['options']['grace'] == '30s' and r['options']['depth'] == 32"
                      " and r['options']['live'] is True and r['options']['log_path'] == '/tmp/a\"b'");
    expect_true(json, "(lambda g: g['diagnosis'] == 'eof-not-closed' and g['count'] == 3 == len(g['connections'])"
                      " and g['oldest_s'] == 50.252 and g['newest_s'] == 50.25 and g['closed'] is None"
                      " and g['next'] == 'close() it where recv returns 0: read_all (io.h:7)'"
                      " and g['thread']['name'] == 'a-thread-of-16-b' and g['listener']['last_errno'] == 24"
                      " and g['listener']['last_accept_s'] == 3 and len(g['evidence']) >= 3)(r['leaks'][0])");
    expect_true(json, "(lambda d: d['call'] == 'recv' and [x['function'] for x in d['frames']] == "
                      "['read_all', 'on_readable', None, None] and [x['inlined'] for x in d['frames']] == "
                      "[True, False, False, False] and [x['kind'] for x in d['frames']] == "
                      "['native', 'native', 'jit', 'native'] and d['frames'][2]['module'] is None)"
                      "(r['leaks'][0]['deciding'])");
    expect_true(json, "(lambda c: c['fd'] == 18 and c['local'] == '[a00:1::]:8080' and c['family'] == 'inet6'"
                      " and c['recv_q'] is None and c['tid'] == 4243)(r['leaks'][0]['connections'][0])");
    expect_true(json, "(lambda c: c['local'] == '10.0.0.1:8080' and c['peer'] == '10.0.0.2:50001' and c['pid'] == 4242"
                      " and c['recv_q'] == 1 and c['state'] == 'CLOSE_WAIT' and c['fin_age_s'] == 50.25"
                      " and c['inode'] == 100001)(r['leaks'][0]['connections'][2])");
    expect_true(json, "(lambda g: g['severity'] == 'note' and g['closed']['call'] == 'close'"
                      " and g['connections'][0]['closed_after_s'] == 41.5)(r['closed_late'][0])");
    free(json);
    fixture_free(f);
}

static void test_state_of_last_sweep(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(2);
    f->header.truth = CW_TRUTH_SWEEP;
    f->header.truth_ms = NOW - 7500;
    f->header.ended = 99;
    char *json = render(f, NULL);
    expect_valid(json);
    expect_true(json, "r['truth'] == 'last-sweep' and r['truth_age_s'] == 7.5 and r['ended']['how'] is None");
    free(json);
    fixture_free(f);
}

/* Random bytes everywhere: still JSON, still the schema. */
static void test_hostile(void **state)
{
    (void)state;
    uint32_t seed = 1;

    for (unsigned round = 0; round < 20; round++) {
        struct fixture *f = fixture_new(12);
        uint32_t m = fixture_module(f, "/srv/\xFF\"\\\x01\xED\xA0\x80", CW_MODULE_MAIN);
        const uint64_t frames[] = {CW_FRAME(m, 1), CW_FRAME(0xFFFF, 2)};
        uint32_t stack = fixture_stack(f, frames, 2, 0);

        fixture_symbol(f, frames[0], "op\"\xC3\x28", "\x80\x80", UINT32_MAX);
        f->resolver.resolve = round % 2 ? f->resolver.resolve : NULL;
        f->view.modules[m].build_id_len = 255;
        memset(f->header.host, 0xFF, sizeof(f->header.host));
        memset(f->header.command, 0xC3, sizeof(f->header.command));
        memset(f->header.tool_version, '"', sizeof(f->header.tool_version));
        for (unsigned i = 0; i < 12; i++) {
            struct cw_conn *conn = fixture_conn(f, 1);
            for (size_t k = 0; k < sizeof(*conn); k++) {
                seed = seed * 1103515245 + 12345;
                ((unsigned char *)conn)[k] = (unsigned char)(seed >> 16);
            }
            conn->flags |= CW_CONN_IN_USE;
            conn->flags &= ~(uint32_t)(i % 3 ? CW_CONN_LISTENER | CW_CONN_LATE | CW_CONN_SETTLING : CW_CONN_LISTENER);
            conn->k_state = 8;
            conn->origin = (uint8_t)(i % 2 ? conn->origin : CW_ORIGIN_ACCEPT);
            conn->open_stack = i % 4 ? stack : conn->open_stack;
            conn->local_port = 8080;
        }
        memset(f->view.threads, 0xC3, FIXTURE_THREADS * sizeof(struct cw_thread));
        char *json = render(f, NULL);
        expect_valid(json);
        free(json);
        fixture_free(f);
    }
}

/* The checker itself must be able to fail. */
static void test_checker_refuses(void **state)
{
    (void)state;
    const char *const argv[] = {"test/support/schema_check.py", "docs/report.schema.json"};
    struct fixture *f = fixture_new(2);
    char *json = render(f, NULL);

    char *host = strstr(json, "\"host\"");
    assert_non_null(host);
    host[1] = 'H';
    assert_int_equal(python(argv, 2, json), 1);
    free(json);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),           cmocka_unit_test(test_leak),
        cmocka_unit_test(test_hostile),         cmocka_unit_test(test_state_of_last_sweep),
        cmocka_unit_test(test_checker_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
