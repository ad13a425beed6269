/* Text report: the first line. */
#include "core/names.h"
#include "core/text.h"

#include <string.h>

enum { PIDS_SHOWN = 3 };

/* --- how it ended --- */

static void out_ended(struct cw_out *out, const struct cw_report *report)
{
    const struct cw_ledger *header = report->view->header;

    if (header->flags & CW_HEADER_SAVED) { /* of a process that ran then */
        cw_out_str(out, "as of ");
        cw_out_utc(out, report->in.now_real_ns - UINT64_C(1000000) * report->in.age_ms);
        cw_out_str(out, ", ");
    }
    switch (header->ended) {
    case CW_ENDED_EXIT:
        cw_out_str(out, "exited with status ");
        cw_out_i64(out, header->end_status);
        return;
    case CW_ENDED_SIGNAL:
        cw_out_str(out, "ended by ");
        cw_out_signal(out, header->end_status);
        return;
    case CW_ENDED_EXEC:
        cw_out_str(out, "before exec");
        return;
    case CW_ENDED_KILLED:
        cw_out_str(out, "killed");
        return;
    default:
        cw_out_str(out, "running");
        return;
    }
}

static bool same_end(const struct cw_ledger *a, const struct cw_ledger *b)
{
    bool how = a->ended == b->ended && (a->flags & CW_HEADER_SAVED) == (b->flags & CW_HEADER_SAVED);
    bool counts = a->ended == CW_ENDED_EXIT || a->ended == CW_ENDED_SIGNAL;
    return how && (!counts || a->end_status == b->end_status);
}

/* "running"; "3 running, 12 exited, 1 killed". */
static void out_ends(struct cw_out *out, const struct cw_document *document)
{
    static const char *const words[] = {" running", " exited", " ended by a signal", " before exec", " killed"};
    enum { WORDS = sizeof(words) / sizeof(words[0]) };
    uint32_t counts[WORDS] = {0}, shown = 0;
    bool same = true;

    for (uint32_t i = 0; i < document->n_reports; i++) {
        const struct cw_ledger *header = document->reports[i]->view->header;
        counts[header->ended < WORDS ? header->ended : CW_ENDED_RUNNING]++;
        same = same && same_end(header, document->reports[0]->view->header);
    }
    if (same) {
        out_ended(out, document->reports[0]);
        return;
    }
    for (unsigned i = 0; i < WORDS; i++) {
        if (!counts[i])
            continue;
        cw_out_str(out, shown++ ? ", " : "");
        cw_out_count(out, counts[i]);
        cw_out_str(out, words[i]);
    }
}

/* --- who --- */

static bool is_plain(const char *s)
{
    static const char plain[] = "%+,-./:=@_";
    const char *p = s;

    for (; *p; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || strchr(plain, *p)))
            return false;
    return p > s;
}

/* As a shell would take it. */
static void out_quoted(struct cw_out *out, const struct cw_report *report, const char *word)
{
    struct cw_out *line = cw_text_line(report);

    if (is_plain(word)) {
        cw_out_str(out, word);
        return;
    }
    for (; *word; word++) {
        if (*word == '\'')
            cw_out_str(line, "'\\''");
        else
            cw_out_char(line, *word);
    }
    cw_out_char(out, '\'');
    cw_out_safe(out, cw_text_take(report));
    cw_out_char(out, '\'');
}

/* The program's name as it was called; with option `command` its arguments too. */
static void out_command(struct cw_out *out, const struct cw_report *report)
{
    const struct cw_ledger *header = report->view->header;
    const char *p = header->command, *end = p + sizeof(header->command);
    bool all = report->in.options && report->in.options->command;

    if (!*p)
        cw_out_safe(out, header->exe);
    else if (!all)
        cw_redact_text(out, report->in.redact, CW_REDACT_COMMAND, cw_report_called(report));
    for (bool first = true; all && p < end && *p; p += strlen(p) + 1, first = false) {
        cw_out_str(out, first ? "" : " ");
        if (cw_redacts(report->in.redact, CW_REDACT_COMMAND))
            cw_redact_text(out, report->in.redact, CW_REDACT_COMMAND, p);
        else
            out_quoted(out, report, p);
    }
}

static void out_host(struct cw_out *out, const struct cw_document *document)
{
    const struct cw_report *first = document->reports[0];
    const char *host = first->view->header->host;
    bool others = false;

    for (uint32_t i = 1; i < document->n_reports; i++)
        others = others || strcmp(host, document->reports[i]->view->header->host) != 0;
    if (*host) {
        cw_out_str(out, " on ");
        cw_redact_text(out, first->in.redact, CW_REDACT_HOST, host);
    }
    if (others)
        cw_out_str(out, *host ? " and other hosts" : " on several hosts");
}

void cw_text_pid(struct cw_out *out, const struct cw_document *document, const struct cw_report *report)
{
    const char *name = cw_basename(report->view->header->exe);

    cw_out_i64(out, report->view->header->pid);
    if (!*name || !strcmp(name, cw_basename(document->reports[0]->view->header->exe)))
        return;
    cw_out_str(out, " (");
    cw_out_safe(out, name);
    cw_out_char(out, ')');
}

