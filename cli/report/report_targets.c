#include "cli/report/report_targets.h"

#include "cli/cli.h"
#include "cli/ledger/adopt.h"
#include "cli/ledger/find.h"
#include "cli/process/outside.h"
#include "cli/process/proc_rights.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- adding --- */

/* The same ledger, by whatever way it was found. A saved copy is another one: it speaks of another moment. */
static bool is_same(const struct cw_ledger *a, const struct cw_ledger *b)
{
    return a->pid == b->pid && a->pid_ns == b->pid_ns && a->start_ticks == b->start_ticks &&
           a->start_mono_ns == b->start_mono_ns && !strcmp(a->host, b->host) &&
           !((a->flags | b->flags) & CW_HEADER_SAVED && (a->flags != b->flags || a->truth_ms != b->truth_ms));
}

void cw_targets_add(struct cw_targets *targets, struct cw_load *load, const char *name, enum cw_render_of of,
                    const struct cw_proc *proc)
{
    for (size_t i = 0; i < targets->added; i++) {
        if (!is_same(cw_render_load(targets->render, i)->view.header, load->view.header))
            continue;
        cw_load_free(load);
        return;
    }
    if (cw_render_add(targets->render, load, name, of, proc) < 0)
        targets->failed = true;
    else
        targets->added++;
}

/* --- one process --- */

struct by_process {
    const struct cw_proc *proc;
    struct cw_load best;
    char best_name[PATH_MAX];
    bool found;
};

/* A process that has called exec has more than one ledger: the running one counts, then the younger one. */
static bool is_better(const struct cw_ledger *a, const struct cw_ledger *b)
{
    if ((a->ended == CW_ENDED_RUNNING) != (b->ended == CW_ENDED_RUNNING))
        return a->ended == CW_ENDED_RUNNING;
    if (a->start_mono_ns == b->start_mono_ns) /* the clock ticks every 4 ms: an exec may follow within that */
        return a->ended != CW_ENDED_EXEC;
    return a->start_mono_ns > b->start_mono_ns;
}

static bool is_of(const struct cw_ledger *header, const struct cw_proc *proc)
{
    return header->pid == proc->inner_pid && header->start_ticks == proc->start_ticks &&
           (!proc->pid_ns || header->pid_ns == proc->pid_ns);
}

static bool keep_best(void *ctx, const struct cw_found *found)
{
    struct by_process *wanted = ctx;
    struct cw_load load;
    char why[256];

    if (found->pid != wanted->proc->inner_pid || found->start_ticks != wanted->proc->start_ticks ||
        (wanted->proc->pid_ns && found->pid_ns != wanted->proc->pid_ns))
        return true;
    if (cw_load_ledger(&load, found->fd, true, why, sizeof why) < 0) {
        cw_say("%s %s", found->path, why);
        return true;
    }
    if (wanted->found && !is_better(load.view.header, wanted->best.view.header)) {
        cw_load_free(&load);
        return true;
    }
    if (wanted->found)
        cw_load_free(&wanted->best);
    wanted->best = load;
    wanted->found = true;
    snprintf(wanted->best_name, sizeof wanted->best_name, "%s", found->path);
    return true;
}

/* First what the process has mapped, for that is the one of the program that it runs now; then the usual places. */
static void find_ledger(struct by_process *wanted, const char *ledger_dir)
{
    const struct cw_proc *proc = wanted->proc;
    struct cw_found mapped;
    char root[32];

    if (cw_find_mapped(proc, &mapped) == 0) {
        keep_best(wanted, &mapped);
        close(mapped.fd);
        if (wanted->found && !is_of(wanted->best.view.header, proc)) {
            cw_load_free(&wanted->best);
            wanted->found = false;
        }
    }
    if (!wanted->found)
        cw_find_ledgers("", ledger_dir, keep_best, wanted);
    if (!wanted->found && !*ledger_dir && proc->pid_ns != cw_proc_own_pid_ns()) {
        snprintf(root, sizeof root, "/proc/%d/root", (int)proc->pid);
        cw_find_ledgers(root, "", keep_best, wanted);
    }
}

enum library { LIBRARY_UNKNOWN, LIBRARY_NONE, LIBRARY_LOADED };

static enum library find_library(pid_t pid)
{
    enum library result = LIBRARY_NONE;
    char path[64], *line = NULL;
    size_t line_bytes = 0;
    FILE *maps;

    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    maps = fopen(path, "re");
    if (!maps)
        return LIBRARY_UNKNOWN;
    while (result == LIBRARY_NONE && getline(&line, &line_bytes, maps) > 0)
        if (strstr(line, "/libcwguard.so"))
            result = LIBRARY_LOADED;
    free(line);
    fclose(maps);
    return result;
}

