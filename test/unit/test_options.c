/* core/options.c, core/options_text.c, core/glob.c: every row of options.inc, right and wrong. */
#include "core/options.h"
#include "test/unit/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct warnings {
    int n;
    char last[1024];
};

static void warn(void *ctx, const char *line)
{
    struct warnings *warnings = ctx;
    warnings->n++;
    snprintf(warnings->last, sizeof(warnings->last), "%s", line);
    assert_null(strchr(line, '\n'));
}

static int parse(struct cw_options *options, const char *text, struct warnings *warnings)
{
    *warnings = (struct warnings){0};
    cw_options_default(options);
    return cw_options_parse(options, text, warn, warnings);
}

static void test_defaults(void **state)
{
    (void)state;
    struct cw_options o;
    cw_options_default(&o);
    assert_int_equal(o.grace_ms, 30000);
    assert_int_equal(o.exit_grace_ms, 2000);
    assert_int_equal(o.late, CW_LATE_NOTE);
    assert_true(o.live);
    assert_string_equal(o.programs, "");
    assert_int_equal(o.format, CW_FORMAT_TEXT);
    assert_int_equal(o.reporter_mem_bytes, 256 << 20);
    assert_int_equal(o.depth, 32);
    assert_int_equal(o.verbosity, 0);
    assert_false(o.help);
    assert_true(o.handle_signals);
    assert_int_equal(o.unwinder, CW_UNWINDER_LIBUNWIND);
}

static void test_values(void **state)
{
    (void)state;
    struct cw_options o;
    struct warnings w;
    assert_int_equal(parse(&o,
                           "grace=500ms:exit_grace=5 late=fail\tlive=no::log_path='/tmp/a:b c.%p':format=json\n"
                           "reporter_mem=1G:ledger_dir=\"/dev/shm/it's\":depth=64 verbosity=3:help=on:unwinder=caller:",
                           &w),
                     0);
    assert_int_equal(w.n, 0);
    assert_int_equal(o.grace_ms, 500);
    assert_int_equal(o.exit_grace_ms, 5000);
    assert_int_equal(o.late, CW_LATE_FAIL);
    assert_false(o.live);
    assert_string_equal(o.log_path, "/tmp/a:b c.%p");
    assert_int_equal(o.format, CW_FORMAT_JSON);
    assert_int_equal(o.reporter_mem_bytes, 1 << 30);
    assert_string_equal(o.ledger_dir, "/dev/shm/it's");
    assert_int_equal(o.depth, 64);
    assert_int_equal(o.verbosity, 3);
    assert_true(o.help);
    assert_int_equal(o.unwinder, CW_UNWINDER_CALLER);
    assert_int_equal(parse(&o, "grace=2m:exit_grace=1h:grace=0", &w), 0); /* the last one wins */
    assert_int_equal(o.grace_ms, 0);
    assert_int_equal(o.exit_grace_ms, 3600000);
    assert_int_equal(parse(&o, NULL, &w), 0);
    assert_int_equal(parse(&o, "programs=", &w), 0);
    assert_string_equal(o.programs, "");
}

static void test_unknown_is_one_line(void **state)
{
    (void)state;
    struct cw_options o;
    struct warnings w;
    assert_int_equal(parse(&o, "garce=5s:depth=7", &w), 1);
    assert_int_equal(w.n, 1);
    assert_non_null(strstr(w.last, "'garce'"));
    for (size_t i = 0; i < cw_options_count; i++)
        assert_non_null(strstr(w.last, cw_options_table[i].name));
    assert_int_equal(o.depth, 7); /* the rest still applies */
    assert_int_equal(parse(&o, "depth", &w), 1);
    assert_non_null(strstr(w.last, "'depth'"));
    assert_int_equal(parse(&o, "=5:\x1b[31m=1", &w), 2);
    assert_non_null(strstr(w.last, "\\x1b[31m"));
    assert_int_equal(parse(&o, "depth=5:log_path='/tmp/x:depth=6", &w), 1);
    assert_non_null(strstr(w.last, "closing quote"));
    assert_int_equal(o.depth, 5);
    assert_string_equal(o.log_path, "");
    assert_int_equal(parse(&o, "dep=5:depthx=5", &w), 2); /* neither a prefix nor an extension of a name will do */
}

