/* The call stack of a thread of another process, unwound by libunwind from a copy: the thread runs on meanwhile.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_PROCESS_REMOTE_STACK_H
#define CLI_PROCESS_REMOTE_STACK_H

#include "cli/process/modules.h"
#include "cli/process/snapshot.h"

enum { CW_REMOTE_FRAMES_MAX = 512 };

struct cw_remote; /* what is kept from one thread to the next: unwind tables that have been read */

/* NULL without memory. modules must outlive it. by_files: where libunwind gets stuck, go on by what the files of the program say
 * (cli/process/unwind_files.h). */
struct cw_remote *cw_remote_new(struct cw_modules *modules, bool by_files);
void cw_remote_free(struct cw_remote *remote);

struct cw_remote_stack {
    uint64_t frames[CW_REMOTE_FRAMES_MAX]; /* as words of STACKS, innermost first */
    unsigned n;
    bool whole; /* up to where the thread began */
};

/* Unwinds the snapshot; at least one frame if there is code at all. */
void cw_remote_unwind(struct cw_remote *remote, const struct cw_snapshot *snapshot, struct cw_remote_stack *ret);

#endif
