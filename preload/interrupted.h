/* Code that a signal has interrupted: its stack, and the system call that it was in.
 *
 * An unwinder would have to be entered on whatever stack the handler runs on, and libgcc's reads without looking; here each
 * step is one rule of the unwind tables (cfi.h) and one word read through the kernel, so that whatever the code was about to
 * do, nothing can fault. No malloc, no lock, some 1 KB of stack. A signal handler, also after it has changed stacks. */
#ifndef PRELOAD_INTERRUPTED_H
#define PRELOAD_INTERRUPTED_H

#include "core/proctask.h"

#include <stdbool.h>
#include <stdint.h>

struct cw_interrupted {
    uintptr_t ip, sp, bp;
    long result; /* rax: the call's number where it is about to be made again, else what it returned */
    uint64_t args[6];
};

/* From the third argument of a handler. */
void cw_interrupted_take(const void *ucontext, struct cw_interrupted *ret);

/* Its frames, innermost first: addresses as in a walk (one more than the instruction that matters). Returns how many. */
unsigned cw_interrupted_frames(const struct cw_interrupted *at, uintptr_t *ret_ip, unsigned max, bool *ret_truncated);

/* The system call that it was in, as /proc/PID/task/TID/syscall would have had it. False: in none, or the call's number cannot
 * be told any more (*ret_error, else 0). */
bool cw_interrupted_call(const struct cw_interrupted *at, struct cw_task_call *ret, int *ret_error);

#endif
