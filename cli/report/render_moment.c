#include "cli/report/render_process.h"

#include "cli/cli.h"
#include "cli/clock.h"
#include "cli/process/kernel.h"
#include "cli/process/threads.h"
#include "core/truth.h"

#include <string.h>

/* Milliseconds since recording began, by this machine's clock; by the wall clock where the ledger comes from another
 * machine or boot. Not taken modulo 2^32. */
static uint64_t since_start_ms(const struct cw_ledger *header)
{
    uint64_t mono_ns = cw_clock_ns(CLOCK_MONOTONIC_COARSE), real_ns = cw_clock_ns(CLOCK_REALTIME);
    uint64_t by_mono = mono_ns > header->start_mono_ns ? (mono_ns - header->start_mono_ns) / 1000000 : 0;
    uint64_t by_real = real_ns > header->start_real_ns ? (real_ns - header->start_real_ns) / 1000000 : 0;
    uint64_t apart = by_mono > by_real ? by_mono - by_real : by_real - by_mono;

    /* A step of the wall clock by up to a minute says nothing against the other one. */
    return mono_ns < header->start_mono_ns || apart > 60000 ? by_real : by_mono;
}

static uint32_t as_record_ms(uint64_t ms)
{
    uint32_t word = (uint32_t)ms;
    return word ? word : 1;
}

static bool runs(const struct cw_render_process *process)
{
    return process->saved || process->of == CW_RENDER_RUNNING || process->of == CW_RENDER_CHECKED;
}

void cw_render_options(struct cw_render_process *process, const struct cw_request *request)
{
    struct cw_options *options = &process->options;
    bool exit_grace_given = false;
    const char *grace = NULL;

    cw_options_default(options);
    cw_options_parse(options, process->load.view.header->options, NULL, NULL);
    if (process->of != CW_RENDER_DYING) {
        /* Where its own report would have gone is not where the one who asks now wants it. */
        options->format = CW_FORMAT_TEXT;
        options->log_path[0] = 0;
    }
    for (unsigned i = 0; i < request->flag_count; i++) {
        cw_options_set(options, request->flags[i].name, request->flags[i].value, NULL, NULL);
        exit_grace_given |= !strcmp(request->flags[i].name, "exit_grace");
        if (!strcmp(request->flags[i].name, "grace"))
            grace = request->flags[i].value;
    }
    if (grace && !exit_grace_given && process->of == CW_RENDER_ENDED && !process->saved)
        cw_options_set(options, "exit_grace", grace, NULL, NULL);
    process->in.options = options;
    process->in.late = (enum cw_late)options->late;
    process->in.grace_ms = runs(process) && !request->last_word ? options->grace_ms : options->exit_grace_ms;
}

/* The report speaks of then_ms, not of now. */
static void go_back_to(struct cw_report_input *in, uint32_t then_ms)
{
    in->age_ms = in->now_ms - then_ms < UINT32_MAX / 2 ? in->now_ms - then_ms : 0;
    in->now_ms = as_record_ms(then_ms);
}

static void moment_of_running(struct cw_render_process *process, bool say)
{
    char why[256];

    if (cw_kernel_check(&process->load, &process->proc, process->in.now_ms, why, sizeof why) < 0 && say)
        cw_say("%s: the report shows the state of the recorder's last own check", why);
}

static void moment_of_dying(struct cw_render_process *process)
{
    struct cw_ledger *header = process->load.view.header;
    struct cw_report_input *in = &process->in;
    char why[256];

    /* The recorder has just asked; what it found is not to grow older on the way here. */
    if (header->truth == CW_TRUTH_KERNEL && header->truth_ms)
        in->now_ms = header->truth_ms;
    if ((header->flags & CW_HEADER_NO_FDS) && process->live &&
        cw_kernel_check(&process->load, &process->proc, in->now_ms, why, sizeof why) < 0)
        cw_say("%s; the process itself had no fd left to ask with: who waits in its listeners' queues is not known",
               why);
}

static void moment_of_ended(struct cw_render_process *process)
{
    struct cw_ledger *header = process->load.view.header;

    if (header->ended == CW_ENDED_RUNNING)
        header->ended = CW_ENDED_KILLED;
    if (header->ended == CW_ENDED_KILLED && header->truth == CW_TRUTH_KERNEL)
        header->truth = CW_TRUTH_SWEEP;
    go_back_to(&process->in, cw_report_last_activity_ms(&process->load.view));
    if (header->truth != CW_TRUTH_KERNEL)
        cw_truth_by_hooks(&process->load.view);
    process->never_checked = header->truth == CW_TRUTH_NONE;
}

void cw_render_moment(struct cw_render_process *process, const struct cw_request *request, bool stacks)
{
    const struct cw_ledger *header = process->load.view.header;
    struct cw_report_input *in = &process->in;

    in->now_real_ns = cw_clock_ns(CLOCK_REALTIME);
    in->now_ms = as_record_ms(since_start_ms(header));
    if (process->saved || process->of == CW_RENDER_CHECKED)
        go_back_to(in, header->truth_ms ? header->truth_ms : cw_report_last_activity_ms(&process->load.view));
    else if (process->of == CW_RENDER_RUNNING)
        moment_of_running(process, !request->glance);
    else if (process->of == CW_RENDER_DYING)
        moment_of_dying(process);
    else
        moment_of_ended(process);
    if (runs(process) && process->live && stacks)
        cw_threads_check(&process->load, &process->proc, in->now_ms, in->grace_ms);
}