static void test_bad_values(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "grace=",
        "grace=-1",
        "grace=5x",
        "grace=5 s",
        "grace=25h",
        "grace=1.5s",
        "grace=99999999999999999999",
        "grace=18446744073709551615h",
        "reporter_mem=1",
        "reporter_mem=128G",
        "reporter_mem=5T",
        "depth=0",
        "depth=65",
        "depth=3s",
        "verbosity=4",
        "live=2",
        "live=",
        "late=maybe",
        "late=",
        "format=xml",
        "unwinder=Libgcc",
        "help=yess",
    };
    struct cw_options o, dflt;
    struct warnings w;
    cw_options_default(&dflt);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int refused = parse(&o, bad[i], &w);
        /* "5 s" is a good pair and a stray word: one warning all the same. */
        assert_int_equal(refused, 1);
        assert_int_equal(w.n, 1);
        if (!strchr(bad[i], ' '))
            assert_memory_equal(&o, &dflt, sizeof(o));
    }
    assert_int_equal(parse(&o, "late=maybe", &w), 1);
    assert_string_equal(w.last, "option late: 'maybe' is refused, it stays note; valid: note, fail or off");
    assert_int_equal(parse(&o, "grace=5x", &w), 1);
    assert_string_equal(w.last, "option grace: '5x' is refused, it stays 30s; valid: 0s to 24h (30, 30s, 500ms, 2m)");
    assert_int_equal(parse(&o, "depth=65", &w), 1);
    assert_string_equal(w.last, "option depth: '65' is refused, it stays 32; valid: 1 to 64");
}

/* Longest text that fits, one byte more, and a warning about a very long one. */
static void test_string_lengths(void **state)
{
    (void)state;
    struct cw_options o;
    struct warnings w;
    char *text = calloc(1, 70000);
    assert_non_null(text);
    memcpy(text, "log_path=", 9);
    memset(text + 9, 'p', 511);
    assert_int_equal(parse(&o, text, &w), 0);
    assert_int_equal(strlen(o.log_path), 511);
    text[9 + 511] = 'p';
    assert_int_equal(parse(&o, text, &w), 1);
    assert_string_equal(o.log_path, "");
    memset(text + 9, 'p', 69000);
    assert_int_equal(parse(&o, text, &w), 1);
    assert_non_null(strstr(w.last, "text of at most 511 bytes"));
    assert_true(strlen(w.last) < 300);
    free(text);
}

/* Every row: its limits are accepted, the values beyond them are not, and what cw_option_value writes reads back the
 * same. */
static void test_every_row(void **state)
{
    (void)state;
    for (size_t i = 0; i < cw_options_count; i++) {
        const struct cw_option *row = &cw_options_table[i];
        struct cw_options o, again;
        struct fixture_text text;
        char number[32];

        assert_true(strlen(row->sentence) > 10);
        cw_options_default(&o);
        for (int end = 0; end < 2 && (row->type <= CW_OPTION_BOOL); end++) {
            snprintf(number, sizeof(number), "%llu%s", (unsigned long long)(end ? row->high : row->low),
                     row->type == CW_OPTION_MS ? "ms" : "");
            assert_int_equal(cw_options_set(&o, row->name, number, NULL, NULL), 0);
            snprintf(number, sizeof(number), "%llu%s", (unsigned long long)(end ? row->high + 1 : row->low - 1),
                     row->type == CW_OPTION_MS ? "ms" : "");
            assert_int_equal(cw_options_set(&o, row->name, number, NULL, NULL), -1);
        }
        for (size_t k = 0; row->type == CW_OPTION_ENUM && row->choices[k]; k++)
            assert_int_equal(cw_options_set(&o, row->name, row->choices[k], NULL, NULL), 0);
        if (row->type == CW_OPTION_STRING)
            assert_int_equal(cw_options_set(&o, row->name, "a:b 'c'", NULL, NULL), 0);

        fixture_text_begin(&text);
        cw_out_str(&text.out, row->name);
        cw_out_char(&text.out, '=');
        cw_option_value(&text.out, &o, row);
        cw_options_default(&again);
        assert_int_equal(cw_options_parse(&again, fixture_text_end(&text), NULL, NULL), 0);
        assert_memory_equal(&o, &again, sizeof(o));
        fixture_text_free(&text);
    }
}