/* " (pid 4242 on web7)"; ", 40 processes (pids 12, 13, 14 and 37 more) on web7". */
static void out_pids(struct cw_out *out, const struct cw_document *document)
{
    uint32_t n = document->n_reports, shown = n <= PIDS_SHOWN + 1 ? n : PIDS_SHOWN;

    if (n == 1) {
        cw_out_str(out, " (pid ");
        cw_out_i64(out, document->reports[0]->view->header->pid);
        out_host(out, document);
        cw_out_char(out, ')');
        return;
    }
    cw_out_str(out, ", ");
    cw_out_count(out, n);
    cw_out_str(out, " processes (pids ");
    for (uint32_t i = 0; i < shown; i++) {
        cw_out_str(out, !i ? "" : i + 1 == n ? " and " : ", ");
        cw_text_pid(out, document, document->reports[i]);
    }
    if (n > shown) {
        cw_out_str(out, " and ");
        cw_out_count(out, n - shown);
        cw_out_str(out, " more");
    }
    cw_out_char(out, ')');
    out_host(out, document);
}

/* --- the rest --- */

void cw_text_connections(struct cw_out *out, const struct cw_document *document)
{
    uint32_t recorded = cw_document_recorded(document), n = document->n_reports;

    if (recorded) {
        cw_text_plural(out, cw_document_connections(document), "TCP connection");
        cw_out_str(out, recorded < n ? ", " : "");
    }
    if (recorded == n)
        return;
    if (recorded) {
        cw_out_count(out, n - recorded);
        cw_out_str(out, n - recorded == 1 ? " process " : " processes ");
    }
    /* Why the library has no ledger, where it is loaded: see cli/report/report_targets.c. */
    bool loaded = true;
    for (uint32_t i = 0; i < n; i++) {
        const struct cw_ledger *header = document->reports[i]->view->header;
        loaded = loaded && (!(header->flags & CW_HEADER_OUTSIDE) || header->off_reason[0]);
    }
    cw_out_str(out, loaded ? "without a ledger" : "without libcwguard.so");
    cw_out_str(out, ": what can be known from outside");
}

struct span {
    uint32_t least, most;
    bool any;
};

static void widen(struct span *span, uint32_t value)
{
    span->least = !span->any || value < span->least ? value : span->least;
    span->most = value > span->most ? value : span->most;
    span->any = true;
}

/* "30 s"; "30 s, 2 s for ended ones"; "2 s to 30 s". */
static void out_grace(struct cw_out *out, const struct cw_document *document)
{
    struct span running = {0}, ended = {0}, all = {0};

    for (uint32_t i = 0; i < document->n_reports; i++) {
        const struct cw_report *report = document->reports[i];
        bool runs = report->view->header->ended == CW_ENDED_RUNNING;
        widen(runs ? &running : &ended, report->in.grace_ms);
        widen(&all, report->in.grace_ms);
    }
    bool two = running.any && ended.any && running.least == running.most && ended.least == ended.most;
    cw_out_duration(out, two ? running.least : all.least);
    if (all.least == all.most)
        return;
    cw_out_str(out, two ? ", " : " to ");
    cw_out_duration(out, two ? ended.least : all.most);
    cw_out_str(out, two ? " for ended ones" : "");
}

static void out_redacted(struct cw_out *out, const struct cw_redact *redact)
{
#define CW_X(id, name) name,
    static const char *const names[] = {CW_REDACTIONS(CW_X)};
#undef CW_X
    const char *before = ", redacted: ";

    for (unsigned i = 0; i < CW_REDACT_COUNT; i++) {
        if (!cw_redacts(redact, (enum cw_redaction)i))
            continue;
        cw_out_str(out, before);
        cw_out_str(out, names[i]);
        before = ", ";
    }
}

void cw_text_heading(struct cw_out *out, const struct cw_document *document)
{
    const struct cw_report *first = document->reports[0];
    const char *version = first->in.tool_version ? first->in.tool_version : first->view->header->tool_version;

    cw_text_colour(out, first, CW_COLOUR_BOLD);
    cw_out_str(out, "== cwguard ");
    cw_out_safe(out, version);
    cw_out_str(out, ": ");
    out_command(out, first);
    out_pids(out, document);
    cw_out_str(out, ", ");
    cw_out_utc(out, first->in.now_real_ns);
    cw_out_str(out, ", up ");
    cw_out_duration(out, cw_report_uptime_ms(first));
    cw_out_str(out, ", ");
    cw_text_connections(out, document);
    cw_out_str(out, ", ");
    out_ends(out, document);
    cw_out_str(out, ", grace ");
    out_grace(out, document);
    out_redacted(out, first->in.redact);
    cw_text_colour(out, first, CW_COLOUR_OFF);
    cw_out_char(out, '\n');
}
