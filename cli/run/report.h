/* The report at the end of `cwguard run`: one for all processes of the run.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_RUN_REPORT_H
#define CLI_RUN_REPORT_H

#include "cli/watch/watch.h"
#include "core/options.h"

#include <stdbool.h>

/* Makes the request for the watch and its reports: the run's options win over those in the ledgers. What it refers to
 * is never freed; `options` must outlive it. 0, or -1 without memory. */
int cw_run_report_request(struct cw_request *ret, const struct cw_options *options);

/* Writes the report, or the one line without findings (on a terminal, or if asked for by verbosity). A file that is
 * named gets a report in any case, so that it never is an earlier run's. Returns whether a test run should fail. */
bool cw_run_report(struct cw_watch *watch, const struct cw_options *options);

#endif
