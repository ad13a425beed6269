/* core/out.c and core/names.c: what every report is made of. */
#include "core/names.h"
#include "test/unit/fixture.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define EXPECT(call, expected)                                                                                         \
    do {                                                                                                               \
        struct fixture_text text;                                                                                      \
        fixture_text_begin(&text);                                                                                     \
        struct cw_out *out = &text.out;                                                                                \
        call;                                                                                                          \
        assert_string_equal(fixture_text_end(&text), expected);                                                        \
        fixture_text_free(&text);                                                                                      \
    } while (0)

static void test_numbers(void **state)
{
    (void)state;
    EXPECT(cw_out_u64(out, 0), "0");
    EXPECT(cw_out_u64(out, UINT64_MAX), "18446744073709551615");
    EXPECT(cw_out_i64(out, INT64_MIN), "-9223372036854775808");
    EXPECT(cw_out_i64(out, -1), "-1");
    EXPECT(cw_out_count(out, 0), "0");
    EXPECT(cw_out_count(out, 999), "999");
    EXPECT(cw_out_count(out, 1204), "1,204");
    EXPECT(cw_out_count(out, 1000000), "1,000,000");
    EXPECT(cw_out_count(out, UINT64_MAX), "18,446,744,073,709,551,615");
    EXPECT(cw_out_hex(out, 0), "0");
    EXPECT(cw_out_hex(out, 0x1a2f), "1a2f");
    EXPECT(cw_out_hex(out, UINT64_MAX), "ffffffffffffffff");
}

static void test_times(void **state)
{
    (void)state;
    EXPECT(cw_out_duration(out, 0), "0 ms");
    EXPECT(cw_out_duration(out, 850), "850 ms");
    EXPECT(cw_out_duration(out, 4999), "4 s");
    EXPECT(cw_out_duration(out, 60000), "1 m");
    EXPECT(cw_out_duration(out, 93000), "1 m 33 s");
    EXPECT(cw_out_duration(out, 7500000), "2 h 5 m");
    EXPECT(cw_out_duration(out, 86400000), "1 d");
    EXPECT(cw_out_duration(out, 100000000), "1 d 3 h");
    EXPECT(cw_out_age(out, 93900), "93 s");
    EXPECT(cw_out_age(out, 999), "999 ms");
    EXPECT(cw_out_age(out, 600000), "10 m");
}

/* gmtime_r is the judge, over leap years, century years and month ends. */
static void test_utc(void **state)
{
    (void)state;
    EXPECT(cw_out_utc(out, UINT64_C(1795317129) * 1000000000), "2026-11-22T03:12:09Z");
    for (uint64_t s = 0; s < UINT64_C(16000000000); s += 86400 * 13 + 12345) {
        time_t t = (time_t)s;
        struct tm tm;
        char expected[40];
        assert_non_null(gmtime_r(&t, &tm));
        strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%SZ", &tm);
        EXPECT(cw_out_utc(out, s * 1000000000), expected);
    }
}

static void test_pad(void **state)
{
    (void)state;
    EXPECT(cw_out_pad(out, "ab", 4), "ab  ");
    EXPECT(cw_out_pad(out, "abcdef", 4), "abcdef");
    EXPECT(cw_out_pad(out, "\xC3\xA4", 3), "\xC3\xA4  ");
}

static void test_safe(void **state)
{
    (void)state;
    EXPECT(cw_out_safe(out, "plain \xC3\xA4 \xE2\x82\xAC \xF0\x9F\x98\x80"),
           "plain \xC3\xA4 \xE2\x82\xAC \xF0\x9F\x98\x80");
    EXPECT(cw_out_safe(out, "a\x1b[31m\n\x7f"), "a\\x1b[31m\\x0a\\x7f");
    EXPECT(cw_out_safe(out, "\xC2\x9B"), "\\xc2\\x9b");          /* C1: a terminal's CSI */
    EXPECT(cw_out_safe(out, "\xE2\x80\xAE"), "\\xe2\\x80\\xae"); /* right-to-left override */
    EXPECT(cw_out_safe(out, "\xFF\xC3"), "\\xff\\xc3");          /* no UTF-8, cut short */
    EXPECT(cw_out_safe(out, "\xC0\x80"), "\\xc0\\x80");          /* overlong */
    EXPECT(cw_out_safe(out, "\xED\xA0\x80"), "\\xed\\xa0\\x80"); /* surrogate */
}

