/* core/redact.c, and reports of which it has taken things out. */
#include "core/redact.h"

#include "test/unit/tree.h"

static uint64_t fake_hash(void *ctx, const void *bytes, size_t n)
{
    uint64_t hash = *(const uint64_t *)ctx;
    for (size_t i = 0; i < n; i++)
        hash = hash * 31 + ((const unsigned char *)bytes)[i];
    return hash;
}

static uint64_t key = 1;
static struct cw_redact redact = {.ctx = &key, .hash = fake_hash};

static void expect_address(uint8_t family, const uint8_t address[16], uint16_t port, const char *expected)
{
    struct cw_line line;
    struct cw_out out;

    cw_out_line(&out, &line);
    cw_redact_address(&out, &redact, CW_REDACT_PEER, family, address, port);
    cw_out_flush(&out);
    assert_string_equal(line.text, expected);
}

static void expect_text_of(const struct cw_redact *by, const char *text, const char *expected)
{
    struct cw_line line;
    struct cw_out out;

    cw_out_line(&out, &line);
    cw_redact_text(&out, by, CW_REDACT_LABEL, text);
    cw_out_flush(&out);
    assert_string_equal(line.text, expected);
}

static void test_functions(void **state)
{
    (void)state;
    const uint8_t four[16] = {10, 0, 0, 2}, mapped[16] = {[10] = 0xFF, 0xFF, 10, 0, 0, 2}, six[16] = {[15] = 1};
    const struct cw_redact unable = {.what = ~0u};

    redact.what = 0;
    assert_false(cw_redacts(NULL, CW_REDACT_PEER));
    assert_false(cw_redacts(&unable, CW_REDACT_PEER)); /* nothing to hash with */
    assert_false(cw_redacts(&redact, CW_REDACT_PEER));
    expect_text_of(NULL, "a\x1b", "a\\x1b");
    expect_address(2, four, 443, "10.0.0.2:443");
    redact.what = 1u << CW_REDACT_PEER | 1u << CW_REDACT_LABEL;
    assert_true(cw_redacts(&redact, CW_REDACT_PEER));
    assert_false(cw_redacts(&redact, CW_REDACT_LOCAL));
    expect_text_of(&redact, "a", "label-0000000000000080"); /* 1 * 31 + 'a' */
    expect_address(2, four, 443, "peer-000000000012a339:443");
    expect_address(10, mapped, 443, "peer-000000000012a339:443"); /* the same host */
    expect_address(10, six, 0, "peer-afbae83050a9de02:*");
}

/* --- command lines and redaction --- */

static void test_command(void **state)
{
    (void)state;
    struct tree tree;
    struct cw_options options;

    tree_new(&tree, 1);
    leak(&tree, 0, 50000);
    static const char argv[] = "./server\0--key\0it's \x1b secret\0";
    memcpy(tree.f[0]->header.command, argv, sizeof(argv));
    cw_options_default(&options);
    tree.in[0].options = &options;
    expect_part(&tree, ": ./server (pid 100 on web7)");
    expect_json(&tree, "r['process']['command'] == ['./server']");
    options.command = true;
    expect_part(&tree, ": ./server --key 'it'\\''s \\x1b secret' (pid 100 on web7)");
    expect_json(&tree, "r['process']['command'] == ['./server', '--key', \"it's \\x1b secret\"]");
    tree_free(&tree);
}

static const char *const secrets[] = {"10.0.0.2", "10.0.0.1", "./server", "web7", "tenant-4711"};

/* In neither form of the report stands what is redacted; the other things still do. */
static void check_redacted(struct tree *tree, unsigned what)
{
    for (unsigned format = 0; format < 2; format++) {
        char *text = render(tree, format ? CW_FORMAT_JSON : CW_FORMAT_TEXT);
        for (unsigned i = 0; i < CW_REDACT_COUNT; i++) {
            bool there = strstr(text, secrets[i]) != NULL;
            if (there != !(what & 1u << i))
                fail_msg("%s %s in\n%s", secrets[i], there ? "is" : "is not", text);
        }
        free(text);
    }
}

static void test_redaction(void **state)
{
    (void)state;
    struct tree tree;
    struct cw_options options;

    tree_new(&tree, 2);
    cw_options_default(&options);
    options.command = true;
    for (uint32_t i = 0; i < 2; i++) {
        struct fixture *f = tree.f[i];
        tree.in[i].redact = &redact;
        tree.in[i].options = &options;
        /* A thread that has come back from its set and is busy with another connection, whose peer the evidence names; a
         * listener, whose address JSON names. */
        struct cw_conn *other = leak(&tree, i, 50000), *waiting = leak(&tree, i, 60000);
        uint32_t thread = fixture_thread(f, 4243, "worker");
        other->label = tree.label;
        other->in_first_ms = other->in_last_ms = NOW - 59980;
        other->touch_thread = thread;
        other->touch_stack = tree.accept;
        waiting->flags &= ~(uint32_t)(CW_CONN_EOF_SEEN | CW_CONN_EOF_CONSUMED);
        waiting->fin_ms = NOW - 60000;
        waiting->epoll_set = fixture_set(f, 5);
        f->view.sets[waiting->epoll_set].return_ms = NOW - 60000;
        f->view.sets[waiting->epoll_set].return_thread = thread;
        f->view.threads[1].wait_ms = NOW - 60000;
        f->view.threads[1].wait_call = CW_CALL_epoll_wait;
        f->view.threads[1].k_ms = NOW;
        f->view.threads[1].k_state = 'S';
        f->view.threads[1].k_syscall = 0; /* read */
        f->view.threads[1].k_object = 33;
        fixture_listener(f, 500);
    }
    redact.what = 0;
    expect_part(&tree, "it last used fd 16, peer 10.0.0.2:50001");
    for (unsigned what = 0; what < 1u << CW_REDACT_COUNT; what++) {
        redact.what = what;
        check_redacted(&tree, what);
    }
    expect_part(&tree, "it last used fd 16, peer peer-");
    expect_part(&tree, ", redacted: peer, local, command, host, label\n");
    expect_part(&tree, " on host-");
    expect_json(&tree,
                "r['redacted'] == ['peer', 'local', 'command', 'host', 'label']"
                " and r['host'] == r['processes'][1]['host'] and r['host'].startswith('host-')"
                " and len({c['peer'].split(':')[0] for g in r['leaks'] for c in g['connections']}) == 1"
                " and {c['peer'].split(':')[1] for g in r['leaks'] for c in g['connections']} == {'50001', '50002'}"
                " and len(r['process']['command'][0]) == len('command-0123456789abcdef')"
                " and len(set(r['process']['command'])) == len(r['process']['command'])");
    redact.what = 1u << CW_REDACT_PEER | 1u << CW_REDACT_HOST;
    expect_part(&tree, ", redacted: peer, host\n");
    expect_json(&tree, "r['redacted'] == ['peer', 'host']");
    tree_free(&tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_functions),
        cmocka_unit_test(test_command),
        cmocka_unit_test(test_redaction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
