/* The pieces that preload/ledger_*.c and the reporter share: transient fds, small /proc files, the ledger's geometry,
 * its identity, pruning, and a look at the ledger that cannot fault.
 *
 * Raw system calls only. Any thread, a signal handler, a forked child, unless said otherwise. */
#ifndef PRELOAD_LEDGER_PARTS_H
#define PRELOAD_LEDGER_PARTS_H

#include "preload/state.h"

#include <stddef.h>
#include <sys/types.h>

/* --- transient fds (ledger_fd.c) --- */

/* openat with O_CLOEXEC, moved out of the way of the program's low numbers. The fd, or negative errno. */
int cw_fd_open(int dirfd, const char *path, int flags, unsigned mode);

/* Moves a new fd to a high number (close-on-exec); never leaves it at 0, 1 or 2. Takes over fd, also on failure. */
int cw_fd_lift(int fd);

/* Reads a small file into buf, which becomes NUL-terminated: bytes read, or negative errno. */
ssize_t cw_file_read(const char *path, char *buf, size_t size);

/* The soft limit of a resource (RLIMIT_*), in its own unit. UINT64_MAX: none. */
uint64_t cw_limit_soft(int resource);

/* --- geometry (ledger_shape.c) --- */

struct cw_ledger_shape {
    uint32_t capacity[CW_SECTION_COUNT]; /* records */
    uint64_t offset[CW_SECTION_COUNT];   /* bytes */
    uint64_t total_bytes;
};
extern const uint32_t cw_section_strides[CW_SECTION_COUNT]; /* bytes of a record */

#define CW_SHAPE_LEVELS 6u

/* The geometry for an fd limit; each level is smaller than the one before, the last one is what is still useful. */
void cw_shape_make(struct cw_ledger_shape *ret_shape, uint32_t fd_limit, unsigned level);

/* --- identity (ledger_identity.c) --- */

/* At load: keeps CWGUARD_OPTIONS as it is now. */
void cw_identity_init(void);

/* Which process a ledger belongs to. */
struct cw_identity {
    uint64_t pid_ns; /* inode of the pid namespace, 0 unknown */
    uint64_t start_ticks;
    int32_t pid;
};
void cw_identity_of_self(struct cw_identity *ret_identity);

/* Field 22 of a /proc/PID/stat text, 0 if it makes no sense. */
uint64_t cw_identity_ticks(const char *stat_text);

/* Fills the header's part from pid to options; times included. */
void cw_identity_fill(struct cw_ledger *header, const struct cw_identity *self);

/* --- place (ledger_place.c) --- */

#define CW_PLACE_DEFAULT_BYTES 48
void cw_place_default(char ret_dir[CW_PLACE_DEFAULT_BYTES]);

/* A directory of ours alone on a tmpfs, made if it is missing: its fd, or negative errno (cw_ledger_dir_error). */
int cw_place_open_dir(const char *path);

/* Creates an empty ledger file, whose name it leaves in CW_P->ledger_path: its fd, or negative errno. */
int cw_place_create_file(int dirfd, const char *dir, const struct cw_identity *self);

/* --- dead ledgers (ledger_prune.c) --- */

#define CW_PRUNE_MAX_BYTES (UINT64_C(64) << 20)

/* See cw_ledger_create. dirfd is the ledger directory; `self` names the caller, whose own earlier images (before an
 * exec) count as dead. Returns whether it has seen one of those. */
bool cw_ledger_prune(int dirfd, const struct cw_identity *self);

/* Removes the ledgers of earlier images of `self`, beside the one of this name. */
void cw_ledger_remove_earlier(int dirfd, const struct cw_identity *self, const char *name);

/* --- looking at the ledger --- */

/* Whether the byte at this offset of the ledger may be read without a fault. */
bool cw_ledger_is_real(uint64_t offset);

/* Bytes of a section that are in use, from its start. */
uint64_t cw_ledger_used_bytes(enum cw_section_id section);

/* Calls `each` for every piece of the ledger (at most a chunk) that is in use and real, in file order: header, then
 * sections. A non-zero answer ends it and is returned. */
int cw_ledger_each_piece(int (*each)(void *ctx, uint64_t offset, const void *bytes, size_t n), void *ctx);

/* A view for one reader. Of a file: a private copy in fresh memory (what lies in holes reads zero); of anonymous
 * memory: the live one. n_* are what is in use. 0 or negative errno. */
int cw_ledger_snapshot(struct cw_view *ret_view);

/* Memory that was mapped along with an anonymous ledger, for rendering it when not even mmap may be called. NULL if the
 * ledger is a file. */
void *cw_ledger_spare(size_t *ret_bytes);

#endif
