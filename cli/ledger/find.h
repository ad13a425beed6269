/* Finding ledgers: files named PIDNS.PID.STARTTIME.RANDOM.cwg in directories whose owner is checked.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_LEDGER_FIND_H
#define CLI_LEDGER_FIND_H

#include "cli/process/proc.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct cw_found {
    char path[PATH_MAX];
    uint64_t pid_ns; /* these three are what the name says */
    pid_t pid;
    uint64_t start_ticks;
    int fd; /* open for reading; closed by the caller of each() after it has returned */
};

/* Calls `each` for every ledger in ledger_dir or, if that is "", in every /dev/shm/cwguard-UID that belongs to UID
 * and that we may read; `root` ("" or "/proc/PID/root") goes before a default directory. `each` returns whether to go
 * on. Returns how many it was called for. */
unsigned cw_find_ledgers(const char *root, const char *ledger_dir,
                         bool (*each)(void *ctx, const struct cw_found *found), void *ctx);

/* Likewise, but asks `wanted` first, with what the name says (fd -1), whether the file is to be opened at all. */
unsigned cw_find_ledgers_if(const char *root, const char *ledger_dir,
                            bool (*wanted)(void *ctx, const struct cw_found *found),
                            bool (*each)(void *ctx, const struct cw_found *found), void *ctx);

/* The ledger that a process has mapped, wherever it lies: in another directory, another mount namespace, or
 * deleted. 0 with ret->fd to be closed by the caller, or negative errno: -ENOENT it has none; -EACCES, -EPERM we
 * may not look. */
int cw_find_mapped(const struct cw_proc *proc, struct cw_found *ret);

#endif
