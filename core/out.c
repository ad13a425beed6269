#include "core/out.h"

#include <string.h>

/* AF_INET and AF_INET6 by value: core/ includes no system header that declares calls. They are part of Linux's ABI. */
enum { FAMILY_INET = 2, FAMILY_INET6 = 10 };

void cw_out_init(struct cw_out *out, int (*write)(void *ctx, const void *bytes, size_t n), void *ctx)
{
    out->write = write;
    out->ctx = ctx;
    out->error = 0;
    out->used = 0;
    out->total = 0;
}

static int line_write(void *ctx, const void *bytes, size_t n)
{
    struct cw_line *line = ctx;
    size_t room = sizeof(line->text) - 1 - line->n;

    n = n < room ? n : room;
    memcpy(line->text + line->n, bytes, n);
    line->n += n;
    line->text[line->n] = 0;
    return 0;
}

void cw_out_line(struct cw_out *out, struct cw_line *line)
{
    line->n = 0;
    line->text[0] = 0;
    cw_out_init(out, line_write, line);
}

static void pass_on(struct cw_out *out, const void *bytes, size_t n)
{
    if (out->error || !n)
        return;
    int result = out->write(out->ctx, bytes, n);
    if (result < 0)
        out->error = result;
}

int cw_out_flush(struct cw_out *out)
{
    pass_on(out, out->buffer, out->used);
    out->used = 0;
    return out->error;
}

void cw_out_mem(struct cw_out *out, const void *bytes, size_t n)
{
    if (out->error)
        return;
    out->total += n;
    if (n > sizeof(out->buffer) - out->used)
        cw_out_flush(out);
    if (n >= sizeof(out->buffer)) {
        pass_on(out, bytes, n);
        return;
    }
    memcpy(out->buffer + out->used, bytes, n);
    out->used += n;
}

void cw_out_str(struct cw_out *out, const char *s)
{
    cw_out_mem(out, s, strlen(s));
}

void cw_out_char(struct cw_out *out, char c)
{
    cw_out_mem(out, &c, 1);
}

void cw_out_pad(struct cw_out *out, const char *s, unsigned width)
{
    unsigned columns = 0;
    for (const char *p = s; *p; p++)
        columns += ((unsigned char)*p & 0xC0u) != 0x80u; /* UTF-8: one column per character, not per byte */
    cw_out_str(out, s);
    for (; columns < width; columns++)
        cw_out_char(out, ' ');
}

