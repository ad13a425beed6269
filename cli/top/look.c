#include "cli/top/look.h"

#include "cli/cli.h"
#include "cli/clock.h"
#include "cli/ledger/find.h"
#include "cli/process/outside.h"
#include "core/frames.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int cw_top_look_begin(struct cw_top_look *look, const char *ledger_dir)
{
    const struct cw_watch_of of = {.pids = look->pids,
                                   .n_pids = look->n_pids,
                                   .all = look->n_pids == 0,
                                   .ledger_dir = ledger_dir,
                                   .request = look->request};

    look->watch = cw_watch_new(&of);
    if (!look->watch)
        cw_say("not enough memory");
    return look->watch ? 0 : -1;
}

static bool has_pid(const struct cw_top_model *model, pid_t pid)
{
    for (size_t i = 0; i < model->n_processes; i++)
        if (model->processes[i].pid == pid)
            return true;
    return false;
}

static uint64_t up_ms(const struct cw_proc *proc)
{
    uint64_t ticks = (uint64_t)sysconf(_SC_CLK_TCK), started_ms = proc->start_ticks * 1000 / ticks;
    uint64_t now_ms = cw_clock_ms(CLOCK_BOOTTIME);

    return now_ms > started_ms ? now_ms - started_ms : 0;
}

/* Those asked for that have no ledger: what can be known from outside. */
static void add_outside(struct cw_top_look *look)
{
    struct cw_proc proc;
    struct cw_found found;
    struct cw_load load;
    char why[256];

    look->n_outside = 0;
    for (size_t i = 0; i < look->n_pids; i++) {
        if (cw_proc_read(&proc, look->pids[i]) < 0 || proc.zombie)
            continue;
        int error = cw_find_mapped(&proc, &found);
        if (!error)
            close(found.fd);
        if (error != -ENOENT)
            continue;
        if (!look->n_outside++)
            look->outside = proc.pid;
        if (!look->render)
            look->render = cw_render_new(look->request);
        if (look->render && cw_outside_load(&load, &proc, why, sizeof why) == 0)
            cw_render_add(look->render, &load, "process", CW_RENDER_RUNNING, &proc);
    }
}

/* One that cannot be reported on: what the kernel says of its connections is all there is. */
static void add_unknown(struct cw_top_look *look, struct cw_top_model *model, const struct cw_proc *proc)
{
    struct cw_top_process process = {.pid = proc->pid, .unknown = true, .up_ms = up_ms(proc)};
    struct cw_top_states all;
    char path[64], name[64] = "";

    snprintf(path, sizeof path, "/proc/%d/comm", (int)proc->pid);
    if (cw_proc_read_small(path, name, sizeof name) > 0)
        name[strcspn(name, "\n")] = 0;
    memcpy(process.name, name, sizeof process.name);
    cw_top_count(&look->counter, &proc->pid, 1, &process.states, &all);
    if (cw_top_model_add(model, &process) < 0)
        return;
    model->states.known |= all.known;
    model->states.established += all.established;
    model->states.close_wait += all.close_wait;
    model->states.other += all.other;
    model->close_wait += all.close_wait;
}

static void add_missing(struct cw_top_look *look, struct cw_top_model *model)
{
    struct cw_proc proc;

    look->n_alive = 0;
    for (size_t i = 0; i < look->n_pids; i++) {
        if (cw_proc_read(&proc, look->pids[i]) < 0 || proc.zombie)
            continue;
        look->n_alive++;
        if (!has_pid(model, proc.pid))
            add_unknown(look, model, &proc);
    }
}

static int build_model(struct cw_top_look *look, const struct cw_document *document, struct cw_top_model *ret)
{
    size_t n = document ? document->n_reports : 0;
    struct cw_top_states all = {0}, *states = calloc(n + 1, sizeof *states);
    pid_t *pids = calloc(n + 1, sizeof *pids);
    int result = -1;

    for (size_t i = 0; pids && i < n; i++)
        pids[i] = document->reports[i]->view->header->pid;
    if (pids && states) {
        cw_top_count(&look->counter, pids, n, states, &all);
        result = cw_top_model_build(ret, document, states, &all);
    }
    free(pids);
    free(states);
    return result;
}

void cw_top_look_take(struct cw_top_look *look, bool thorough)
{
    /* Ledgers of many processes are large: never two looks' worth of them. */
    cw_top_model_free(&look->model);
    cw_render_free(look->render);
    look->request->glance = !thorough;
    cw_watch_look(look->watch);
    look->render = cw_watch_render(look->watch);
    add_outside(look);
    look->document = look->render ? cw_render_build(look->render) : NULL;
    look->real_ns = cw_clock_ns(CLOCK_REALTIME);
    if (build_model(look, look->document, &look->model) == 0)
        add_missing(look, &look->model);
}

void cw_top_look_end(struct cw_top_look *look)
{
    cw_top_model_free(&look->model);
    cw_top_counter_free(&look->counter);
    cw_render_free(look->render);
    cw_watch_free(look->watch);
    look->render = NULL;
    look->watch = NULL;
}
