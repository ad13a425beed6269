/* What `cwguard run` does while its program runs, and until the processes that the program has left behind are done:
 * it looks at them all, passes signals on, waits for children, reports.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_RUN_LOOP_H
#define CLI_RUN_LOOP_H

#include "cli/watch/watch.h"
#include "core/options.h"

#include <stdint.h>
#include <sys/types.h>

struct cw_run_loop {
    const char *name; /* of the program, as it was given */
    pid_t program;
    struct cw_watch *watch;
    const struct cw_options *options;
    uint32_t interval_ms;     /* between two looks */
    uint32_t stop_timeout_ms; /* how long after SIGTERM this process may be killed; 0: nobody will */
    int exitcode;             /* where leaks were found; 0: the program's own */
};

/* Returns the exit code for the whole: the program's, as a shell shows it, unless there is another for leaks. */
int cw_run_loop(const struct cw_run_loop *run);

/* Without a watch: passes signals on until the program has ended. Returns its exit code as a shell shows it. */
int cw_run_loop_wait(pid_t program);

#endif
