/* What can be known of a process that has no recorder in it: a ledger in memory, made from /proc and sock_diag, on which all
 * that reports are made of works as on one of the recorder's.
 *
 * It holds who the process is, its listeners, the epoll sets with what is in them, and its threads; cw_kernel_check then
 * adds the sockets, cw_threads_check where the threads are. Nothing is stopped or signalled here. Single-threaded, as
 * everything in the tool. */
#ifndef CLI_PROCESS_OUTSIDE_H
#define CLI_PROCESS_OUTSIDE_H

#include "cli/ledger/load.h"
#include "cli/process/proc.h"

#include <stddef.h>

/* Makes it for a process of any kind (static, Go, musl, another namespace, stopped). Returns 0, *ret being as after
 * cw_load_ledger with spare room (free it with cw_load_free), or -1 with what is missing, and what to do about it, in `why`. */
int cw_outside_load(struct cw_load *ret, const struct cw_proc *proc, char *why, size_t why_bytes);

#endif
