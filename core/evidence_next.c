/* What to do next about a group, and the name it goes by across builds. */
#include "core/evidence.h"
#include "core/names.h"
#include "core/work.h"

#include <string.h>

/* Writes "BEFORE on_readable (server.c:164)" for the innermost function of a stack that is not libc's, nothing if no name
 * is known. */
static void out_place(struct cw_out *out, const struct cw_report *report, const char *before, uint32_t stack)
{
    struct cw_report_work *work = report->work;
    unsigned n = cw_frames_shown(report->view, report->in.resolver, stack, work->symbols, work->frames);

    for (unsigned i = 0; i < n; i++) {
        const struct cw_module *module = cw_view_module(report->view, CW_FRAME_MODULE(work->frames[i]));
        if (module && (module->kind == CW_MODULE_LIBC || module->kind == CW_MODULE_LOADER))
            continue;
        const struct cw_symbol *symbol = &work->symbols[0];
        if (!cw_frame_symbols(report->view, report->in.resolver, work->frames[i], work->symbols) || !symbol->function)
            continue;
        cw_out_str(out, before);
        cw_out_str(out, symbol->function);
        cw_out_str(out, " (");
        if (symbol->file) {
            cw_out_str(out, cw_basename(symbol->file));
            cw_out_str(out, symbol->line ? ":" : "");
            if (symbol->line)
                cw_out_u64(out, symbol->line);
        } else {
            cw_frame_place(out, report->view, work->frames[i]);
        }
        cw_out_char(out, ')');
        return;
    }
}

const char *cw_evidence_next(const struct cw_report *report, const struct cw_group *group)
{
    const struct cw_conn *oldest = cw_report_conn(report, &report->items[group->first]);
    struct cw_out *out = &report->work->line_out;
    uint8_t call = 0;
    uint32_t stack = cw_diagnosis_stack(group->diagnosis, oldest, &call);

    cw_out_line(out, &report->work->line);
    if (group->diagnosis == CW_DIAGNOSIS_FIN_UNREAD && (oldest->k_flags & CW_K_QUEUES) && oldest->k_recv_q == 0) {
        /* Nothing is left to read: another process that shares it has read the end, or will not be told of it. */
        bool forked = oldest->origin == CW_ORIGIN_FORKED || report->view->header->counters[CW_COUNTER_forks] > 0;
        cw_out_str(
            out,
            forked ? "close() it here: nothing is left to read, another process that has it over fork may have read it"
                   : "close() it: nothing is left to read");
        out_place(out, report, "; it was opened in ", group->origin_stack);
        cw_out_flush(out);
        return report->work->line.text;
    }
    for (const char *p = cw_diagnoses[group->diagnosis].next; *p;) {
        if (!strncmp(p, "{call}", 6)) {
            cw_out_str(out, cw_call_name(call) ? cw_call_name(call) : "read");
            p += 6;
        } else if (!strncmp(p, "{at}", 4)) {
            out_place(out, report, stack ? ": " : "; it was opened in ", stack ? stack : group->origin_stack);
            p += 4;
        } else {
            cw_out_char(out, *p++);
        }
    }
    cw_out_flush(out);
    return report->work->line.text;
}

uint64_t cw_evidence_fingerprint(const struct cw_report *report, const struct cw_group *group)
{
    struct cw_report_work *work = report->work;
    uint64_t hash = cw_hash_str(CW_HASH_START, cw_diagnoses[group->diagnosis].id);

    hash = cw_hash_functions(hash, report->view, report->in.resolver, group->origin_stack, work->symbols);
    return cw_hash_functions(hash, report->view, report->in.resolver, group->deciding_stack, work->symbols);
}