static void test_set_by_flag_name(void **state)
{
    (void)state;
    struct cw_options o;
    cw_options_default(&o);
    assert_int_equal(cw_options_set(&o, "exit-grace", "7s", NULL, NULL), 0);
    assert_int_equal(o.exit_grace_ms, 7000);
    assert_int_equal(cw_options_set(&o, "log_path", "/a:b c", NULL, NULL), 0); /* no quotes needed here */
    assert_string_equal(o.log_path, "/a:b c");
    assert_int_equal(cw_options_set(&o, "exit+grace", "7s", NULL, NULL), -1);
}

static void test_help_lists_all(void **state)
{
    (void)state;
    struct fixture_text help, markdown;
    struct cw_options o;
    cw_options_default(&o);
    o.grace_ms = 90000;
    fixture_text_begin(&help);
    cw_options_help(&help.out, &o);
    fixture_text_begin(&markdown);
    cw_options_markdown(&markdown.out);
    const char *h = fixture_text_end(&help), *m = fixture_text_end(&markdown);
    assert_non_null(strstr(h, "\n  grace=90s\n"));
    assert_non_null(strstr(h, "\n  reporter_mem=256M\n"));
    assert_non_null(strstr(m, "| `grace` | `30s` |"));
    for (size_t i = 0; i < cw_options_count; i++) {
        char key[64];
        snprintf(key, sizeof(key), "\n  %s=", cw_options_table[i].name);
        assert_non_null(strstr(h, key));
        snprintf(key, sizeof(key), "\n| `%s` |", cw_options_table[i].name);
        assert_non_null(strstr(m, key));
        assert_non_null(strstr(h, cw_options_table[i].sentence));
        assert_non_null(strstr(m, cw_options_table[i].sentence));
    }
    fixture_text_free(&help);
    fixture_text_free(&markdown);
}

static void test_glob(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool matches;
    } rows[] = {
        {"", "", true},         {"", "a", false},         {"*", "", true},
        {"*", "a/b", true},     {"a?c", "abc", true},     {"a?c", "ac", false},
        {"n*x", "nginx", true}, {"n*x", "nginxy", false}, {"*a*b", "xaxbxb", true},
        {"[a-c]x", "bx", true}, {"[a-c]x", "dx", false},  {"[!a-c]x", "dx", true},
        {"[^a]", "a", false},   {"[]]", "]", true},       {"[a-]", "-", true},
        {"[ab", "[ab", true},   {"\\*", "*", true},       {"\\*", "a", false},
        {"a\\", "a\\", true},   {"a**b", "ab", true},     {"[\x80-\xff]", "\xC3", true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(cw_glob_match(rows[i].pattern, rows[i].text), rows[i].matches);
    /* Many stars take no time. */
    char text[2001] = "", pattern[201] = "";
    memset(text, 'a', 2000);
    for (int i = 0; i < 100; i++)
        memcpy(pattern + 2 * i, "a*", 2);
    pattern[199] = 'b';
    assert_false(cw_glob_match(pattern, text));
}

static void test_programs(void **state)
{
    (void)state;
    struct cw_options o;
    cw_options_default(&o);
    assert_true(cw_options_program_matches(&o, "/usr/bin/anything"));
    strcpy(o.programs, "nginx, python3*,/opt/app/*");
    assert_true(cw_options_program_matches(&o, "/usr/sbin/nginx"));
    assert_true(cw_options_program_matches(&o, "nginx"));
    assert_true(cw_options_program_matches(&o, "/usr/bin/python3.11"));
    assert_true(cw_options_program_matches(&o, "/opt/app/bin/server"));
    assert_false(cw_options_program_matches(&o, "/usr/bin/bash"));
    assert_false(cw_options_program_matches(&o, "/opt/other/server"));
    assert_false(cw_options_program_matches(&o, "/home/nginx/sh"));
    strcpy(o.programs, " , ,");
    assert_true(cw_options_program_matches(&o, "/bin/sh")); /* no pattern at all */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),       cmocka_unit_test(test_values),
        cmocka_unit_test(test_bad_values),     cmocka_unit_test(test_unknown_is_one_line),
        cmocka_unit_test(test_string_lengths), cmocka_unit_test(test_every_row),
        cmocka_unit_test(test_help_lists_all), cmocka_unit_test(test_set_by_flag_name),
        cmocka_unit_test(test_glob),           cmocka_unit_test(test_programs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
