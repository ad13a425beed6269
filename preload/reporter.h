/* Getting the report out of a dying process: run `cwguard report`, or print it ourselves.
 *
 * Raw system calls only. Called once per process, by the thread that ends it, possibly in a signal handler. */
#ifndef PRELOAD_REPORTER_H
#define PRELOAD_REPORTER_H

#include <stdbool.h>

/* At load: finds the tool (option reporter=PATH, else `cwguard` beside the library, else ../bin/cwguard from there) and
 * keeps its path, device and inode, so that nothing put there later is run. */
void cw_reporter_init(void);

/* Renders the ledger to out_fd (or, with option log_path, wherever the tool puts it): the tool if it can be run and
 * ends well within 5 s, else our own rendering (core's emitters with names from the loaded objects' symbol tables, no
 * file:line), followed by the command that resolves the ledger. `may_spawn` false: a seccomp filter forbids it. Returns
 * 1 when a complete report is out and the ledger is no longer needed, 0 when the ledger must be kept. */
int cw_reporter_run(int out_fd, bool may_spawn);

#endif
