/* Watching a set of processes from outside, once a second: which there are, what the kernel says of their sockets, and what
 * those that have ended leave behind.
 *
 * For each process the last look is kept, so that one that is killed between two looks is reported with the kernel's word on
 * its sockets as of the last one. Nothing in the processes is stopped or signalled by a look. Single-threaded, as everything in
 * the tool. */
#ifndef CLI_WATCH_WATCH_H
#define CLI_WATCH_WATCH_H

#include "cli/process/proc.h"
#include "cli/report/render.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct cw_watch_of {
    const char *run;   /* processes whose options say run=THIS, and the descendants of root; NULL or "": no run */
    pid_t root;        /* the run's first process, 0 none yet */
    const pid_t *pids; /* else these */
    size_t n_pids;
    bool all;               /* else every process with a ledger that we may read */
    const char *ledger_dir; /* as cw_find_ledgers takes it */
    const struct cw_request *request;
};

struct cw_watch;

/* NULL without memory. What `of` points to must outlive it. */
struct cw_watch *cw_watch_new(const struct cw_watch_of *of);
void cw_watch_free(struct cw_watch *watch);

/* One look: finds new processes, asks the kernel, takes in the ledgers of ended ones (of a run: and removes the files). */
void cw_watch_look(struct cw_watch *watch);

/* A process of the run that lives now (no zombie, not the tool itself). */
struct cw_watch_process {
    pid_t pid;
    char name[16]; /* as /proc/PID/comm has it */
    bool has_ledger;
};

/* Those that the last look found: descendants without a ledger, and what has left the tree, included. Up to max of them go to
 * ret (may be NULL with max 0); returns how many there are. */
size_t cw_watch_processes(const struct cw_watch *watch, struct cw_watch_process *ret, size_t max);

/* Live lines for leaks that have newly passed the grace period or 10, 100, 1000 sockets since the last call: to fd 2, one
 * each, never blocking. */
void cw_watch_announce(struct cw_watch *watch);

/* How the process ended, by the word of who has waited for it (a wait status): wins over what its ledger says. */
void cw_watch_ended(struct cw_watch *watch, pid_t pid, int status);

/* A report over all processes met so far that had a ledger (of a run), or over those that run now: to be built, emitted and
 * freed by the caller. NULL when there is none. */
struct cw_render *cw_watch_render(struct cw_watch *watch);

#endif
