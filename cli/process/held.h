/* The remark in the one who closed: sockets in CLOSE_WAIT that came through a listener of the process, that it has no
 * fd for any more, and that a child of it keeps open. The child's own report calls them held-elsewhere.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_PROCESS_HELD_H
#define CLI_PROCESS_HELD_H

#include "cli/ledger/load.h"
#include "cli/process/holders.h"
#include "cli/process/proc.h"

struct cw_held {
    const struct cw_load *load;
    const struct cw_proc *proc;
    uint32_t *inodes; /* in CLOSE_WAIT on a port that the process listens on, its own leaks among them */
    size_t count;
    bool known; /* the kernel has been asked */
};

/* Asks the kernel for the sockets in question; both arguments must outlive *ret. proc NULL: nothing is known. Free it
 * with cw_held_free. */
void cw_held_find(struct cw_held *ret, const struct cw_load *load, const struct cw_proc *proc);
void cw_held_free(struct cw_held *held);

/* Tells a report which of them children hold, by a search for holders that their inodes were part of. ledger_dir: where
 * the children's ledgers are, as cw_find_ledgers takes it: what a child has opened itself its parent has not closed. */
void cw_held_enter(const struct cw_held *held, const struct cw_holders *holders, const char *ledger_dir,
                   struct cw_report_input *in);

#endif
