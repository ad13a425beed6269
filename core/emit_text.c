/* The text report, for people. */
#include "core/emit.h"
#include "core/names.h"
#include "core/text.h"

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

/* --- heading --- */

static void out_ended(struct cw_out *out, const struct cw_ledger *header)
{
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

static void out_heading(struct cw_out *out, const struct cw_report *report)
{
    const struct cw_ledger *header = report->view->header;
    const char *version = report->in.tool_version ? report->in.tool_version : header->tool_version;

    cw_text_colour(out, report, CW_COLOUR_BOLD);
    cw_out_str(out, "== cwguard ");
    cw_out_safe(out, version);
    cw_out_str(out, ": ");
    cw_out_safe(out, header->command[0] ? header->command : header->exe);
    cw_out_str(out, " (pid ");
    cw_out_i64(out, header->pid);
    if (header->host[0]) {
        cw_out_str(out, " on ");
        cw_out_safe(out, header->host);
    }
    cw_out_str(out, "), ");
    cw_out_utc(out, report->in.now_real_ns);
    cw_out_str(out, ", up ");
    cw_out_duration(out, cw_report_uptime_ms(report));
    cw_out_str(out, ", ");
    cw_text_plural(out, header->counters[CW_COUNTER_connections], "TCP connection");
    cw_out_str(out, ", ");
    out_ended(out, header);
    cw_out_str(out, ", grace ");
    cw_out_duration(out, report->in.grace_ms);
    cw_text_colour(out, report, CW_COLOUR_OFF);
    cw_out_char(out, '\n');
}

/* --- groups --- */

static void out_group_head(struct cw_out *out, const struct cw_report *report, const struct cw_group *group,
                           uint32_t number)
{
    bool late = group->section == CW_REPORT_CLOSED_LATE, error = group->severity == CW_SEVERITY_ERROR;
    bool failed = group->section == CW_REPORT_ERRORS;
    const struct cw_diagnosis *diagnosis = &cw_diagnoses[group->diagnosis];
    struct cw_out *head = cw_text_line(report);

    cw_out_str(head, late ? "LATE " : failed ? "ERROR " : error ? "LEAK " : "NOTE ");
    cw_out_u64(head, number);
    cw_out_str(head, "  ");
    cw_text_plural(head, group->count, "socket");
    const char *state = failed ? " in CLOSE, not used" : " in CLOSE_WAIT";
    cw_out_str(head, late ? " closed after " : state);
    if (!late)
        cw_out_str(head, group->count == 1 ? " for " : ", oldest ");
    if (late && group->newest_ms / 1000 != group->oldest_ms / 1000) {
        cw_out_age(head, group->newest_ms);
        cw_out_str(head, " to ");
    }
    cw_out_age(head, group->oldest_ms);
    if (late) {
        cw_out_str(head, " in CLOSE_WAIT");
    } else if (group->count > 1) {
        cw_out_str(head, ", newest ");
        cw_out_age(head, group->newest_ms);
    }
    const char *label = cw_view_string(report->view, group->label);
    if (*label) {
        cw_out_str(head, ", ");
        cw_out_safe(head, label);
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

static void out_groups(struct cw_out *out, const struct cw_report *report, enum cw_report_section section)
{
    if (section == CW_REPORT_ERRORS && report->n_groups[section])
        cw_out_str(out,
                   "FAILED: these connections were reset or timed out and are still open; no CLOSE_WAIT any more\n");
    if (section == CW_REPORT_CLOSED_LATE && report->n_groups[section])
        cw_out_str(out, "CLOSED LATE: these sockets were closed, but only after they had leaked\n");
    for (uint32_t i = 0; i < report->n_groups[section]; i++) {
        const struct cw_group *group = &report->groups[section][i];
        out_group_head(out, report, group, i + 1);
        cw_text_stacks(out, report, group);
        cw_text_facts(out, report, group);
    }
}

/* --- the end --- */

struct unseen {
    uint64_t n;
    bool always; /* shown as 0 beside others */
    const char *singular, *plural;
};

/* What was not had because sock_diag was refused: TCP_INFO, asked socket by socket, tells times and no Recv-Q,
 * /proc/net/tcp Recv-Q and no times. */
static const char *without_netlink(const struct cw_report *report)
{
    static const char *const what[] = {"sock_diag (", "Recv-Q (no sock_diag: ", "since when (no sock_diag: "};
    struct cw_out *out = cw_text_line(report);
    bool queues = true, times = true;

    for (unsigned section = 0; section < CW_REPORT_SECTIONS; section++)
        for (uint32_t i = 0; i < report->n_groups[section]; i++) {
            const struct cw_group *group = &report->groups[section][i];
            for (uint32_t k = 0; section != CW_REPORT_ERRORS && k < group->count; k++) {
                const struct cw_conn *conn = cw_report_conn(report, &report->items[group->first + k]);
                queues = queues && (conn->k_flags & CW_K_QUEUES);
                times = times && (conn->k_last_ack_recv || conn->k_last_data_sent);
            }
        }
    cw_out_str(out, what[!queues ? 1 : !times ? 2 : 0]);
    if (report->view->header->netlink_errno > 0)
        cw_out_errno(out, report->view->header->netlink_errno);
    else
        cw_out_str(out, "refused");
    cw_out_str(out, queues ? "; /proc/net/tcp was read instead)" : ")");
    return cw_text_take(report);
}

static void out_unseen(struct cw_out *out, const struct cw_report *report)
{
    const struct cw_ledger *header = report->view->header;
    const uint64_t *counters = header->counters;
    const struct unseen rows[] = {
        {counters[CW_COUNTER_closes_unseen], true, "close (raw system calls)", "closes (raw system calls)"},
        {counters[CW_COUNTER_stacks_rationed], true, "stack rationed", "stacks rationed"},
        {counters[CW_COUNTER_table_full], false, "fact for which there was no room",
         "facts for which there was no room"},
        {counters[CW_COUNTER_late_dropped], false, "socket closed late, not kept", "sockets closed late, not kept"},
        {counters[CW_COUNTER_lines_dropped], false, "line for stderr", "lines for stderr"},
        {report->totals.not_listed, false, "socket not listed for want of memory",
         "sockets not listed for want of memory"},
    };
    const char *words[3] = {NULL, NULL, NULL};
    bool stale = header->truth != CW_TRUTH_KERNEL, any = stale;

    if (header->flags & CW_HEADER_ANONYMOUS)
        words[0] = "nothing survives the process (the ledger is anonymous memory)";
    if (header->flags & CW_HEADER_NO_NETLINK)
        words[1] = without_netlink(report);
    if (header->flags & CW_HEADER_OFF)
        words[2] = header->off_reason;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        any = any || rows[i].n;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        any = any || words[i];
    if (!any)
        return;
    cw_out_str(out, "not seen   ");
    for (size_t i = 0, shown = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (!rows[i].n && !rows[i].always)
            continue;
        cw_out_str(out, shown++ ? ", " : "");
        cw_out_count(out, rows[i].n);
        cw_out_char(out, ' ');
        cw_out_str(out, rows[i].n == 1 ? rows[i].singular : rows[i].plural);
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        cw_out_str(out, words[i] ? ", " : "");
        cw_out_safe(out, words[i] ? words[i] : "");
    }
    if (stale) {
        cw_out_str(out, ", state as of ");
        cw_out_age(out, cw_report_truth_age_ms(report));
        cw_out_str(out, " ago");
    }
    cw_out_char(out, '\n');
}

static uint32_t error_groups(const struct cw_report *report, enum cw_severity severity)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < report->n_groups[CW_REPORT_LEAKS]; i++)
        n += report->groups[CW_REPORT_LEAKS][i].severity == severity;
    return n;
}

/* "3 sockets that this process has closed are kept open by its child 4321 (sleep, fd 7): see held-elsewhere" */
static void out_held(struct cw_out *out, const struct cw_report_input *in)
{
    cw_text_plural(out, in->held_sockets, "socket");
    cw_out_str(out, in->held_sockets == 1 ? " that this process has closed is" : " that this process has closed are");
    cw_out_str(out, in->held_by_descendant ? " kept open by its descendant " : " kept open by its child ");
    cw_out_i64(out, in->held_pid);
    cw_out_str(out, " (");
    if (in->held_name[0]) {
        cw_out_safe(out, in->held_name);
        cw_out_str(out, ", ");
    }
    cw_out_str(out, "fd ");
    cw_out_i64(out, in->held_fd);
    cw_out_char(out, ')');
    if (in->held_pids > 1) {
        cw_out_str(out, " and ");
        cw_out_count(out, in->held_pids - 1);
        cw_out_str(out, " more");
    }
    cw_out_str(out, ": see held-elsewhere");
}

static void out_asides(struct cw_out *out, const struct cw_report *report)
{
    if (report->totals.settling) {
        cw_out_str(out, "settling   ");
        cw_text_plural(out, report->totals.settling, "socket");
        cw_out_str(out, " in CLOSE_WAIT, but not for longer than the grace period, or only since the end began\n");
    }
    if (report->in.held_sockets) {
        cw_out_str(out, "held       ");
        out_held(out, &report->in);
        cw_out_char(out, '\n');
    }
}

static void out_summary(struct cw_out *out, const struct cw_report *report)
{
    cw_text_colour(out, report, CW_COLOUR_BOLD);
    cw_out_str(out, "SUMMARY: cwguard: ");
    if (report->totals.leaked) {
        cw_text_plural(out, report->totals.leaked, "socket");
        cw_out_str(out, " left in CLOSE_WAIT by ");
        cw_text_plural(out, error_groups(report, CW_SEVERITY_ERROR), "code path");
    } else {
        cw_out_str(out, report->totals.notes ? "no leaks" : "no sockets left in CLOSE_WAIT");
    }
    if (report->totals.notes) {
        cw_out_str(out, ", ");
        cw_text_plural(out, report->totals.notes, "socket");
        cw_out_str(out, " in CLOSE_WAIT noted");
    }
    if (report->n_groups[CW_REPORT_ERRORS]) {
        cw_out_str(out, ", ");
        cw_out_count(out, report->totals.errors);
        cw_out_str(out, " failed and not closed by ");
        cw_text_plural(out, report->n_groups[CW_REPORT_ERRORS], "code path");
    }
    if (report->n_groups[CW_REPORT_CLOSED_LATE]) {
        cw_out_str(out, ", ");
        cw_out_count(out, report->totals.closed_late);
        cw_out_str(out, " closed late by ");
        cw_text_plural(out, report->n_groups[CW_REPORT_CLOSED_LATE], "code path");
    }
    cw_text_colour(out, report, CW_COLOUR_OFF);
    cw_out_char(out, '\n');
}

/* The one line that a clean run gets, if it gets any. */
static void out_clean(struct cw_out *out, const struct cw_report *report)
{
    const struct cw_ledger *header = report->view->header;
    cw_out_str(out, "cwguard: ");
    if (header->ended == CW_ENDED_KILLED) { /* one of several perhaps, and nobody sees which */
        cw_out_safe(out, cw_basename(header->exe));
        cw_out_str(out, " (pid ");
        cw_out_i64(out, header->pid);
        cw_out_str(out, "): ");
    }
    cw_out_str(out, header->truth == CW_TRUTH_NONE
                        ? "no sockets known to be left in CLOSE_WAIT, none was ever checked ("
                        : "no sockets left in CLOSE_WAIT (");
    cw_text_plural(out, report->view->header->counters[CW_COUNTER_connections], "TCP connection");
    if (report->totals.settling) {
        cw_out_str(out, ", ");
        cw_out_count(out, report->totals.settling);
        cw_out_str(out, " settling");
        if (report->in.grace_ms) {
            cw_out_str(out, " for less than ");
            cw_out_age(out, report->in.grace_ms);
            cw_out_str(out, report->view->header->ended == CW_ENDED_RUNNING ? ": --grace=0" : ": exit_grace=0");
            cw_out_str(out, " counts them");
        }
    }
    cw_out_char(out, ')');
    if (report->in.held_sockets) {
        cw_out_str(out, ", but ");
        out_held(out, &report->in);
    }
    cw_out_char(out, '\n');
}

void cw_emit_text(struct cw_out *out, const struct cw_report *report)
{
    if (!cw_report_has_findings(report)) {
        out_clean(out, report);
        return;
    }
    out_heading(out, report);
    out_groups(out, report, CW_REPORT_LEAKS);
    out_groups(out, report, CW_REPORT_ERRORS);
    out_groups(out, report, CW_REPORT_CLOSED_LATE);
    out_unseen(out, report);
    out_asides(out, report);
    out_summary(out, report);
}
