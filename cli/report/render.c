#include "cli/report/render.h"

#include "cli/cli.h"
#include "cli/clock.h"
#include "cli/ledger/adopt.h"
#include "cli/report/output.h"
#include "cli/report/render_names.h"
#include "cli/report/render_process.h"
#include "core/emit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Longer than this no process has its threads looked at. */
enum { STACKS_MS = 10000 };

struct cw_render {
    const struct cw_request *request;
    struct cw_render_process **processes; /* each by itself: reports and resolvers point into them */
    size_t count, room;
    unsigned stackless; /* processes whose threads were not looked at, because those of others took so long */
    struct cw_holders holders;
    struct cw_names *names, *own_names;
    struct cw_resolver resolver; /* of all together */
    const struct cw_report **reports;
    struct cw_document document;
    void *document_memory;
    bool built;
};

struct cw_render *cw_render_new(const struct cw_request *request)
{
    struct cw_render *render = calloc(1, sizeof *render);

    if (render)
        render->request = request;
    return render;
}

static void free_process(struct cw_render_process *process)
{
    if (!process)
        return;
    cw_symbols_free(process->symbols);
    cw_held_free(&process->held);
    cw_load_free(&process->load);
    free(process->scratch);
    free(process->name);
    free(process);
}

void cw_render_free(struct cw_render *render)
{
    if (!render)
        return;
    for (size_t i = 0; i < render->count; i++)
        free_process(render->processes[i]);
    free(render->processes);
    cw_holders_free(&render->holders);
    cw_names_free(render->own_names);
    free(render->reports);
    free(render->document_memory);
    free(render);
}

static int say_no_memory(const char *name)
{
    cw_say("%s: not enough memory for the report: raise the limit (ulimit -v, option reporter_mem)", name);
    return -1;
}

int cw_render_add(struct cw_render *render, struct cw_load *load, const char *name, enum cw_render_of of,
                  const struct cw_proc *proc)
{
    struct cw_render_process *process = calloc(1, sizeof *process);

    if (process && render->count == render->room) {
        size_t room = render->room ? 2 * render->room : 16;
        struct cw_render_process **more = realloc(render->processes, room * sizeof(struct cw_render_process *));
        if (more) {
            render->processes = more;
            render->room = room;
        }
    }
    if (!process || render->count == render->room || !(process->name = strdup(name))) {
        free(process);
        cw_load_free(load);
        return say_no_memory(name);
    }
    process->load = *load;
    *load = (struct cw_load){0};
    process->of = of;
    process->saved = of != CW_RENDER_DYING && (process->load.view.header->flags & CW_HEADER_SAVED) != 0;
    process->live = proc && !process->saved;
    if (process->live)
        process->proc = *proc;
    process->in.tool_version = CW_VERSION;
    process->in.redact = render->request->redact;
    render->processes[render->count++] = process;
    return 0;
}

const struct cw_load *cw_render_load(const struct cw_render *render, size_t n)
{
    return n < render->count ? &render->processes[n]->load : NULL;
}

/* --- the kernel's word --- */

static void ask_kernel(struct cw_render *render)
{
    uint64_t end_ms = cw_clock_ms(CLOCK_MONOTONIC) + STACKS_MS;

    for (size_t i = 0; i < render->count; i++) {
        struct cw_render_process *process = render->processes[i];
        bool in_time = cw_clock_ms(CLOCK_MONOTONIC) < end_ms;
        cw_render_options(process, render->request);
        if (!render->request->glance)
            cw_adopt(&process->load, "", process->options.ledger_dir);
        cw_render_moment(process, render->request, in_time && !render->request->glance);
        render->stackless += !in_time && process->live && process->of != CW_RENDER_ENDED;
    }
}

/* What several have open is counted once. */
static int share(struct cw_render *render)
{
    struct cw_view **views = malloc(render->count * sizeof(struct cw_view *));
    size_t bytes;
    void *scratch = NULL;

    if (!views)
        return -1;
    for (size_t i = 0; i < render->count; i++)
        views[i] = &render->processes[i]->load.view;
    bytes = cw_document_share_bytes((const struct cw_view *const *)views, (uint32_t)render->count);
    scratch = malloc(bytes + 1);
    if (scratch)
        cw_document_share(views, (uint32_t)render->count, scratch, bytes);
    free(scratch);
    free(views);
    return scratch ? 0 : -1;
}

/* --- who else has them open --- */

static bool may_look_around(const struct cw_render *render, const struct cw_render_process *process)
{
    return process->of != CW_RENDER_ENDED && !process->saved && !render->request->glance;
}

