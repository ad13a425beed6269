/* What `cwguard report` is asked to report: finds the ledgers and adds them to a report in the making. What cannot
 * be had is said on stderr, and the rest goes on.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_REPORT_REPORT_TARGETS_H
#define CLI_REPORT_REPORT_TARGETS_H

#include "cli/report/render.h"

#include <stdbool.h>
#include <stddef.h>

struct cw_targets {
    struct cw_render *render;
    const char *ledger_dir; /* as cw_find_ledgers takes it */
    size_t added;
    bool failed;      /* something could not be had; a message has said what */
    bool may_be_gone; /* a process that has ended since it was found, or has no ledger any more, is passed over */
};

/* One that was found, once however often: takes over *load. The rest as in cw_render_add. */
void cw_targets_add(struct cw_targets *targets, struct cw_load *load, const char *name, enum cw_render_of of,
                    const struct cw_proc *proc);

/* A running process: by its ledger, or by what can be known from outside. */
void cw_target_process(struct cw_targets *targets, pid_t pid);

/* A ledger file; of a running process as if its pid had been given. */
void cw_target_file(struct cw_targets *targets, const char *path);

/* The ledger of the dying process that hands it over. */
void cw_target_fd(struct cw_targets *targets, int fd);

/* All running processes with a ledger that we may read. */
void cw_target_all(struct cw_targets *targets);

/* All ended ones without a report. */
void cw_target_dead(struct cw_targets *targets);

/* What an ended process of this pid has left without a report: false if nothing. Of several with that number the last. */
bool cw_target_ended(struct cw_targets *targets, pid_t pid);

#endif
