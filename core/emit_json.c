/* The JSON report, schema cwguard-report/1 (docs/report.schema.json): every member is there, unknown ones are null. */
#include "core/emit.h"
#include "core/json.h"
#include "core/names.h"
#include "core/threads_report.h"

/* --- heading --- */

static void out_options(struct cw_json *json, const struct cw_options *options)
{
    cw_json_open(json, "options", '{');
    for (size_t i = 0; options && i < cw_options_count; i++) {
        const struct cw_option *row = &cw_options_table[i];
        struct cw_out *out = cw_json_key(json, row->name);
        const char *field = (const char *)options + row->offset;
        if (row->type == CW_OPTION_UINT) {
            cw_option_value(out, options, row);
        } else if (row->type == CW_OPTION_BOOL) {
            cw_out_str(out, *(const bool *)field ? "true" : "false");
        } else if (row->type == CW_OPTION_STRING) {
            cw_out_json_str(out, field);
        } else {
            cw_out_char(out, '"');
            cw_option_value(out, options, row); /* "30s", "256M", "note": nothing to escape */
            cw_out_char(out, '"');
        }
    }
    cw_json_close(json, '}');
}

static void out_redacted(struct cw_json *json, const struct cw_redact *redact)
{
#define CW_X(id, name) name,
    static const char *const names[] = {CW_REDACTIONS(CW_X)};
#undef CW_X

    cw_json_open(json, "redacted", '[');
    for (unsigned i = 0; i < CW_REDACT_COUNT; i++)
        if (cw_redacts(redact, (enum cw_redaction)i))
            cw_json_str(json, NULL, names[i]);
    cw_json_close(json, ']');
}

static void out_totals(struct cw_json *json, const struct cw_document *document)
{
    const struct cw_report_totals *totals = &document->totals;
    bool recorded = cw_document_recorded(document) != 0, held_known = false;
    uint64_t held = 0;
#define N(counter) cw_document_counter(document, CW_COUNTER_##counter)

    for (uint32_t i = 0; i < document->n_reports; i++) {
        held_known = held_known || document->reports[i]->in.held_known;
        held += document->reports[i]->in.held_sockets;
    }
    cw_json_open(json, "totals", '{');
    cw_json_u64_if(json, "connections", recorded, cw_document_connections(document));
    cw_json_u64_if(json, "accepted", recorded, N(accepted));
    cw_json_u64_if(json, "connected", recorded, N(connected));
    cw_json_u64(json, "close_wait", totals->close_wait);
    cw_json_u64(json, "leaked", totals->leaked);
    cw_json_u64(json, "notes", totals->notes);
    cw_json_u64(json, "settling", totals->settling);
    cw_json_u64_if(json, "closed_late", recorded, totals->closed_late);
    cw_json_u64(json, "errors", totals->errors);
    cw_json_u64(json, "queued", totals->queued);
    cw_json_u64_if(json, "held_by_children", held_known, held);
    cw_json_u64_if(json, "closes_unseen", recorded, N(closes_unseen));
    cw_json_null(json, "events_skipped"); /* nobody counts them */
    cw_json_u64(json, "stacks_rationed", N(stacks_rationed));
    cw_json_u64(json, "table_full", N(table_full));
    cw_json_u64(json, "late_dropped", N(late_dropped));
    cw_json_u64(json, "not_listed", totals->not_listed);
    cw_json_close(json, '}');
#undef N
}

/* kernel only if that holds for all; else the oldest word that stands behind one of them. */
static void out_truth(struct cw_json *json, const struct cw_document *document)
{
    bool kernel = true, known = false;
    uint64_t age_ms = 0;

    for (uint32_t i = 0; i < document->n_reports; i++) {
        const struct cw_report *report = document->reports[i];
        uint32_t truth = report->view->header->truth;
        kernel = kernel && truth == CW_TRUTH_KERNEL;
        if (truth == CW_TRUTH_NONE)
            continue;
        known = true;
        age_ms = cw_report_truth_age_ms(report) > age_ms ? cw_report_truth_age_ms(report) : age_ms;
    }
    cw_json_str(json, "truth", kernel ? "kernel" : "last-sweep");
    if (known)
        cw_json_seconds(json, "truth_age_s", age_ms);
    else
        cw_json_null(json, "truth_age_s");
}

/* --- the whole --- */

static void out_heading(struct cw_json *json, const struct cw_document *document)
{
    const struct cw_report *first = document->reports[0];
    const struct cw_ledger *header = first->view->header;
    const char *version = first->in.tool_version ? first->in.tool_version : header->tool_version;

    cw_json_str(json, "schema", "cwguard-report/1");
    cw_json_str(json, "tool_version", version[0] ? version : NULL);
    cw_json_utc(json, "generated", first->in.now_real_ns);
    cw_json_redacted(json, "host", first, CW_REDACT_HOST, header->host[0] ? header->host : NULL);
    cw_json_str(json, "kernel", header->kernel[0] ? header->kernel : NULL);
    out_redacted(json, first->in.redact);
    out_options(json, first->in.options);
    cw_json_seconds(json, "grace_s", first->in.grace_ms);
    out_truth(json, document);
    cw_json_process(json, "process", first);
    cw_json_open(json, "processes", '[');
    for (uint32_t i = 0; i < document->n_reports; i++)
        cw_json_process(json, NULL, document->reports[i]);
    cw_json_close(json, ']');
    cw_json_ended(json, header);
    out_totals(json, document);
}

static void out_section(struct cw_json *json, const struct cw_document *document, const char *key,
                        enum cw_report_section section)
{
    cw_json_open(json, key, '[');
    for (uint32_t i = 0; i < cw_document_listed(document, section); i++)
        cw_json_path(json, &document->paths[section][i]);
    cw_json_close(json, ']');
}

static void out_listeners(struct cw_json *json, const struct cw_document *document)
{
    cw_json_open(json, "listeners", '[');
    for (uint32_t i = 0; i < document->n_reports; i++)
        cw_json_listeners(json, document->reports[i]);
    cw_json_close(json, ']');
}

static void out_threads(struct cw_json *json, const struct cw_document *document)
{
    cw_json_open(json, "threads", '[');
    for (uint32_t i = 0; i < document->n_reports; i++)
        cw_json_threads(json, document->reports[i]);
    cw_json_close(json, ']');
}

static void out_empty(struct cw_json *json, const char *key)
{
    cw_json_open(json, key, '[');
    cw_json_close(json, ']');
}

void cw_emit_json(struct cw_out *out, const struct cw_document *document)
{
    struct cw_json json = {.out = out, .first = true};

    cw_json_open(&json, NULL, '{');
    out_heading(&json, document);
    out_section(&json, document, "leaks", CW_REPORT_LEAKS);
    out_section(&json, document, "closed_late", CW_REPORT_CLOSED_LATE);
    out_section(&json, document, "errors", CW_REPORT_ERRORS);
    out_threads(&json, document);
    out_listeners(&json, document);
    out_empty(&json, "open");
    out_empty(&json, "unix");
    out_empty(&json, "suppressed");
    cw_json_null(&json, "time_wait");
    cw_json_close(&json, '}');
    cw_out_char(out, '\n');
}
