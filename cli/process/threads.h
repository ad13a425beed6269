/* What the threads of a running process are doing, entered into a private copy of its ledger: the call that each is in,
 * and the stacks of those that could be the reason why a socket stays open.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_PROCESS_THREADS_H
#define CLI_PROCESS_THREADS_H

#include "cli/ledger/load.h"
#include "cli/process/proc.h"

/* As of now_ms (of the ledger's clock), after cw_kernel_check; grace_ms: as the report will judge. What cannot be had
 * is left as it is, with the errno in the thread's record. */
void cw_threads_check(struct cw_load *load, const struct cw_proc *proc, uint32_t now_ms, uint32_t grace_ms);

/* Their states and calls alone: no thread is stopped, and no stack read. */
void cw_threads_states(struct cw_load *load, const struct cw_proc *proc, uint32_t now_ms);

#endif
