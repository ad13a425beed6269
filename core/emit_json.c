/* The JSON report, schema cwguard-report/1 (docs/report.schema.json): every member is there, unknown ones are null. */
#include "core/emit.h"
#include "core/json.h"
#include "core/names.h"
#include "core/work.h"

#include <string.h>

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

static void out_command(struct cw_json *json, const struct cw_ledger *header)
{
    const char *p = header->command, *end = p + sizeof(header->command);

    cw_json_open(json, "command", '[');
    for (; p < end && *p; p += strlen(p) + 1) /* cw_report_build put a NUL at the very end */
        cw_json_str(json, NULL, p);
    cw_json_close(json, ']');
}

static void out_process(struct cw_json *json, const char *key, const struct cw_report *report)
{
    const struct cw_ledger *header = report->view->header;
    uint64_t started_ns = cw_report_started_real_ns(report);

    cw_json_open(json, key, '{');
    cw_json_i64(json, "pid", header->pid);
    cw_json_i64(json, "ppid", header->ppid);
    cw_json_str(json, "exe", header->exe[0] ? header->exe : NULL);
    out_command(json, header);
    cw_json_utc(json, "started", started_ns);
    if (started_ns)
        cw_json_seconds(json, "uptime_s", cw_report_uptime_ms(report));
    else
        cw_json_null(json, "uptime_s");
    cw_json_close(json, '}');
}

static void out_ended(struct cw_json *json, const struct cw_ledger *header)
{
    static const char *const hows[] = {"running", "exit", "signal", "exec", "killed"};

    cw_json_open(json, "ended", '{');
    cw_json_str(json, "how", header->ended < sizeof(hows) / sizeof(hows[0]) ? hows[header->ended] : NULL);
    if (header->ended == CW_ENDED_EXIT)
        cw_json_i64(json, "status", header->end_status);
    else
        cw_json_null(json, "status");
    if (header->ended == CW_ENDED_SIGNAL)
        cw_json_i64(json, "signal", header->end_status);
    else
        cw_json_null(json, "signal");
    cw_json_close(json, '}');
}

static void out_totals(struct cw_json *json, const struct cw_report *report)
{
    const uint64_t *counters = report->view->header->counters;

    cw_json_open(json, "totals", '{');
    cw_json_u64(json, "connections", counters[CW_COUNTER_connections]);
    cw_json_u64(json, "accepted", counters[CW_COUNTER_accepted]);
    cw_json_u64(json, "connected", counters[CW_COUNTER_connected]);
    cw_json_u64(json, "close_wait", report->totals.close_wait);
    cw_json_u64(json, "leaked", report->totals.leaked);
    cw_json_u64(json, "notes", report->totals.notes);
    cw_json_u64(json, "settling", report->totals.settling);
    cw_json_u64(json, "closed_late", report->totals.closed_late);
    cw_json_u64(json, "errors", report->totals.errors);
    cw_json_u64(json, "queued", report->totals.queued);
    cw_json_u64_if(json, "held_by_children", report->in.held_known, report->in.held_sockets);
    cw_json_u64(json, "closes_unseen", counters[CW_COUNTER_closes_unseen]);
    cw_json_null(json, "events_skipped"); /* nobody counts them */
    cw_json_u64(json, "stacks_rationed", counters[CW_COUNTER_stacks_rationed]);
    cw_json_u64(json, "table_full", counters[CW_COUNTER_table_full]);
    cw_json_u64(json, "late_dropped", counters[CW_COUNTER_late_dropped]);
    cw_json_u64(json, "not_listed", report->totals.not_listed);
    cw_json_close(json, '}');
}

/* --- the whole --- */

static void out_heading(struct cw_json *json, const struct cw_report *report)
{
    const struct cw_ledger *header = report->view->header;
    bool kernel = header->truth == CW_TRUTH_KERNEL;
    const char *version = report->in.tool_version ? report->in.tool_version : header->tool_version;

    cw_json_str(json, "schema", "cwguard-report/1");
    cw_json_str(json, "tool_version", version[0] ? version : NULL);
    cw_json_utc(json, "generated", report->in.now_real_ns);
    cw_json_str(json, "host", header->host[0] ? header->host : NULL);
    cw_json_str(json, "kernel", header->kernel[0] ? header->kernel : NULL);
    out_options(json, report->in.options);
    cw_json_seconds(json, "grace_s", report->in.grace_ms);
    cw_json_str(json, "truth", kernel ? "kernel" : "last-sweep");
    if (header->truth == CW_TRUTH_NONE)
        cw_json_null(json, "truth_age_s");
    else
        cw_json_seconds(json, "truth_age_s", cw_report_truth_age_ms(report));
    out_process(json, "process", report);
    cw_json_open(json, "processes", '[');
    out_process(json, NULL, report);
    cw_json_close(json, ']');
    out_ended(json, header);
    out_totals(json, report);
}

static void out_section(struct cw_json *json, const struct cw_report *report, const char *key,
                        enum cw_report_section section)
{
    cw_json_open(json, key, '[');
    for (uint32_t i = 0; i < report->n_groups[section]; i++)
        cw_json_group(json, report, &report->groups[section][i]);
    cw_json_close(json, ']');
}

static void out_empty(struct cw_json *json, const char *key)
{
    cw_json_open(json, key, '[');
    cw_json_close(json, ']');
}

void cw_emit_json(struct cw_out *out, const struct cw_report *report)
{
    struct cw_json json = {.out = out, .first = true};

    cw_json_open(&json, NULL, '{');
    out_heading(&json, report);
    out_section(&json, report, "leaks", CW_REPORT_LEAKS);
    out_section(&json, report, "closed_late", CW_REPORT_CLOSED_LATE);
    out_section(&json, report, "errors", CW_REPORT_ERRORS);
    out_empty(&json, "open");
    out_empty(&json, "unix");
    out_empty(&json, "suppressed");
    cw_json_null(&json, "time_wait");
    cw_json_close(&json, '}');
    cw_out_char(out, '\n');
}
