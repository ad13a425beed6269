/* Kernel truth from outside: asks sock_diag and /proc/PID/fd which sockets of a process are in CLOSE_WAIT now, and
 * corrects a private copy of its ledger.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_PROCESS_KERNEL_H
#define CLI_PROCESS_KERNEL_H

#include "cli/ledger/load.h"
#include "cli/process/proc.h"
#include "core/sockdiag.h"

/* Corrects load's records as of now_ms (of the ledger's clock). Returns 0, or -1 with the reason, and what is
 * missing, in `why`; the records are then as they were. */
int cw_kernel_check(struct cw_load *load, const struct cw_proc *proc, uint32_t now_ms, char *why, size_t why_bytes);

/* The sockets in CLOSE_WAIT of all processes in the network namespace of this one: 0 with *ret to be freed, or negative
 * errno. */
int cw_kernel_list_close_wait(pid_t pid, struct cw_sock **ret, size_t *ret_count);

/* Likewise those in any of these states: 1u << TCP_LISTEN and so on. */
int cw_kernel_list(pid_t pid, uint32_t states, struct cw_sock **ret, size_t *ret_count);

#endif
