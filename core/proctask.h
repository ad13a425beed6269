/* /proc/PID/task/TID: what a thread is doing, from the two files that say so, stat and syscall.
 *
 * Used by the dying process on its own threads and by the tool on another's. Pure: any thread, a signal handler, a forked
 * child. Source: proc(5); do_task_stat in the kernel's fs/proc/array.c, proc_pid_syscall in fs/proc/base.c. */
#ifndef CORE_PROCTASK_H
#define CORE_PROCTASK_H

#include "include/cwguard_ledger.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that are enough for a whole file. */
#define CW_PROCTASK_BYTES 1024

struct cw_task_stat {
    char state;           /* R S D T t Z X I … */
    uint64_t start_ticks; /* field 22: when the thread began, in clock ticks since boot */
    uint64_t start_stack; /* field 28: the main thread's stack begins here; 0 where the kernel does not tell */
};

/* Reads the text (n bytes) of …/stat; false (with *ret undefined) if it makes no sense. */
bool cw_proctask_stat(const char *text, size_t n, struct cw_task_stat *ret);

/* Whether a thread that began at start_ticks cannot be the one of this record: it began only after that had touched a socket.
 * (The number of one that has exited may be given to another.) suspended_ns: for how long the machine was suspended since it
 * was started, CLOCK_BOOTTIME minus CLOCK_MONOTONIC: ticks count that time, the ledger's clock does not. */
bool cw_proctask_is_another(const struct cw_ledger *header, const struct cw_thread *thread, uint64_t start_ticks,
                            uint64_t suspended_ns);

struct cw_task_call {
    int nr;           /* number of the system call that the thread is in, or CW_SYSCALL_NONE */
    uint64_t args[6]; /* its arguments */
    uint64_t sp, pc;  /* of the program; 0 while it is running */
};

/* Reads the text (n bytes) of …/syscall likewise. */
bool cw_proctask_syscall(const char *text, size_t n, struct cw_task_call *ret);

/* The fd that the call works on, 0 if it works on none (or on fd 0: not told apart). */
int32_t cw_proctask_fd(const struct cw_task_call *call);

/* The address of the lock that the call waits for if it is a contended mutex of glibc, else 0. The thread that holds it is
 * the int CW_MUTEX_OWNER_BYTES above, as far as that is a thread of the same process. */
uint64_t cw_proctask_mutex(const struct cw_task_call *call);
#define CW_MUTEX_OWNER_BYTES 8u

#endif
