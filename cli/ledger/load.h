/* Reading a ledger: from a file that may be cut, sparse, still being written or hostile, to a private view.
 *
 * Everything is read with pread into memory of our own, never mapped: a file that is truncated meanwhile would raise
 * SIGBUS. Only records in use are read, at most CW_LOAD_MAX_BYTES in all. Single-threaded, as all of the tool. */
#ifndef CLI_LEDGER_LOAD_H
#define CLI_LEDGER_LOAD_H

#include "core/view.h"

#include <stdbool.h>
#include <stddef.h>

/* With what a report over it takes, at most 64 MiB: a hostile file can do no more harm than that. */
#define CW_LOAD_MAX_BYTES (32u << 20)
#define CW_LOAD_SPARE_STACKS 64u

struct cw_load {
    struct cw_view view; /* the header's strings are terminated, its sections say what was read */
    uint64_t file_bytes;
    uint64_t memory_bytes; /* that it takes here */
    char remark[160];      /* what is missing in what was read, "" if nothing */
    void *memory[CW_SECTION_COUNT + 1];
};

/* Reads the ledger behind fd, which stays the caller's. Returns 0, or -1 with what is wrong, and what to do about it,
 * in `why` (why_bytes > 0). spare: with room for what the functions below add. Free it with cw_load_free. */
int cw_load_ledger(struct cw_load *ret, int fd, bool spare, char *why, size_t why_bytes);

/* One that no file stands behind: a zeroed header, and in each section room for so many records besides record 0. Returns 0,
 * or -1 without memory. Free it with cw_load_free. */
int cw_load_empty(struct cw_load *ret, const uint32_t room[CW_SECTION_COUNT]);

/* A fresh zeroed connection record, as struct cw_truth_check wants it (ctx: a struct cw_load); 0 when there is no
 * room. */
uint32_t cw_load_new_conn(void *ctx);

/* Add to the private copy; the id or index, 0 when there is no room. Of a stack with more than CW_STACK_MAX_FRAMES
 * frames the inner ones are kept. */
uint32_t cw_load_add_module(struct cw_load *load, const struct cw_module *module);
uint32_t cw_load_add_string(struct cw_load *load, const char *text);
uint32_t cw_load_add_stack(struct cw_load *load, const uint64_t *frames, unsigned n, unsigned flags);

void cw_load_free(struct cw_load *load);

/* Opens a ledger file without waiting for a FIFO's writer: an fd, or negative errno. */
int cw_load_open(int dir_fd, const char *path);

#endif
