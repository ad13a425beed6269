/* A copy of a ledger to take along: what was read from a process, completed by what the kernel and /proc have said, as a
 * ledger file that any cwguard of the same version reads, on any machine.
 *
 * The copy holds everything: addresses, labels, the command line. Single-threaded, as everything in the tool. */
#ifndef CLI_LEDGER_SAVE_H
#define CLI_LEDGER_SAVE_H

#include "cli/ledger/load.h"

/* Writes the private copy to `path`, mode 0600, whole or not at all. Call it after cw_kernel_check and cw_threads_check.
 * The copy of a process that runs gets CW_HEADER_SAVED and speaks of the moment truth_ms. What the ledger has no place for
 * is not in it: which other processes hold a socket, names of JIT-compiled code. Only a ledger is written over. Returns
 * 0, or -1 with what is wrong, and what to do about it, in `why` (why_bytes > 0), to be printed after the path. */
int cw_save(const struct cw_load *load, const char *path, char *why, size_t why_bytes);

#endif
