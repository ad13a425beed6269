#include "cli/report/render_process.h"

#include "cli/process/tasks.h"

#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <sys/syscall.h>

/* --- threads --- */

static void translate_tid(const struct cw_task *tasks, size_t count, int32_t *tid)
{
    const struct cw_task *task = *tid > 0 ? cw_tasks_find(tasks, count, *tid) : NULL;

    /* One that has ended has no number any more; what it was called inside is as good as any. */
    if (task)
        *tid = task->tid;
}

static void translate_threads(struct cw_view *view, const struct cw_proc *proc)
{
    uint32_t used = view->header->sections[CW_SECTION_THREADS].used;
    struct cw_task *tasks = NULL;
    size_t count = 0;

    if (cw_tasks_read(proc, &tasks, &count) < 0)
        return;
    for (uint32_t i = 1; i < used && i < view->n_threads; i++) {
        struct cw_thread *thread = &view->threads[i];
        translate_tid(tasks, count, &thread->tid);
        if (thread->k_syscall == SYS_futex) /* who holds the lock */
            translate_tid(tasks, count, &thread->k_object);
    }
    free(tasks);
}

/* --- children --- */

static bool has_forks(const struct cw_view *view)
{
    for (uint32_t i = 0; i < view->n_forks; i++)
        if (view->forks[i].seq && view->forks[i].pid > 0)
            return true;
    return false;
}

static void translate_forks(struct cw_view *view, const struct cw_proc *proc)
{
    int32_t *outer = has_forks(view) ? calloc((size_t)view->n_forks, sizeof *outer) : NULL;
    DIR *dir = outer ? opendir("/proc") : NULL;
    const struct dirent *entry;
    struct cw_proc other;

    while (dir && (entry = readdir(dir))) {
        if (!isdigit((unsigned char)entry->d_name[0]) || cw_proc_read(&other, (pid_t)atoi(entry->d_name)) < 0 ||
            other.pid_ns != proc->pid_ns)
            continue;
        for (uint32_t i = 0; i < view->n_forks; i++)
            if (view->forks[i].pid == other.inner_pid)
                outer[i] = other.pid;
    }
    if (dir)
        closedir(dir);
    /* A child that is gone has no number here: unknown is better than another process's. */
    for (uint32_t i = 0; outer && i < view->n_forks; i++)
        view->forks[i].pid = outer[i];
    free(outer);
}

void cw_render_translate(struct cw_render_process *process)
{
    struct cw_ledger *header = process->load.view.header;

    if (!process->live || process->proc.pid == process->proc.inner_pid)
        return;
    translate_threads(&process->load.view, &process->proc);
    translate_forks(&process->load.view, &process->proc);
    header->pid = process->proc.pid;
    header->ppid = process->proc.ppid;
}
