/* Output without stdio: a small buffer in front of one write function, with the primitives that reports are made of.
 *
 * Pure but for the write function given. Any thread, a signal handler, a forked child; one writer per struct. */
#ifndef CORE_OUT_H
#define CORE_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cw_out {
    /* Takes n bytes; 0 or negative errno. After a failure the rest is swallowed and `error` keeps the first one. */
    int (*write)(void *ctx, const void *bytes, size_t n);
    void *ctx;
    int error;
    size_t used;
    uint64_t total; /* bytes accepted so far */
    char buffer[4096];
};

void cw_out_init(struct cw_out *out, int (*write)(void *ctx, const void *bytes, size_t n), void *ctx);
int cw_out_flush(struct cw_out *out); /* the first error, or 0 */

/* A text in memory, always terminated; what does not fit is dropped. Write through a cw_out begun with cw_out_line and
 * call cw_out_flush before reading it. */
struct cw_line {
    char text[1024];
    size_t n;
};
void cw_out_line(struct cw_out *out, struct cw_line *line);

void cw_out_mem(struct cw_out *out, const void *bytes, size_t n);
void cw_out_str(struct cw_out *out, const char *s);
void cw_out_char(struct cw_out *out, char c);
void cw_out_pad(struct cw_out *out, const char *s, unsigned width); /* left-aligned, never cut */
void cw_out_u64(struct cw_out *out, uint64_t value);                /* 1204 */
void cw_out_i64(struct cw_out *out, int64_t value);
void cw_out_count(struct cw_out *out, uint64_t value);   /* 1,204 */
void cw_out_hex(struct cw_out *out, uint64_t value);     /* 1a2f */
void cw_out_duration(struct cw_out *out, uint64_t ms);   /* "850 ms", "4 s", "1 m 33 s", "2 h 5 m" */
void cw_out_safe(struct cw_out *out, const char *s);     /* control characters escaped as \x1b */
void cw_out_json_str(struct cw_out *out, const char *s); /* quoted; invalid UTF-8 becomes U+FFFD; NULL is null */
void cw_out_address(struct cw_out *out, uint8_t family, const uint8_t address[16], uint16_t port); /* as ss writes it */

#endif
