#include "cli/render.h"

#include "cli/cli.h"
#include "cli/held.h"
#include "cli/kernel.h"
#include "cli/output.h"
#include "cli/symbols.h"
#include "cli/threads.h"
#include "core/emit.h"
#include "core/leak.h"
#include "core/truth.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* Milliseconds since recording began, by this machine's clock; by the wall clock where the ledger comes from another
 * machine or boot. Not taken modulo 2^32. */
static uint64_t since_start_ms(const struct cw_ledger *header)
{
    uint64_t mono_ns = clock_ns(CLOCK_MONOTONIC_COARSE), real_ns = clock_ns(CLOCK_REALTIME);
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

/* The ledger's own options first: they are what the recorder judged by. */
static void choose_options(struct cw_options *options, const struct cw_ledger *header, enum cw_render_of of,
                           const struct cw_request *request)
{
    bool exit_grace_given = false;
    const char *grace = NULL;

    cw_options_default(options);
    cw_options_parse(options, header->options, NULL, NULL);
    if (of != CW_RENDER_DYING) {
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
    if (grace && !exit_grace_given && of == CW_RENDER_ENDED)
        cw_options_set(options, "exit_grace", grace, NULL, NULL);
}

static bool wants_colour(enum cw_colour colour, const struct cw_options *options)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

    if (colour != CW_COLOUR_AUTO)
        return colour == CW_COLOUR_ALWAYS;
    return !options->log_path[0] && isatty(STDOUT_FILENO) && !(no_color && *no_color) &&
           !(term && !strcmp(term, "dumb"));
}

/* Settles which moment the report speaks of, and asks the kernel where that can still be done. */
static void choose_moment(struct cw_load *load, const char *name, enum cw_render_of of, const struct cw_proc *proc,
                          struct cw_report_input *in)
{
    struct cw_ledger *header = load->view.header;
    uint64_t now_ms = since_start_ms(header);
    char why[256];

    in->now_real_ns = clock_ns(CLOCK_REALTIME);
    in->now_ms = as_record_ms(now_ms);
    switch (of) {
    case CW_RENDER_RUNNING:
        if (cw_kernel_check(load, proc, in->now_ms, why, sizeof why) < 0)
            cw_say("%s: the report shows the state of the recorder's last own check", why);
        cw_threads_check(load, proc, in->now_ms, in->grace_ms);
        return;
    case CW_RENDER_DYING:
        /* The recorder has just asked; what it found is not to grow older on the way here. */
        if (header->truth == CW_TRUTH_KERNEL && header->truth_ms)
            in->now_ms = header->truth_ms;
        if ((header->flags & CW_HEADER_NO_FDS) && proc && cw_kernel_check(load, proc, in->now_ms, why, sizeof why) < 0)
            cw_say("%s; the process itself had no fd left to ask with: who waits in its listeners' queues is not known",
                   why);
        return;
    case CW_RENDER_ENDED:
        if (header->ended == CW_ENDED_RUNNING)
            header->ended = CW_ENDED_KILLED;
        if (header->ended == CW_ENDED_KILLED && header->truth == CW_TRUTH_KERNEL)
            header->truth = CW_TRUTH_SWEEP;
        uint32_t last_ms = cw_report_last_activity_ms(&load->view);
        in->age_ms = in->now_ms - last_ms < UINT32_MAX / 2 ? in->now_ms - last_ms : 0;
        in->now_ms = as_record_ms(last_ms);
        if (header->truth != CW_TRUTH_KERNEL)
            cw_truth_by_hooks(&load->view);
        if (header->truth == CW_TRUTH_NONE)
            cw_say("%s: the process ended before its sockets were checked even once: only those whose end of stream it "
                   "had read are reported; next time end it with SIGTERM, or ask while it runs: cwguard report PID",
                   name);
        return;
    }
}

static int emit(struct cw_load *load, const char *name, enum cw_render_of of, const struct cw_report_input *in,
                const struct cw_options *options)
{
    const struct cw_ledger *header = load->view.header;
    size_t scratch_bytes = cw_report_scratch_bytes(&load->view);
    void *scratch = malloc(scratch_bytes);
    struct cw_output *output = malloc(sizeof *output);
    char format[16] = "", why[512];
    struct cw_report report;
    int result = -1;

    if (!scratch || !output || cw_report_build(&report, &load->view, in, scratch, scratch_bytes) < 0) {
        cw_say("%s: not enough memory for the report: raise the limit (ulimit -v, option reporter_mem)", name);
        goto done;
    }
#define CW_X(id, format_name, function)                                                                                \
    if (options->format == CW_FORMAT_##id)                                                                             \
        memcpy(format, format_name, sizeof format_name);
    CW_EMITTERS(CW_X)
#undef CW_X
    const struct cw_output_names names = {.pid = header->pid, .exe = header->exe, .format = format};
    if (of == CW_RENDER_DYING && !cw_report_has_findings(&report)) {
        result = 0; /* it has no fd left, and wanted to be looked at: nothing was found */
        goto done;
    }
    cw_output_begin(output);
    cw_emit(&output->out, &report, options->format); /* an error is kept in the output */
    result = cw_output_end(output, options->log_path, &names, why, sizeof why);
    if (result < 0)
        cw_say("%s: %s; the ledger is kept: print it with cwguard report PID, or --dead once the process has ended",
               name, why);
done:
    free(scratch);
    free(output);
    return result;
}

int cw_render(struct cw_load *load, const char *name, enum cw_render_of of, const struct cw_proc *proc,
              const struct cw_request *request)
{
    struct cw_report_input in = {.tool_version = CW_VERSION};
    pid_t live_pid = proc ? proc->pid : 0;
    struct cw_options options;
    struct cw_resolver resolver;
    struct cw_symbols *symbols;
    struct cw_holders holders = {0};
    struct cw_held held = {0};
    int result;

    choose_options(&options, load->view.header, of, request);
    in.grace_ms = of == CW_RENDER_RUNNING ? options.grace_ms : options.exit_grace_ms;
    choose_moment(load, name, of, proc, &in);
    in.options = &options;
    in.late = (enum cw_late)options.late;
    in.colour = wants_colour(request->colour, &options);

    if (of != CW_RENDER_ENDED) {
        cw_held_find(&held, load, proc);
        cw_holders_find(&holders, &load->view, proc, held.inodes, held.count);
        cw_holders_enter(&holders, &in);
        cw_held_enter(&held, &holders, options.ledger_dir, &in);
    }
    symbols = cw_symbols_new(&load->view, live_pid);
    if (symbols) {
        resolver = cw_symbols_resolver(symbols);
        in.resolver = &resolver;
    }
    result = emit(load, name, of, &in, &options);
    cw_symbols_free(symbols);
    cw_holders_free(&holders);
    cw_held_free(&held);
    if (result == 0 && load->remark[0])
        cw_say("%s: %s", name, load->remark);
    if (result == 0 && load->view.header->flags & CW_HEADER_OFF)
        cw_say("%s: the recorder has switched itself off: %s", name, load->view.header->off_reason);
    return result;
}