/* One search serves all. */
static void find_holders(struct cw_render *render)
{
    struct cw_holders_wanted wanted = {0};

    for (size_t i = 0; i < render->count; i++) {
        struct cw_render_process *process = render->processes[i];
        if (!may_look_around(render, process))
            continue;
        cw_held_find(&process->held, &process->load, process->live ? &process->proc : NULL);
        cw_holders_want(&wanted, &process->load.view, process->held.inodes, process->held.count);
    }
    cw_holders_find(&render->holders, &wanted);
    for (size_t i = 0; i < render->count; i++) {
        struct cw_render_process *process = render->processes[i];
        if (!may_look_around(render, process))
            continue;
        cw_holders_enter(&render->holders, &process->in);
        cw_held_enter(&process->held, &render->holders, process->options.ledger_dir, &process->in);
    }
}

/* --- names --- */

/* The same object in a process that was added earlier, whose files may be open already. */
static unsigned resolve_by_earlier(struct cw_render *render, const struct cw_view *view, const struct cw_module *module,
                                   uint64_t offset, struct cw_symbol *ret, unsigned max)
{
    for (size_t i = 0; i < render->count; i++) {
        const struct cw_render_process *process = render->processes[i];
        const struct cw_view *other = &process->load.view;
        if (other == view)
            return 0;
        for (uint32_t k = 1; process->symbols && k < other->n_modules; k++)
            if (cw_names_same_object(module, &other->modules[k]) && cw_view_module(other, k))
                return process->resolver.resolve(process->resolver.ctx, other, CW_FRAME(k, offset), ret, max);
    }
    return 0;
}

static unsigned resolve_by_own(const struct cw_render *render, const struct cw_view *view, uint64_t frame,
                               struct cw_symbol *ret, unsigned max)
{
    for (size_t i = 0; i < render->count; i++) {
        const struct cw_render_process *process = render->processes[i];
        if (&process->load.view == view)
            return process->symbols ? process->resolver.resolve(process->resolver.ctx, view, frame, ret, max) : 0;
    }
    return 0;
}

static unsigned resolve(void *ctx, const struct cw_view *view, uint64_t frame, struct cw_symbol *ret, unsigned max)
{
    struct cw_render *render = ctx;
    const struct cw_module *module = cw_view_module(view, CW_FRAME_MODULE(frame));
    uint64_t offset = CW_FRAME_OFFSET(frame);
    unsigned n;

    if (!module)
        return resolve_by_own(render, view, frame, ret, max);
    n = cw_names_find(render->names, module, offset, ret, max);
    if (n)
        return n;
    n = resolve_by_earlier(render, view, module, offset, ret, max);
    if (!n)
        n = resolve_by_own(render, view, frame, ret, max);
    cw_names_keep(render->names, module, offset, ret, n);
    return n;
}

static void open_names(struct cw_render *render)
{
    bool alone = render->count == 1 && !render->request->names;

    if (!alone && !render->request->names)
        render->own_names = cw_names_new();
    render->names = render->request->names ? render->request->names : render->own_names;
    render->resolver = (struct cw_resolver){.ctx = render, .resolve = resolve};
    for (size_t i = 0; i < render->count; i++) {
        struct cw_render_process *process = render->processes[i];
        process->symbols =
            cw_symbols_new(&process->load.view, process->live ? process->proc.pid : 0, render->request->debug_files);
        if (process->symbols)
            process->resolver = cw_symbols_resolver(process->symbols);
        process->in.resolver = !alone ? &render->resolver : process->symbols ? &process->resolver : NULL;
    }
}

/* --- the document --- */

static int build_reports(struct cw_render *render)
{
    render->reports = malloc(render->count * sizeof(const struct cw_report *));
    if (!render->reports)
        return say_no_memory(render->processes[0]->name);
    for (size_t i = 0; i < render->count; i++) {
        struct cw_render_process *process = render->processes[i];
        cw_render_translate(process);
        size_t bytes = cw_report_scratch_bytes(&process->load.view);
        process->scratch = malloc(bytes);
        if (!process->scratch ||
            cw_report_build(&process->report, &process->load.view, &process->in, process->scratch, bytes) < 0)
            return say_no_memory(process->name);
        render->reports[i] = &process->report;
    }
    return 0;
}

