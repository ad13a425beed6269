/* The text report, for people. */
#include "core/emit.h"
#include "core/names.h"
#include "core/outside_words.h"
#include "core/text.h"
#include "core/threads_report.h"

enum {
    WIDTH_HEAD = 103, /* where the diagnosis in a group's first line ends */
    WIDTH_NAMES = 48, /* longer function names do not push the other columns further to the right */
};

void cw_text_colour(struct cw_out *out, const struct cw_report *report, enum cw_colour colour)
{
    static const char *const codes[] = {"\033[0m", "\033[1m", "\033[1;31m", "\033[1;33m"};
    if (report->in.colour)
        cw_out_str(out, codes[colour]);
}

void cw_text_plural(struct cw_out *out, uint64_t n, const char *noun)
{
    cw_out_count(out, n);
    cw_out_char(out, ' ');
    cw_out_str(out, noun);
    if (n != 1)
        cw_out_char(out, 's');
}

struct cw_out *cw_text_line(const struct cw_report *report)
{
    cw_out_line(&report->work->line_out, &report->work->line);
    return &report->work->line_out;
}

const char *cw_text_take(const struct cw_report *report)
{
    cw_out_flush(&report->work->line_out);
    return report->work->line.text;
}

unsigned cw_text_columns(const char *s)
{
    unsigned n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xC0u) != 0x80u;
    return n;
}

void cw_text_widen(unsigned *width, unsigned to)
{
    if (to > *width && to <= WIDTH_NAMES)
        *width = to;
}

/* --- code paths --- */

static void out_head(struct cw_out *out, const struct cw_path *path, uint32_t number)
{
    const struct cw_report *report = path->parts->report;
    const struct cw_group *group = path->parts->group;
    bool late = group->section == CW_REPORT_CLOSED_LATE, error = group->severity == CW_SEVERITY_ERROR;
    bool failed = group->section == CW_REPORT_ERRORS;
    const struct cw_diagnosis *diagnosis = cw_diagnosis_words(report->view, group->diagnosis);
    struct cw_out *head = cw_text_line(report);

    cw_out_str(head, late ? "LATE " : failed ? "ERROR " : error ? "LEAK " : "NOTE ");
    cw_out_u64(head, number);
    cw_out_str(head, "  ");
    cw_text_plural(head, path->count, "socket");
    const char *state = failed ? " in CLOSE, not used" : " in CLOSE_WAIT";
    cw_out_str(head, late ? " closed after " : state);
    if (!late)
        cw_out_str(head, path->count == 1 ? " for " : ", oldest ");
    if (late && path->newest_ms / 1000 != path->oldest_ms / 1000) {
        cw_out_age(head, path->newest_ms);
        cw_out_str(head, " to ");
    }
    cw_out_age(head, path->oldest_ms);
    if (late) {
        cw_out_str(head, " in CLOSE_WAIT");
    } else if (path->count > 1) {
        cw_out_str(head, ", newest ");
        cw_out_age(head, path->newest_ms);
    }
    const char *label = cw_view_string(report->view, group->label);
    if (*label) {
        cw_out_str(head, ", ");
        cw_redact_text(head, report->in.redact, CW_REDACT_LABEL, label);
    }
    cw_out_str(head, "  ");
    unsigned tail = cw_text_columns(diagnosis->id) + 2;
    cw_text_colour(out, report, error ? CW_COLOUR_ERROR : CW_COLOUR_NOTE);
    cw_out_pad(out, cw_text_take(report), WIDTH_HEAD - tail);
    cw_out_char(out, '[');
    cw_out_str(out, diagnosis->id);
    cw_out_char(out, ']');
    cw_text_colour(out, report, CW_COLOUR_OFF);
    cw_out_str(out, "\n  ");
    cw_out_str(out, diagnosis->sentence);
    cw_out_char(out, '\n');
}

static void out_paths(struct cw_out *out, const struct cw_document *document, enum cw_report_section section)
{
    if (section == CW_REPORT_ERRORS && document->n_paths[section])
        cw_out_str(out,
                   "FAILED: these connections were reset or timed out and are still open; no CLOSE_WAIT any more\n");
    if (section == CW_REPORT_CLOSED_LATE && document->n_paths[section])
        cw_out_str(out, "CLOSED LATE: these sockets were closed, but only after they had leaked\n");
    for (uint32_t i = 0; i < cw_document_listed(document, section); i++) {
        const struct cw_path *path = &document->paths[section][i];
        out_head(out, path, i + 1);
        cw_text_stacks(out, path->parts->report, path->parts->group);
        cw_text_facts(out, document, path);
    }
    if (document->n_paths[section] > CW_PATHS_LISTED) {
        cw_out_str(out, "and ");
        cw_text_plural(out, document->n_paths[section] - CW_PATHS_LISTED, "more code path");
        cw_out_str(out, " with fewer sockets each: not listed\n");
    }
}

/* Who asks about a server that hangs now, without a recorder in it, wants to see where its threads are, however young the
 * sockets. */
static bool is_worth_a_look(const struct cw_document *document)
{
    for (uint32_t i = 0; i < document->n_reports; i++)
        if ((document->reports[i]->view->header->flags & CW_HEADER_OUTSIDE) && document->reports[i]->totals.settling)
            return true;
    return false;
}

void cw_emit_text(struct cw_out *out, const struct cw_document *document)
{
    if (!cw_document_has_findings(document) && !is_worth_a_look(document)) {
        cw_text_clean(out, document);
        return;
    }
    cw_text_heading(out, document);
    out_paths(out, document, CW_REPORT_LEAKS);
    out_paths(out, document, CW_REPORT_ERRORS);
    out_paths(out, document, CW_REPORT_CLOSED_LATE);
    for (uint32_t i = 0; i < document->n_reports; i++)
        if (document->reports[i]->view->header->flags & CW_HEADER_OUTSIDE)
            cw_text_threads(out, document->reports[i]);
    cw_text_end(out, document);
}
