/* The epoll sets of a running process, from /proc/PID/fdinfo: what is registered in them now.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_PROCESS_SETS_H
#define CLI_PROCESS_SETS_H

#include "cli/process/proc.h"
#include "core/view.h"

/* Corrects what the records of listeners and of sockets in CLOSE_WAIT say of their sets, after the sockets' states were
 * entered. Sets that cannot be read leave the records as they are, with
 * the errno in the set's own. */
void cw_sets_check(struct cw_view *view, const struct cw_proc *proc);

#endif
