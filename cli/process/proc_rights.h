/* Why the kernel does not let us look into a process, by its own rules (ptrace(2), "Ptrace access mode checking").
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_PROCESS_PROC_RIGHTS_H
#define CLI_PROCESS_PROC_RIGHTS_H

#include "cli/process/proc.h"

#include <stddef.h>

/* After -EACCES or -EPERM on something in /proc/PID: says which right is missing and what to do about it, as the rest of a
 * sentence: "it belongs to user 33 (www-data), this is user 1000 (joe): run as www-data, or as root (CAP_SYS_PTRACE)". */
void cw_proc_rights(const struct cw_proc *proc, char *to, size_t n);

#endif
