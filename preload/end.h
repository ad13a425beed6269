/* The end of the process: the last check of its sockets, and the report. */
#ifndef PRELOAD_END_H
#define PRELOAD_END_H

#include <stdbool.h>

enum cw_end_how { CW_END_EXIT, CW_END_SIGNAL };

/* Registers for the very end of exit() and quick_exit(). At load, before anything else can register. */
void cw_end_init(void);

/* Once per process, by the thread that ends it: asks the kernel about every socket, reports what has leaked, and
 * removes or keeps the ledger. status: exit status or signal. Returns; the caller ends the process. Any thread, a
 * signal handler. */
void cw_end(enum cw_end_how how, int status);

/* Likewise in a signal's handler, given its third argument: where the signal has interrupted this thread is recorded
 * as well. */
void cw_end_signal(int sig, const void *ucontext);

/* The status that quick_exit() was called with: its handlers are not told. */
void cw_end_quick_status(int status);

/* Around an exec: the next image has the sockets that survive it, and its report takes their stacks from this ledger,
 * whose file stays for that; where none survives it goes, unless it can be told beforehand that the exec fails (path:
 * the file executed, or NULL where that is not known; it is only given to the kernel, so it may be anything). After a
 * failure recording goes on; the file's name, if it went, does not come back. */
void cw_end_exec_begin(const char *path);
void cw_end_exec_failed(void);

/* Around a call that installs a seccomp filter: from the moment that it stands, the shim makes no call of its own.
 * Returns what cw_end_filter_after takes; installed: the call succeeded. */
bool cw_end_filter_before(void);
void cw_end_filter_after(bool before, bool installed);

#endif
