/* The recorder's own rendering. See self_report.h. */
#define _GNU_SOURCE
#include "preload/self_report.h"

#include "core/atomic.h"
#include "core/emit.h"
#include "preload/clock.h"
#include "preload/ledger_file.h"
#include "preload/ledger_parts.h"
#include "preload/probe.h"
#include "preload/self_output.h"
#include "preload/spawn.h"
#include "preload/sys.h"

#include <signal.h>
#include <string.h>

#define BIT(signal) (UINT64_C(1) << ((signal)-1))

/* Everything of some size: the thread that ends the process may be in a signal handler on a small stack. */
struct work {
    struct cw_view view;
    struct cw_report report;
    const struct cw_report *reports[1];
    struct cw_document document;
    struct cw_resolver resolver;
    struct cw_out out;
    struct cw_self_output output;
    _Alignas(16) unsigned char symbols[CW_SELF_SYMBOLS_BYTES];
    _Alignas(16) unsigned char scratch[];
};

static const char *format_name(unsigned format)
{
    static const char *const names[] = {
#define CW_X(id, name, function) [CW_FORMAT_##id] = name,
        CW_EMITTERS(CW_X)
#undef CW_X
    };
    return format < CW_FORMAT_COUNT ? names[format] : "text";
}

/* --- signals that writing may raise --- */

struct held {
    uint64_t before, pending;
    bool may_release;
};

static const uint64_t raised_by_writing = BIT(SIGPIPE) | BIT(SIGXFSZ);

static uint64_t pending_now(void)
{
    uint64_t pending = 0;
    cw_sys(SYS_rt_sigpending, &pending, 8L);
    return pending;
}

static void signals_hold(struct held *held)
{
    held->may_release = cw_static.may & CW_MAY_SIGNALS;
    if (held->may_release)
        held->pending = pending_now();
    cw_sys(SYS_rt_sigprocmask, SIG_BLOCK, &raised_by_writing, &held->before, 8L);
}

/* Takes back what came of our writes, so that the program's own mask can return. Where a filter forbids that, the two
 * signals stay blocked in this thread for the rest of the process, which is short. */
static void signals_release(const struct held *held)
{
    struct timespec no_time = {0};
    if (!held->may_release)
        return;
    uint64_t ours = pending_now() & raised_by_writing & ~held->pending;
    if (ours)
        cw_sys(SYS_rt_sigtimedwait, &ours, 0L, &no_time, 8L);
    cw_sys(SYS_rt_sigprocmask, SIG_SETMASK, &held->before, 0L, 8L);
}

/* --- the report --- */

static void fill_input(struct cw_report_input *in, const struct work *work)
{
    const struct cw_ledger *header = work->view.header;
    /* Of the vDSO's clocks only the coarse ones never become system calls nor read the time stamp counter, which strict
     * seccomp forbids. */
    *in = (struct cw_report_input){
        /* What the kernel was asked a moment ago is not to grow older on the way here. */
        .now_ms = header->truth == CW_TRUTH_KERNEL && header->truth_ms ? header->truth_ms : cw_now_ms(),
        .now_real_ns = cw_clock_ns(CLOCK_REALTIME_COARSE),
        .grace_ms = header->ended == CW_ENDED_RUNNING ? header->grace_ms : header->exit_grace_ms,
        .late = (enum cw_late)cw_static.options.late,
        .options = &cw_static.options,
        .resolver = CW_GET(cw_static.seccomp) ? NULL : &work->resolver, /* it asks the kernel what is mapped */
    };
}

static void write_how_to_resolve(struct cw_out *out)
{
    cw_out_str(out, "cwguard: the tool could not be run, so there are no files and lines");
    if (CW_P->path_known) {
        cw_out_str(out, "; for them run: cwguard report ");
        cw_out_safe(out, CW_P->ledger_path);
    }
    cw_out_char(out, '\n');
    cw_out_flush(out);
}

/* The report in the first half of the scratch memory, the document in the second: a group takes less there than a group and
 * its first socket take in the report. */
static bool build(struct work *work, size_t scratch_bytes, const struct cw_report_input *in)
{
    size_t half = (scratch_bytes / 2) & ~(size_t)15;

    work->reports[0] = &work->report;
    return cw_report_build(&work->report, &work->view, in, work->scratch, half) == 0 &&
           cw_document_build(&work->document, work->reports, 1, work->scratch + half, scratch_bytes - half) == 0;
}

static bool render(struct work *work, size_t scratch_bytes, int out_fd, enum cw_self_where where)
{
    struct cw_report_input in;
    unsigned format = cw_static.options.format;
    const struct cw_self_output_names names = {
        .pattern = cw_static.options.log_path,
        .exe = work->view.header->exe,
        .format = format_name(format),
        .pid = work->view.header->pid,
    };

    cw_self_symbols(&work->resolver, work->symbols);
    fill_input(&in, work);
    if (!build(work, scratch_bytes, &in))
        return false;
    if (!cw_document_has_findings(&work->document))
        return true; /* it was the tool that should have found something (CW_HEADER_NO_FDS) */
    if (cw_self_output_begin(&work->output, &work->out, out_fd, &names, where) != 0)
        return false;
    if (format == CW_FORMAT_TEXT)
        write_how_to_resolve(&work->out); /* first: the report's last line is its SUMMARY */
    int failed = cw_emit(&work->out, &work->document, format);
    return cw_self_output_end(&work->output, failed) == 0;
}

/* Memory for the work: fresh, or what was put aside when the ledger came to lie in anonymous memory, so that not even
 * mmap is called under the program's own filter. */
static struct work *work_new(size_t *ret_scratch_bytes)
{
    struct cw_view view;
    if (CW_GET(cw_static.seccomp)) {
        size_t spare_bytes;
        struct work *work = cw_ledger_spare(&spare_bytes);
        if (!work || spare_bytes < 2 * sizeof *work || cw_ledger_snapshot(&work->view) != 0)
            return NULL;
        *ret_scratch_bytes = spare_bytes - sizeof *work;
        return work;
    }
    if (cw_ledger_snapshot(&view) != 0)
        return NULL;
    *ret_scratch_bytes = 2 * ((cw_report_scratch_bytes(&view) + 15) & ~(size_t)15);
    struct work *work = cw_spawn_map(sizeof *work + *ret_scratch_bytes);
    if (work)
        work->view = view;
    return work;
}

bool cw_self_report(int out_fd, enum cw_self_where where)
{
    size_t scratch_bytes = 0;
    struct held held;

    struct work *work = work_new(&scratch_bytes);
    if (!work)
        return false;
    if (CW_GET(cw_static.seccomp))
        return render(work, scratch_bytes, out_fd, where);
    signals_hold(&held);
    bool done = render(work, scratch_bytes, out_fd, where);
    signals_release(&held);
    return done;
}
