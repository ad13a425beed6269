/* The threads of a process as /proc shows them.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_PROCESS_TASKS_H
#define CLI_PROCESS_TASKS_H

#include "cli/process/proc.h"
#include "core/proctask.h"

struct cw_task {
    pid_t inner_tid; /* as the process itself sees it, in its own pid namespace */
    pid_t tid;       /* as seen from here */
};

/* All its threads, sorted by inner_tid: 0 with *ret to be freed, or negative errno. */
int cw_tasks_read(const struct cw_proc *proc, struct cw_task **ret, size_t *ret_count);

/* The thread of that number, or NULL. */
const struct cw_task *cw_tasks_find(const struct cw_task *tasks, size_t count, pid_t inner_tid);

/* State and system call of a thread: 0, or negative errno (-ESRCH: it is gone). */
int cw_task_stat(pid_t pid, pid_t tid, struct cw_task_stat *ret);
int cw_task_call(pid_t pid, pid_t tid, struct cw_task_call *ret);

/* How often it has gone to sleep of its own accord, as in …/status: 0 with *ret, or negative errno. */
int cw_task_sleeps(pid_t pid, pid_t tid, uint64_t *ret);

#endif