static void test_json_str(void **state)
{
    (void)state;
    EXPECT(cw_out_json_str(out, NULL), "null");
    EXPECT(cw_out_json_str(out, "a\"b\\c\n\t\x01\x7f"), "\"a\\\"b\\\\c\\n\\t\\u0001\\u007f\"");
    EXPECT(cw_out_json_str(out, "\xC3\xA4"), "\"\xC3\xA4\"");
    EXPECT(cw_out_json_str(out, "\xFFx\xE2\x82"), "\"\xEF\xBF\xBDx\xEF\xBF\xBD\xEF\xBF\xBD\"");
    EXPECT(cw_out_json_str(out, "\xF4\x90\x80\x80"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

static void expect_address(int family, const void *address, const char *expected)
{
    char ntop[INET6_ADDRSTRLEN], whole[INET6_ADDRSTRLEN + 16];

    assert_non_null(inet_ntop(family, address, ntop, sizeof(ntop)));
    snprintf(whole, sizeof(whole), family == AF_INET6 ? "[%s]:443" : "%s:443", ntop);
    if (expected)
        assert_string_equal(whole, expected);
    uint8_t bytes[16] = {0};
    memcpy(bytes, address, family == AF_INET6 ? 16 : 4);
    EXPECT(cw_out_address(out, (uint8_t)family, bytes, 443), whole);
}

/* inet_ntop is the judge: every pattern of zero and other words, and those that end in an IPv4 address. */
static void test_addresses(void **state)
{
    (void)state;
    expect_address(AF_INET, (uint8_t[4]){10, 0, 255, 1}, "10.0.255.1:443");
    expect_address(AF_INET6, (uint8_t[16]){[15] = 1}, "[::1]:443");
    expect_address(AF_INET6, (uint8_t[16]){[10] = 255, [11] = 255, [12] = 127, [15] = 1}, "[::ffff:127.0.0.1]:443");
    for (unsigned bits = 0; bits < 256; bits++)
        for (unsigned value = 0; value < 3; value++) {
            static const uint8_t words[3][2] = {{0, 1}, {0xFF, 0xFF}, {0xA, 0xB0}};
            uint8_t address[16] = {0};
            for (unsigned i = 0; i < 8; i++)
                if (bits & (1u << i))
                    memcpy(address + 2 * i, words[value], 2);
            expect_address(AF_INET6, address, NULL);
        }
    uint8_t any[16] = {0};
    EXPECT(cw_out_address(out, AF_INET, any, 0), "0.0.0.0:*");
    EXPECT(cw_out_address(out, 0, any, 80), "?:80");
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(cw_call_name(CW_CALL_recv), "recv");
    assert_string_equal(cw_call_name(CW_CALL_stdio), "stdio");
    assert_null(cw_call_name(CW_CALL_none));
    assert_null(cw_call_name(CW_CALL_COUNT));
    assert_null(cw_call_name(255));
    assert_string_equal(cw_origin_id(CW_ORIGIN_UNTRACKED), "untracked");
    assert_string_equal(cw_origin_words(200), "unknown");
    assert_string_equal(cw_tcp_state_name(8), "CLOSE_WAIT");
    assert_null(cw_tcp_state_name(0));
    assert_null(cw_tcp_state_name(13));
    EXPECT(cw_out_signal(out, 15), "SIGTERM");
    EXPECT(cw_out_signal(out, 31), "SIGSYS");
    EXPECT(cw_out_signal(out, 64), "signal 64");
    EXPECT(cw_out_signal(out, -5), "signal -5");
}

struct failing {
    int calls, fail_at;
    size_t bytes;
};

static int fail_write(void *ctx, const void *bytes, size_t n)
{
    struct failing *failing = ctx;
    (void)bytes;
    if (++failing->calls >= failing->fail_at)
        return -(100 + failing->calls);
    failing->bytes += n;
    return 0;
}

static void test_buffer_and_errors(void **state)
{
    (void)state;
    struct failing failing = {.fail_at = 3};
    struct cw_out out;
    char big[3 * sizeof(out.buffer)];

    memset(big, 'x', sizeof(big));
    cw_out_init(&out, fail_write, &failing);
    cw_out_str(&out, "small");
    assert_int_equal(failing.calls, 0);
    cw_out_mem(&out, big, sizeof(big)); /* the small piece first, then the big one in one go */
    assert_int_equal(failing.calls, 2);
    assert_int_equal(failing.bytes, 5 + sizeof(big));
    assert_int_equal(out.total, 5 + sizeof(big));
    cw_out_str(&out, "lost");
    assert_int_equal(cw_out_flush(&out), -103);
    cw_out_mem(&out, big, sizeof(big));
    assert_int_equal(cw_out_flush(&out), -103); /* the first error stays, nothing more is tried */
    assert_int_equal(failing.calls, 3);
}

static void test_line(void **state)
{
    (void)state;
    struct cw_out out;
    struct cw_line line;

    cw_out_line(&out, &line);
    assert_string_equal(line.text, "");
    for (unsigned i = 0; i < 3000; i++)
        cw_out_char(&out, (char)('a' + i % 26));
    assert_int_equal(cw_out_flush(&out), 0);
    assert_int_equal(strlen(line.text), sizeof(line.text) - 1);
    assert_int_equal(line.n, sizeof(line.text) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),   cmocka_unit_test(test_times),
        cmocka_unit_test(test_utc),       cmocka_unit_test(test_pad),
        cmocka_unit_test(test_safe),      cmocka_unit_test(test_json_str),
        cmocka_unit_test(test_addresses), cmocka_unit_test(test_names),
        cmocka_unit_test(test_line),      cmocka_unit_test(test_buffer_and_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