/* Digits of value in base, at the end of buf[20]; returns where they start. */
static char *digits(char buf[20], uint64_t value, unsigned base)
{
    size_t at = 20;
    do {
        buf[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    return buf + at;
}

void cw_out_u64(struct cw_out *out, uint64_t value)
{
    char buf[20];
    char *p = digits(buf, value, 10);
    cw_out_mem(out, p, (size_t)(buf + sizeof(buf) - p));
}

void cw_out_i64(struct cw_out *out, int64_t value)
{
    if (value < 0)
        cw_out_char(out, '-');
    cw_out_u64(out, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void cw_out_count(struct cw_out *out, uint64_t value)
{
    char buf[20];
    char *end = buf + sizeof(buf);
    for (char *p = digits(buf, value, 10); p < end; p++) {
        cw_out_char(out, *p);
        if (p + 1 < end && (end - p - 1) % 3 == 0)
            cw_out_char(out, ',');
    }
}

void cw_out_hex(struct cw_out *out, uint64_t value)
{
    char buf[20];
    char *p = digits(buf, value, 16);
    cw_out_mem(out, p, (size_t)(buf + sizeof(buf) - p));
}

static void two_units(struct cw_out *out, uint64_t big, const char *big_unit, uint64_t small, const char *small_unit)
{
    cw_out_u64(out, big);
    cw_out_str(out, big_unit);
    if (small) {
        cw_out_char(out, ' ');
        cw_out_u64(out, small);
        cw_out_str(out, small_unit);
    }
}

void cw_out_duration(struct cw_out *out, uint64_t ms)
{
    uint64_t s = ms / 1000;

    if (ms < 1000)
        two_units(out, ms, " ms", 0, "");
    else if (s < 60)
        two_units(out, s, " s", 0, "");
    else if (s < 3600)
        two_units(out, s / 60, " m", s % 60, " s");
    else if (s < 86400)
        two_units(out, s / 3600, " h", s % 3600 / 60, " m");
    else
        two_units(out, s / 86400, " d", s % 86400 / 3600, " h");
}

/* The length of the valid UTF-8 sequence at p, its character in *ret; 0 if there is none (p is not at a NUL). Reads no
 * further than the first byte that does not fit, so never past the NUL. */
static unsigned utf8_next(const unsigned char *p, uint32_t *ret)
{
    if (p[0] < 0x80) {
        *ret = p[0];
        return 1;
    }
    unsigned n = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    if (p[0] < 0xC2 || p[0] > 0xF4)
        return 0;
    uint32_t c = p[0] & (0xFFu >> (n + 1));
    for (unsigned i = 1; i < n; i++) {
        if ((p[i] & 0xC0u) != 0x80u)
            return 0;
        c = c << 6 | (p[i] & 0x3Fu);
    }
    static const uint32_t shortest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (c < shortest[n] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
        return 0;
    *ret = c;
    return n;
}

/* Characters that a terminal would act upon: C0, DEL, C1, and those that turn the direction of text or break lines. */
static bool is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0x200E && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E) ||
           (c >= 0x2066 && c <= 0x2069);
}

/* Writes what is ASCII and stands for itself everywhere, at once; returns where that ends. */
static const unsigned char *out_plain(struct cw_out *out, const unsigned char *p)
{
    size_t n = 0;
    while (p[n] >= 0x20 && p[n] < 0x7F && p[n] != '"' && p[n] != '\\')
        n++;
    if (n)
        cw_out_mem(out, p, n);
    return p + n;
}

void cw_out_safe(struct cw_out *out, const char *s)
{
    const unsigned char *p = out_plain(out, (const unsigned char *)s);

    for (; *p; p = out_plain(out, p)) {
        uint32_t c = 0;
        unsigned n = utf8_next(p, &c);
        if (n && !is_control(c)) {
            cw_out_mem(out, p, n);
            p += n;
            continue;
        }
        for (n = n ? n : 1; n; n--, p++) {
            cw_out_str(out, "\\x");
            cw_out_char(out, "0123456789abcdef"[*p >> 4]);
            cw_out_char(out, "0123456789abcdef"[*p & 15]);
        }
    }
}

static void json_control(struct cw_out *out, unsigned char c)
{
    static const char named[][3] = {['\b'] = "\\b", ['\t'] = "\\t", ['\n'] = "\\n", ['\f'] = "\\f", ['\r'] = "\\r"};
    if (c < sizeof(named) / sizeof(named[0]) && named[c][0]) {
        cw_out_str(out, named[c]);
        return;
    }
    cw_out_str(out, "\\u00");
    cw_out_char(out, "0123456789abcdef"[c >> 4]);
    cw_out_char(out, "0123456789abcdef"[c & 15]);
}

void cw_out_json_str(struct cw_out *out, const char *s)
{
    if (!s) {
        cw_out_str(out, "null");
        return;
    }
    cw_out_char(out, '"');
    for (const unsigned char *p = out_plain(out, (const unsigned char *)s); *p; p = out_plain(out, p)) {
        uint32_t c = 0;
        unsigned n = utf8_next(p, &c);
        if (!n) {
            cw_out_str(out, "\xEF\xBF\xBD");
            p++;
            continue;
        }
        if (c < 0x20 || c == 0x7F) {
            json_control(out, *p);
        } else {
            if (c == '"' || c == '\\')
                cw_out_char(out, '\\');
            cw_out_mem(out, p, n);
        }
        p += n;
    }
    cw_out_char(out, '"');
}

static void address4(struct cw_out *out, const uint8_t *a)
{
    for (int i = 0; i < 4; i++) {
        if (i)
            cw_out_char(out, '.');
        cw_out_u64(out, a[i]);
    }
}

/* As inet_ntop does it (RFC 5952): the first longest run of two or more zero words is "::". */
static void address6(struct cw_out *out, const uint8_t *a)
{
    unsigned word[8], best = 8, best_len = 1;

    for (unsigned i = 0; i < 8; i++)
        word[i] = (unsigned)a[2 * i] << 8 | a[2 * i + 1];
    for (unsigned i = 0, len; i < 8; i += len + 1) {
        for (len = 0; i + len < 8 && !word[i + len]; len++)
            ;
        if (len > best_len) {
            best = i;
            best_len = len;
        }
    }
    bool holds_v4 = best == 0 && (best_len == 6 || (best_len == 5 && word[5] == 0xFFFF));
    for (unsigned i = 0; i < 8; i++) {
        if (i == best) {
            cw_out_str(out, "::");
            i += best_len - 1;
            continue;
        }
        if (i && i != best + best_len)
            cw_out_char(out, ':');
        if (i == 6 && holds_v4) {
            address4(out, a + 12);
            return;
        }
        cw_out_hex(out, word[i]);
    }
}

void cw_out_address(struct cw_out *out, uint8_t family, const uint8_t address[16], uint16_t port)
{
    if (family == FAMILY_INET) {
        address4(out, address);
    } else if (family == FAMILY_INET6) {
        cw_out_char(out, '[');
        address6(out, address);
        cw_out_char(out, ']');
    } else {
        cw_out_char(out, '?');
    }
    cw_out_char(out, ':');
    if (port)
        cw_out_u64(out, port);
    else
        cw_out_char(out, '*');
}
