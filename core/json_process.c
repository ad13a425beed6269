/* JSON report: one process. */
#include "core/json.h"
#include "core/work.h"

#include <string.h>

void cw_json_redacted(struct cw_json *json, const char *key, const struct cw_report *report, enum cw_redaction which,
                      const char *value)
{
    struct cw_report_work *work = report->work;

    if (!value || !cw_redacts(report->in.redact, which)) {
        cw_json_str(json, key, value);
        return;
    }
    cw_out_line(&work->line_out, &work->line);
    cw_redact_text(&work->line_out, report->in.redact, which, value);
    cw_out_flush(&work->line_out);
    cw_json_str(json, key, work->line.text);
}

/* The program's name as it was called; its arguments, which may hold passwords, only with option `command`. */
static void out_command(struct cw_json *json, const struct cw_report *report)
{
    const char *p = report->view->header->command, *end = p + sizeof(report->view->header->command);
    bool all = report->in.options && report->in.options->command;

    cw_json_open(json, "command", '[');
    if (*p && !all)
        cw_json_redacted(json, NULL, report, CW_REDACT_COMMAND, cw_report_called(report));
    /* cw_report_build put a NUL at the very end */
    for (; all && p < end && *p; p += strlen(p) + 1)
        cw_json_redacted(json, NULL, report, CW_REDACT_COMMAND, p);
    cw_json_close(json, ']');
}

void cw_json_ended(struct cw_json *json, const struct cw_ledger *header)
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

static void out_truth(struct cw_json *json, const struct cw_report *report)
{
    uint32_t truth = report->view->header->truth;

    cw_json_str(json, "truth", truth == CW_TRUTH_KERNEL ? "kernel" : "last-sweep");
    if (truth == CW_TRUTH_NONE)
        cw_json_null(json, "truth_age_s");
    else
        cw_json_seconds(json, "truth_age_s", cw_report_truth_age_ms(report));
}

void cw_json_process(struct cw_json *json, const char *key, const struct cw_report *report)
{
    const struct cw_ledger *header = report->view->header;
    uint64_t started_ns = cw_report_started_real_ns(report);
    bool outside = (header->flags & CW_HEADER_OUTSIDE) != 0;

    cw_json_open(json, key, '{');
    cw_json_i64(json, "pid", header->pid);
    cw_json_i64(json, "ppid", header->ppid);
    cw_json_redacted(json, "host", report, CW_REDACT_HOST, header->host[0] ? header->host : NULL);
    cw_json_str(json, "exe", header->exe[0] ? header->exe : NULL);
    out_command(json, report);
    cw_json_utc(json, "started", started_ns);
    if (started_ns)
        cw_json_seconds(json, "uptime_s", cw_report_uptime_ms(report));
    else
        cw_json_null(json, "uptime_s");
    cw_json_ended(json, header);
    out_truth(json, report);
    cw_json_seconds(json, "grace_s", report->in.grace_ms);
    cw_json_bool(json, "recorded", !outside);
    cw_json_u64_if(json, "connections", !outside, header->counters[CW_COUNTER_connections]);
    cw_json_close(json, '}');
}
