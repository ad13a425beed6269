/* What to do next about a group, and the name it goes by across builds. */
#include "core/evidence.h"
#include "core/names.h"
#include "core/outside_words.h"
#include "core/work.h"

#include <string.h>

/* libc, the loader and the C++ library: not where a bug is to be looked for. */
static bool is_library(const struct cw_view *view, uint64_t frame)
{
    const struct cw_module *module = cw_view_module(view, CW_FRAME_MODULE(frame));

    return module && (module->kind == CW_MODULE_LIBC || module->kind == CW_MODULE_LOADER ||
                      !strncmp(cw_basename(cw_view_string(view, module->path)), "libstdc++", 9));
}

/* The function at a frame that is worth naming: with a script's on the stack only those, else none of a C++ header that the
 * compiler has put inline. NULL if there is none. */
static const struct cw_symbol *worth_naming(const struct cw_report *report, uint64_t frame, bool of_script)
{
    struct cw_symbol *symbols = report->work->symbols;
    unsigned n = cw_frame_symbols(report->view, report->in.resolver, frame, symbols);

    for (unsigned i = 0; i < n && !is_library(report->view, frame); i++)
        if (symbols[i].function && (symbols[i].kind != CW_FRAME_NATIVE) == of_script &&
            !(symbols[i].file && strstr(symbols[i].file, "/c++/")))
            return &symbols[i];
    return NULL;
}

/* Writes "BEFORE on_readable (server.c:164)" for the innermost function of a stack that is worth naming, nothing if no name
 * is known. */
static void out_place(struct cw_out *out, const struct cw_report *report, const char *before, uint32_t stack)
{
    struct cw_report_work *work = report->work;
    unsigned n = cw_frames_shown(report->view, report->in.resolver, stack, work->symbols, work->frames);

    for (unsigned i = 0; n && i < 2 * n; i++) {
        uint64_t frame = work->frames[i % n];
        const struct cw_symbol *symbol = worth_naming(report, frame, i < n);
        if (!symbol)
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
            cw_frame_place(out, report->view, frame);
        }
        cw_out_char(out, ')');
        return;
    }
}

/* Writes the call's name and steps over "{call}", if it stands at *p. */
static bool out_call(struct cw_out *out, const char **p, uint8_t call)
{
    if (strncmp(*p, "{call}", 6) != 0)
        return false;
    cw_out_str(out, cw_call_name(call) ? cw_call_name(call) : "the program");
    *p += 6;
    return true;
}

void cw_evidence_out_decided(struct cw_out *out, enum cw_diagnosis_id diagnosis, uint8_t call)
{
    const char *p = cw_diagnoses[diagnosis].decided, *without_call = strchr(p, '|');

    if (!call && without_call)
        p = without_call + 1;
    while (*p && *p != '|')
        if (!out_call(out, &p, call))
            cw_out_char(out, *p++);
}

/* The matter with the listener of a group, NULL if the diagnosis knows none. */
static const struct cw_listener_variant *variant_of(const struct cw_report *report, const struct cw_group *group)
{
    const struct cw_conn *oldest = cw_report_conn(report, &report->items[group->first]);

    if (group->diagnosis != CW_DIAGNOSIS_NEVER_ACCEPTED)
        return NULL;
    return cw_listener_words(report->view, cw_context_listener(&report->context, oldest));
}

const char *cw_evidence_advice(const struct cw_report *report, const struct cw_group *group)
{
    const struct cw_listener_variant *variant = variant_of(report, group);
    return variant ? variant->advice : cw_diagnosis_words(report->view, group->diagnosis)->advice;
}

const char *cw_evidence_next(const struct cw_report *report, const struct cw_group *group)
{
    const struct cw_listener_variant *variant = variant_of(report, group);
    struct cw_out *out = &report->work->line_out;
    uint32_t stack = group->deciding_stack;

    cw_out_line(out, &report->work->line);
    for (const char *p = variant ? variant->next : cw_diagnosis_words(report->view, group->diagnosis)->next; *p;) {
        if (out_call(out, &p, group->deciding_call))
            continue;
        if (strncmp(p, "{at}", 4) == 0) {
            const char *opened = variant ? "; the listener was set up in " : "; it was opened in ";
            out_place(out, report, stack ? ": " : opened, stack ? stack : group->origin_stack);
            p += 4;
        } else {
            cw_out_char(out, *p++);
        }
    }
    /* In the process itself only the recorder's word is to be had of other threads. */
    if (group->diagnosis == CW_DIAGNOSIS_OWNER_STUCK && group->deciding_call)
        cw_out_str(out, "; asked while it hangs, cwguard report PID shows its stack");
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
