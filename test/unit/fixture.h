/* A made-up ledger in plain memory, with a fake symbol table and a place to write to: what unit tests of core build
 * on. */
#ifndef TEST_UNIT_FIXTURE_H
#define TEST_UNIT_FIXTURE_H

#include "core/emit.h"
#include "core/out.h"
#include "core/resolve.h"
#include "core/view.h"

#include <stddef.h>
#include <stdint.h>

enum { FIXTURE_SYMBOLS = 256, FIXTURE_MODULES = 16, FIXTURE_THREADS = 16, FIXTURE_SETS = 8, FIXTURE_FORKS = 8 };

struct fixture_symbol {
    uint64_t frame;
    const char *function, *file;
    uint32_t line;
    bool inlined;
};

struct fixture {
    struct cw_view view;
    struct cw_ledger header;
    struct fixture_symbol symbols[FIXTURE_SYMBOLS];
    unsigned n_symbols;
    struct cw_resolver resolver; /* finds what fixture_symbol entered */
    uint32_t n_strings, n_stacks, n_threads, n_sets, n_modules, n_conns;
};

/* A ledger with room for that many connections and a reasonable amount of everything else; its header says pid 4242,
 * ended by SIGTERM, kernel truth, recording since 2026-11-22T03:10:36Z. */
struct fixture *fixture_new(uint32_t conns);
void fixture_free(struct fixture *fixture);

/* Each returns the id, index or reference that a ledger would hold. */
uint32_t fixture_string(struct fixture *fixture, const char *s);
uint32_t fixture_module(struct fixture *fixture, const char *path, enum cw_module_kind kind);
uint32_t fixture_stack(struct fixture *fixture, const uint64_t *frames, unsigned n, unsigned flags);
uint32_t fixture_thread(struct fixture *fixture, int tid, const char *name);
uint16_t fixture_set(struct fixture *fixture, int fd); /* an epoll set */

/* A fork by that thread: the next of the counter. */
struct cw_fork *fixture_fork(struct fixture *fixture, uint32_t thread, uint32_t ms);

/* Names for a frame; call it again for the same frame to put it inside another function (innermost first). */
void fixture_symbol(struct fixture *fixture, uint64_t frame, const char *function, const char *file, uint32_t line);

/* An accepted IPv4 connection 10.0.0.1:8080 <- 10.0.0.2:(50000 + index), fd 16 + index, opened at open_ms. */
struct cw_conn *fixture_conn(struct fixture *fixture, uint32_t open_ms);

/* A listener on port 8080 with 3 connections waiting, of at most 128. */
struct cw_conn *fixture_listener(struct fixture *fixture, uint32_t open_ms);

/* What the kernel said of it at now_ms: CLOSE_WAIT, FIN fin_age_ms ago, last data sent sent_age_ms ago, Recv-Q 1. */
void fixture_close_wait(struct cw_conn *conn, uint32_t now_ms, uint32_t fin_age_ms, uint32_t sent_age_ms);

/* Writes a document of these reports, and flushes: what cw_emit returns. */
int fixture_emit(struct cw_out *out, const struct cw_report *const *reports, uint32_t n, enum cw_format format);

/* Text that was written: free it with fixture_text_free. */
struct fixture_text {
    struct cw_out out;
    char *text; /* terminated after fixture_text_end */
    size_t n, room;
};
void fixture_text_begin(struct fixture_text *text);
const char *fixture_text_end(struct fixture_text *text);
void fixture_text_free(struct fixture_text *text);

#endif
