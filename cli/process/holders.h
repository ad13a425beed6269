/* Which processes have the sockets of some ledgers open, their own processes included: from /proc/PID/fd of all of them.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_PROCESS_HOLDERS_H
#define CLI_PROCESS_HOLDERS_H

#include "cli/process/proc.h"
#include "core/report.h"

/* Longer than this nobody is looked at. */
#define CW_HOLDERS_MS 500

struct cw_holders {
    struct cw_holder *list; /* sorted by inode, pid, fd */
    uint32_t count;
    uint32_t refused;  /* processes that did not let us look */
    pid_t refused_pid; /* the first of them */
    int refused_errno; /* with what */
    pid_t *seen;       /* processes that did, sorted */
    uint32_t n_seen;
    int error; /* 0: all that could be looked at were; else errno: the list is not complete */
};

/* One search for many. */
struct cw_holders_wanted {
    uint32_t *inodes;
    size_t count, room;
    bool no_memory; /* the search will say so */
};

/* Adds the sockets that are in CLOSE_WAIT, or failed, by the records (after they were checked), and n_more others, by
 * inode. */
void cw_holders_want(struct cw_holders_wanted *wanted, const struct cw_view *view, const uint32_t *more, size_t n_more);

/* Looks for them, and frees the list. Pids are as seen from here. Free *ret with cw_holders_free. */
void cw_holders_find(struct cw_holders *ret, struct cw_holders_wanted *wanted);
void cw_holders_free(struct cw_holders *holders);

/* Whether all fds of that process were seen. */
bool cw_holders_saw(const struct cw_holders *holders, pid_t pid);

/* Hands them to a report; they must outlive it. */
void cw_holders_enter(const struct cw_holders *holders, struct cw_report_input *in);

#endif
