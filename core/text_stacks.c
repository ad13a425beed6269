/* Text report: the stacks of a group. */
#include "core/names.h"
#include "core/outside_words.h"
#include "core/text.h"

/* "on_readable", "on_readable (inlined)", "libfoo.so+0x12" where no name is known: into the work line. */
static const char *function_text(const struct cw_report *report, const struct cw_symbol *symbol, uint64_t frame)
{
    struct cw_out *out = cw_text_line(report);

    if (symbol && symbol->function) {
        cw_out_safe(out, symbol->function);
        if (symbol->inlined)
            cw_out_str(out, " (inlined)");
        return cw_text_take(report);
    }
    cw_frame_place(out, report->view, frame);
    return cw_text_take(report);
}

static const char *file_text(const struct cw_report *report, const struct cw_symbol *symbol)
{
    struct cw_out *out = cw_text_line(report);

    if (symbol && symbol->file) {
        cw_out_safe(out, cw_basename(symbol->file));
        if (symbol->line) {
            cw_out_char(out, ':');
            cw_out_u64(out, symbol->line);
        }
    }
    return cw_text_take(report);
}

/* Where the frame lies: "(server+0x1a2f)", or its build-id where that is all there is to look it up by. */
static void out_place(struct cw_out *out, const struct cw_report *report, uint64_t frame, bool named)
{
    const struct cw_module *module = cw_view_module(report->view, CW_FRAME_MODULE(frame));

    if (named) {
        cw_frame_place(cw_text_line(report), report->view, frame);
        cw_out_char(out, '(');
        cw_out_safe(out, cw_text_take(report));
        cw_out_char(out, ')');
    } else if (module && module->build_id_len) {
        cw_out_str(out, "(build-id ");
        cw_module_build_id(out, module);
        cw_out_char(out, ')');
    }
}

/* Padded; one that sticks out is kept apart from the next as well. */
static void out_column(struct cw_out *out, const char *text, unsigned width)
{
    unsigned columns = cw_text_columns(text);
    cw_out_pad(out, text, columns + 2 > width ? columns + 2 : width);
}

struct widths {
    unsigned function, file;
};

static struct widths frame_widths(const struct cw_report *report, unsigned n)
{
    struct cw_report_work *work = report->work;
    struct widths widths = {0, 0};

    for (unsigned i = 0; i < n; i++) {
        unsigned k = cw_frame_symbols(report->view, report->in.resolver, work->frames[i], work->symbols);
        for (unsigned j = 0; j < k || !j; j++) {
            const struct cw_symbol *symbol = k ? &work->symbols[j] : NULL;
            cw_text_widen(&widths.function, cw_text_columns(function_text(report, symbol, work->frames[i])));
            cw_text_widen(&widths.file, cw_text_columns(file_text(report, symbol)));
        }
    }
    return widths;
}

void cw_text_frames(struct cw_out *out, const struct cw_report *report, uint32_t stack)
{
    struct cw_report_work *work = report->work;
    unsigned n = cw_frames_shown(report->view, report->in.resolver, stack, work->symbols, work->frames), number = 0;
    struct widths widths = frame_widths(report, n);

    for (unsigned i = 0; i < n; i++) {
        unsigned k = cw_frame_symbols(report->view, report->in.resolver, work->frames[i], work->symbols);
        for (unsigned j = 0; j < k || !j; j++, number++) {
            const struct cw_symbol *symbol = k ? &work->symbols[j] : NULL;
            cw_out_str(out, "    #");
            cw_out_u64(out, number);
            cw_out_str(out, number < 10 ? "  " : " ");
            out_column(out, function_text(report, symbol, work->frames[i]), widths.function + 2);
            if (widths.file)
                out_column(out, file_text(report, symbol), widths.file + 2);
            out_place(out, report, work->frames[i], symbol && symbol->function);
            cw_out_char(out, '\n');
        }
    }
    unsigned flags = 0;
    const uint64_t *all = NULL;
    if (!cw_view_stack(report->view, stack, &all, &flags))
        return;
    if (flags & CW_STACK_CALLER_ONLY)
        cw_out_str(out, "    (only the caller is known)\n");
    else if ((flags & CW_STACK_TRUNCATED) && (report->view->header->flags & CW_HEADER_OUTSIDE))
        cw_out_str(out, "    (from where it was called further out is not known)\n");
    else if (flags & CW_STACK_TRUNCATED)
        cw_out_str(out, "    (deeper frames were not kept: option depth)\n");
}

/* "  allocated by accept4 at" and the frames below it. */
static void out_stack(struct cw_out *out, const struct cw_report *report, const char *what, unsigned call,
                      uint32_t stack)
{
    const uint64_t *frames = NULL;

    cw_out_str(out, "  ");
    cw_out_str(out, what);
    if (cw_call_name(call)) {
        cw_out_str(out, " by ");
        cw_out_str(out, cw_call_name(call));
    }
    if (!cw_view_stack(report->view, stack, &frames, NULL)) {
        cw_out_str(out, "; no stack is known\n");
        return;
    }
    cw_out_str(out, " at\n");
    cw_text_frames(out, report, stack);
}

void cw_text_stacks(struct cw_out *out, const struct cw_report *report, const struct cw_group *group)
{
    const struct cw_conn *oldest = cw_report_conn(report, &report->items[group->first]);
    const uint64_t *frames = NULL;

    if (cw_is_outside(report->view)) {
        return; /* no stack of its past is known; its threads stand apart */
    } else if (oldest->origin == CW_ORIGIN_QUEUED) {
        out_stack(out, report, "in the queue of the listener set up", oldest->open_call, group->origin_stack);
    } else if (cw_view_stack(report->view, group->origin_stack, &frames, NULL)) {
        out_stack(out, report, "allocated", oldest->open_call, group->origin_stack);
    } else {
        cw_out_str(out, "  allocated where no hook was: ");
        cw_out_str(out, cw_origin_words(oldest->origin));
        cw_out_char(out, '\n');
    }
    if (cw_view_stack(report->view, group->deciding_stack, &frames, NULL)) {
        cw_out_str(out, "  ");
        cw_evidence_out_decided(out, group->diagnosis, group->deciding_call);
        cw_out_char(out, '\n');
        cw_text_frames(out, report, group->deciding_stack);
    }
    if (group->section == CW_REPORT_CLOSED_LATE)
        out_stack(out, report, "closed at last", cw_report_conn(report, &report->items[group->first])->close_call,
                  group->close_stack);
}