/* Says why a process has no ledger that we could read. */
static void say_no_ledger(const struct cw_proc *proc)
{
    char why[256];
    int pid = (int)proc->pid;

    switch (find_library(proc->pid)) {
    case LIBRARY_LOADED:
        cw_say("pid %d runs under libcwguard.so but has no ledger that can be read here: it has used no TCP socket "
               "yet, or "
               "option programs leaves it out, or its directory for ledgers is not a tmpfs, or not writable for it",
               pid);
        return;
    case LIBRARY_NONE:
        cw_say("pid %d was not started under libcwguard.so, so which code left its sockets is not known: start it with "
               "cwguard run, or with LD_PRELOAD=/path/to/libcwguard.so in its environment",
               pid);
        return;
    default:
        cw_proc_rights(proc, why, sizeof why);
        cw_say("pid %d has no ledger that can be read here, and we may not look into it: %s", pid, why);
    }
}

/* What /proc tells, without a recorder: whether anything could be. */
static void add_outside(struct cw_targets *targets, const struct cw_proc *proc)
{
    char name[32], why[256];
    struct cw_load load;

    say_no_ledger(proc);
    if (find_library(proc->pid) == LIBRARY_UNKNOWN) {
        targets->failed = true;
        return;
    }
    if (cw_outside_load(&load, proc, why, sizeof why) < 0) {
        cw_say("pid %d cannot be looked at from outside either: %s", (int)proc->pid, why);
        targets->failed = true;
        return;
    }
    if (find_library(proc->pid) == LIBRARY_LOADED)
        snprintf(load.view.header->off_reason, sizeof load.view.header->off_reason, "it has recorded nothing yet");
    snprintf(name, sizeof name, "pid %d", (int)proc->pid);
    cw_targets_add(targets, &load, name, CW_RENDER_RUNNING, proc);
}

void cw_target_process(struct cw_targets *targets, pid_t pid)
{
    struct by_process wanted = {0};
    struct cw_proc proc;
    int error = cw_proc_read(&proc, pid);

    if (targets->may_be_gone && (error == -ESRCH || (!error && proc.zombie)))
        return;
    if ((!error || error == -ESRCH) && (error || proc.zombie) && cw_target_ended(targets, pid))
        return;
    if (error || proc.zombie) {
        cw_say("pid %d: %s; cwguard report --dead shows what ended processes have left", (int)pid,
               !error || error == -ESRCH ? "there is no such process" : strerror(-error));
        targets->failed = true;
        return;
    }
    wanted.proc = &proc;
    find_ledger(&wanted, targets->ledger_dir);
    if (!wanted.found && targets->may_be_gone)
        return;
    if (!wanted.found)
        add_outside(targets, &proc);
    else
        cw_targets_add(targets, &wanted.best, wanted.best_name,
                       wanted.best.view.header->ended == CW_ENDED_EXEC ? CW_RENDER_ENDED : CW_RENDER_RUNNING, &proc);
}

/* --- one ledger --- */

/* A dying process may have little address space left. Mostly it has asked the kernel itself: then no room is needed for
 * more. */
static int load_for(struct cw_load *ret, int fd, bool dying, char *why, size_t why_bytes)
{
    if ((dying ? cw_adopt_load(ret, fd, why, why_bytes) : cw_load_ledger(ret, fd, true, why, why_bytes)) < 0)
        return -1;
    if (!dying || !(ret->view.header->flags & CW_HEADER_NO_FDS))
        return 0;
    cw_load_free(ret);
    return cw_load_ledger(ret, fd, true, why, why_bytes);
}

static void add_fd(struct cw_targets *targets, int fd, const char *name, bool dying)
{
    enum cw_render_of of = dying ? CW_RENDER_DYING : CW_RENDER_ENDED;
    const struct cw_ledger *header;
    struct cw_proc proc, *live = NULL;
    struct cw_load load;
    char why[256];

    if (load_for(&load, fd, dying, why, sizeof why) < 0) {
        cw_say("%s %s", name, why);
        targets->failed = true;
        return;
    }
    header = load.view.header;
    if (!(header->flags & CW_HEADER_SAVED) &&
        cw_proc_find(&proc, header->pid_ns, header->pid, header->start_ticks) == 0) {
        live = &proc;
        if (!dying && header->ended != CW_ENDED_EXEC)
            of = CW_RENDER_RUNNING;
    }
    cw_targets_add(targets, &load, name, of, live);
}

void cw_target_fd(struct cw_targets *targets, int fd)
{
    add_fd(targets, fd, "the ledger", true);
}

void cw_target_file(struct cw_targets *targets, const char *path)
{
    int fd = cw_load_open(AT_FDCWD, path);

    if (fd < 0) {
        cw_say("%s cannot be opened: %s%s", *path ? path : "''", strerror(-fd),
               fd == -ENOENT
                   ? "; give a pid or a ledger file; cwguard report --dead finds the ledgers of ended processes"
                   : "");
        targets->failed = true;
        return;
    }
    add_fd(targets, fd, path, false);
    close(fd);
}
