#include "cli/process/tasks.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_inner_tid(const void *a, const void *b)
{
    const struct cw_task *x = a, *y = b;
    return (x->inner_tid > y->inner_tid) - (x->inner_tid < y->inner_tid);
}

int cw_tasks_read(const struct cw_proc *proc, struct cw_task **ret, size_t *ret_count)
{
    bool same_ns = proc->pid_ns == cw_proc_own_pid_ns() || proc->pid == proc->inner_pid;
    struct cw_task *tasks = NULL;
    size_t count = 0, room = 0;
    const struct dirent *entry;
    char path[64];
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%d/task", (int)proc->pid);
    dir = opendir(path);
    if (!dir)
        return errno == ENOENT ? -ESRCH : -errno;
    while ((errno = 0, entry = readdir(dir))) {
        pid_t tid = (pid_t)atoi(entry->d_name);
        if (tid <= 0)
            continue;
        if (count == room) {
            room = room ? 2 * room : 64;
            struct cw_task *more = realloc(tasks, room * sizeof *tasks);
            if (!more) {
                free(tasks);
                closedir(dir);
                return -ENOMEM;
            }
            tasks = more;
        }
        tasks[count++] = (struct cw_task){.tid = tid, .inner_tid = same_ns ? tid : cw_proc_inner_pid(tid)};
    }
    int error = errno;
    closedir(dir);
    if (error) { /* a thread that is not in an incomplete list would seem to have exited */
        free(tasks);
        return error == ENOENT ? -ESRCH : -error;
    }
    if (count)
        qsort(tasks, count, sizeof *tasks, by_inner_tid);
    *ret = tasks;
    *ret_count = count;
    return 0;
}

const struct cw_task *cw_tasks_find(const struct cw_task *tasks, size_t count, pid_t inner_tid)
{
    const struct cw_task wanted = {.inner_tid = inner_tid};
    return count ? bsearch(&wanted, tasks, count, sizeof *tasks, by_inner_tid) : NULL;
}

static ssize_t read_task(pid_t pid, pid_t tid, const char *file, char text[CW_PROCTASK_BYTES])
{
    char path[64];
    ssize_t got;

    snprintf(path, sizeof path, "/proc/%d/task/%d/%s", (int)pid, (int)tid, file);
    got = cw_proc_read_small(path, text, CW_PROCTASK_BYTES);
    return got == -ENOENT ? -ESRCH : got;
}

int cw_task_stat(pid_t pid, pid_t tid, struct cw_task_stat *ret)
{
    char text[CW_PROCTASK_BYTES];
    ssize_t got = read_task(pid, tid, "stat", text);

    if (got < 0)
        return (int)got;
    return cw_proctask_stat(text, (size_t)got, ret) ? 0 : -EPROTO;
}

int cw_task_call(pid_t pid, pid_t tid, struct cw_task_call *ret)
{
    char text[CW_PROCTASK_BYTES];
    ssize_t got = read_task(pid, tid, "syscall", text);

    if (got < 0)
        return (int)got;
    return cw_proctask_syscall(text, (size_t)got, ret) ? 0 : -EPROTO;
}

int cw_task_sleeps(pid_t pid, pid_t tid, uint64_t *ret)
{
    static const char name[] = "\nvoluntary_ctxt_switches:";
    char path[64], text[8192];
    const char *line;

    snprintf(path, sizeof path, "/proc/%d/task/%d/status", (int)pid, (int)tid);
    ssize_t got = cw_proc_read_small(path, text, sizeof text);
    if (got < 0)
        return got == -ENOENT ? -ESRCH : (int)got;
    line = strstr(text, name);
    if (!line)
        return -EPROTO;
    *ret = strtoull(line + sizeof name - 1, NULL, 10);
    return 0;
}