static int build_document(struct cw_render *render)
{
    uint32_t n = (uint32_t)render->count;
    size_t bytes = cw_document_scratch_bytes(render->reports, n);

    render->document_memory = malloc(bytes);
    if (!render->document_memory ||
        cw_document_build(&render->document, render->reports, n, render->document_memory, bytes) < 0)
        return say_no_memory(render->processes[0]->name);
    return 0;
}

static bool wants_colour(const struct cw_request *request, const struct cw_options *options)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

    if (request->colour != CW_COLOUR_AUTO)
        return request->colour == CW_COLOUR_ALWAYS;
    return !options->log_path[0] && isatty(request->to_stderr ? STDERR_FILENO : STDOUT_FILENO) &&
           !(no_color && *no_color) && !(term && !strcmp(term, "dumb"));
}

const struct cw_document *cw_render_build(struct cw_render *render)
{
    if (!render->count || render->reports) /* once is enough, also where it failed */
        return render->built ? &render->document : NULL;
    ask_kernel(render);
    if (render->count > 1 && share(render) < 0) {
        say_no_memory(render->processes[0]->name);
        return NULL;
    }
    find_holders(render);
    open_names(render);
    for (size_t i = 0; i < render->count; i++)
        render->processes[i]->in.colour = wants_colour(render->request, &render->processes[0]->options);
    if (build_reports(render) < 0 || build_document(render) < 0)
        return NULL;
    render->built = true;
    return &render->document;
}

/* --- out with it --- */

static const char *format_name(uint32_t format)
{
#define CW_X(id, name, function) [CW_FORMAT_##id] = name,
    static const char *const names[] = {CW_EMITTERS(CW_X)};
#undef CW_X
    return format < sizeof names / sizeof *names ? names[format] : "";
}

/* What the report itself has no place for. */
static void say_remarks(const struct cw_render *render)
{
    const char *never_checked = NULL;
    unsigned more = 0;

    for (size_t i = 0; i < render->count; i++) {
        const struct cw_load *load = &render->processes[i]->load;
        if (render->processes[i]->never_checked && never_checked)
            more++;
        else if (render->processes[i]->never_checked)
            never_checked = render->processes[i]->name;
        if (load->remark[0])
            cw_say("%s: %s", render->processes[i]->name, load->remark);
        if (load->view.header->flags & CW_HEADER_OFF)
            cw_say("%s: the recorder has switched itself off: %s", render->processes[i]->name,
                   load->view.header->off_reason);
    }
    if (never_checked) {
        char others[64] = "";
        if (more)
            snprintf(others, sizeof others, " (and %u more)", more);
        cw_say(
            "%s%s: the process ended before its sockets were checked even once: only those whose end of stream it had "
            "read are reported; next time end it with SIGTERM, or ask while it runs: cwguard report PID",
            never_checked, others);
    }
    if (render->stackless)
        cw_say("%u processes did not have their threads looked at: that of the others took more than %d s",
               render->stackless, STACKS_MS / 1000);
}

static int write_to(const struct cw_render *render, const char *pattern, char *why, size_t why_bytes)
{
    const struct cw_render_process *first = render->processes[0];
    struct cw_output *output = malloc(sizeof *output);
    int result;

    if (!output) {
        snprintf(why, why_bytes, "not enough memory to write the report");
        return -1;
    }
    const struct cw_output_names names = {.pid = first->load.view.header->pid,
                                          .exe = first->load.view.header->exe,
                                          .format = format_name(first->options.format)};
    cw_output_begin(output, render->request->to_stderr ? STDERR_FILENO : STDOUT_FILENO, pattern, &names);
    cw_emit(&output->out, &render->document, first->options.format); /* an error is kept in the output */
    result = cw_output_end(output, why, why_bytes);
    free(output);
    return result;
}

int cw_render_emit(struct cw_render *render)
{
    const struct cw_render_process *first = render->count ? render->processes[0] : NULL;
    char why[512];
    int result;

    if (!first || !render->built)
        return -1;
    if (first->of == CW_RENDER_DYING && !cw_document_has_findings(&render->document)) {
        say_remarks(render); /* it has no fd left, and wanted to be looked at: nothing was found */
        return 0;
    }
    result = write_to(render, first->options.log_path, why, sizeof why);
    if (result < 0 && render->request->to_stderr && first->options.log_path[0]) {
        /* Of a run: the ledgers are gone, so this is the last chance. */
        cw_say("%s; so it follows here:", why);
        result = write_to(render, "", why, sizeof why);
    }
    if (result < 0)
        cw_say("%s: %s; the ledger is kept: print it with cwguard report PID, or --dead once the process has ended",
               first->name, why);
    else
        say_remarks(render);
    return result;
}
