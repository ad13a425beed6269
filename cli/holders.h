/* Which processes have a ledger's sockets open, the process itself included: from /proc/PID/fd of all of them.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_HOLDERS_H
#define CLI_HOLDERS_H

#include "cli/proc.h"
#include "core/report.h"

/* Longer than this nobody is looked at. */
#define CW_HOLDERS_MS 500

struct cw_holders {
    struct cw_holder *list; /* sorted by inode, pid, fd */
    uint32_t count;
    uint32_t refused;  /* processes that did not let us look */
    pid_t refused_pid; /* the first of them */
    int refused_errno; /* with what */
    bool own_seen;     /* the process itself did */
    int error;         /* 0: all that could be looked at were; else errno: the list is not complete */
};

/* Looks for the sockets that are in CLOSE_WAIT, or failed, by the records (after they were checked), and for n_more
 * others, by inode. proc: the process itself, may be NULL. Pids are as seen from here. Free it with cw_holders_free. */
void cw_holders_find(struct cw_holders *ret, const struct cw_view *view, const struct cw_proc *proc,
                     const uint32_t *more, size_t n_more);
void cw_holders_free(struct cw_holders *holders);

/* Hands them to a report; they must outlive it. */
void cw_holders_enter(const struct cw_holders *holders, struct cw_report_input *in);

#endif
