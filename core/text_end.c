/* Text report: what was not seen, remarks, and how much there is in all. */
#include "core/names.h"
#include "core/text.h"

enum { REMARKS_SHOWN = 3 }; /* of processes that a line is written for, each */

static const struct cw_ledger *header_of(const struct cw_document *document, uint32_t i)
{
    return document->reports[i]->view->header;
}

static bool is_alone(const struct cw_document *document)
{
    return document->n_reports == 1;
}

/* --- what was not seen --- */

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

/* One thing that a process lacks, in words; NULL where it does not lack it. */
static const char *anonymous(const struct cw_report *report)
{
    bool holds = (report->view->header->flags & CW_HEADER_ANONYMOUS) != 0;
    return holds ? "nothing survives the process (the ledger is anonymous memory)" : NULL;
}

static const char *no_netlink(const struct cw_report *report)
{
    return report->view->header->flags & CW_HEADER_NO_NETLINK ? without_netlink(report) : NULL;
}

static const char *switched_off(const struct cw_report *report)
{
    return report->view->header->flags & CW_HEADER_OFF ? report->view->header->off_reason : NULL;
}

static const char *(*const lacks[])(const struct cw_report *) = {anonymous, no_netlink, switched_off};
enum { LACKS = sizeof(lacks) / sizeof(lacks[0]) };

static bool any_lacks(const struct cw_document *document)
{
    for (uint32_t i = 0; i < document->n_reports; i++) {
        const struct cw_ledger *header = header_of(document, i);
        if (header->flags & (CW_HEADER_ANONYMOUS | CW_HEADER_NO_NETLINK | CW_HEADER_OFF) ||
            header->truth != CW_TRUTH_KERNEL)
            return true;
    }
    return false;
}

/* ", pid 4242 and 3 more: WORDS": in the words of the first one. */
static void out_lack(struct cw_out *out, const struct cw_document *document, unsigned lack)
{
    const struct cw_report *first = NULL;
    uint32_t n = 0;

    for (uint32_t i = 0; i < document->n_reports; i++) {
        if (!lacks[lack](document->reports[i]))
            continue;
        first = first ? first : document->reports[i];
        n++;
    }
    if (!first)
        return;
    cw_out_str(out, ", ");
    if (!is_alone(document)) {
        cw_out_str(out, "pid ");
        cw_text_pid(out, document, first);
        if (n > 1) {
            cw_out_str(out, " and ");
            cw_out_count(out, n - 1);
            cw_out_str(out, " more");
        }
        cw_out_str(out, ": ");
    }
    cw_out_safe(out, lacks[lack](first));
}

/* ", state as of 7 s ago"; of several processes: ", state of pid 4242 as of 7 s ago", ", state of 3 as of up to 9 s ago". */
static void out_stale(struct cw_out *out, const struct cw_document *document)
{
    const struct cw_report *first = NULL;
    uint64_t most_ms = 0;
    uint32_t n = 0;

    for (uint32_t i = 0; i < document->n_reports; i++) {
        const struct cw_report *report = document->reports[i];
        if (report->view->header->truth == CW_TRUTH_KERNEL)
            continue;
        first = first ? first : report;
        most_ms = cw_report_truth_age_ms(report) > most_ms ? cw_report_truth_age_ms(report) : most_ms;
        n++;
    }
    if (!first)
        return;
    cw_out_str(out, ", state ");
    if (!is_alone(document)) {
        cw_out_str(out, n == 1 ? "of pid " : "of ");
        if (n == 1)
            cw_text_pid(out, document, first);
        else
            cw_out_count(out, n);
        cw_out_str(out, n == 1 ? " " : " processes ");
    }
    cw_out_str(out, n == 1 ? "as of " : "as of up to ");
    cw_out_age(out, most_ms);
    cw_out_str(out, " ago");
}

static void out_unseen(struct cw_out *out, const struct cw_document *document)
{
    bool recorded = cw_document_recorded(document) != 0, any = any_lacks(document);
#define N(counter) cw_document_counter(document, CW_COUNTER_##counter)
    const struct unseen rows[] = {
        {N(closes_unseen), recorded, "close (raw system calls)", "closes (raw system calls)"},
        {N(stacks_rationed), recorded, "stack rationed", "stacks rationed"},
        {N(table_full), false, "fact for which there was no room", "facts for which there was no room"},
        {N(late_dropped), false, "socket closed late, not kept", "sockets closed late, not kept"},
        {N(lines_dropped), false, "line for stderr", "lines for stderr"},
        {document->totals.not_listed, false, "socket not listed, for want of memory or of one of too many code paths",
         "sockets not listed, for want of memory or of too many code paths"},
    };
#undef N

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        any = any || rows[i].n;
    if (!any && recorded)
        return;
    cw_out_str(out, "not seen   ");
    if (!recorded)
        cw_out_str(out, "where the sockets were opened and what was done with them");
    for (size_t i = 0, shown = !recorded; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (!rows[i].n && !rows[i].always)
            continue;
        cw_out_str(out, shown++ ? ", " : "");
        cw_out_count(out, rows[i].n);
        cw_out_char(out, ' ');
        cw_out_str(out, rows[i].n == 1 ? rows[i].singular : rows[i].plural);
    }
    for (unsigned i = 0; i < LACKS; i++)
        out_lack(out, document, i);
    out_stale(out, document);
    cw_out_char(out, '\n');
}

/* --- remarks --- */

/* "3 sockets that this process has closed are kept open by its child 4321 (sleep, fd 7): see held-elsewhere" */
static void out_held(struct cw_out *out, const struct cw_document *document, const struct cw_report *report)
{
    const struct cw_report_input *in = &report->in;

    cw_text_plural(out, in->held_sockets, "socket");
    cw_out_str(out, " that ");
    cw_out_str(out, is_alone(document) ? "this process" : "pid ");
    if (!is_alone(document))
        cw_text_pid(out, document, report);
    cw_out_str(out, in->held_sockets == 1 ? " has closed is" : " has closed are");
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

/* The same of every process that has such sockets. */
static void out_all_held(struct cw_out *out, const struct cw_document *document, const char *before,
                         const char *between, const char *after)
{
    uint32_t shown = 0, more = 0, sockets = 0;

    for (uint32_t i = 0; i < document->n_reports; i++) {
        const struct cw_report *report = document->reports[i];
        if (!report->in.held_sockets)
            continue;
        if (shown == REMARKS_SHOWN) {
            more++;
            sockets += report->in.held_sockets;
            continue;
        }
        cw_out_str(out, shown++ ? between : before);
        out_held(out, document, report);
    }
    if (more) {
        cw_out_str(out, between);
        cw_text_plural(out, sockets, "socket");
        cw_out_str(out, " in the same way of ");
        cw_out_count(out, more);
        cw_out_str(out, more == 1 ? " more process" : " more processes");
    }
    cw_out_str(out, shown ? after : "");
}

static void out_asides(struct cw_out *out, const struct cw_document *document)
{
    if (document->totals.settling) {
        cw_out_str(out, "settling   ");
        cw_text_plural(out, document->totals.settling, "socket");
        cw_out_str(out, " in CLOSE_WAIT, but not for longer than the grace period, or only since the end began\n");
    }
    out_all_held(out, document, "held       ", "\nheld       ", "\n");
}

/* --- the last line --- */

static uint32_t error_paths(const struct cw_document *document)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < document->n_paths[CW_REPORT_LEAKS]; i++)
        n += document->paths[CW_REPORT_LEAKS][i].parts->group->severity == CW_SEVERITY_ERROR;
    return n;
}

static void out_summary(struct cw_out *out, const struct cw_document *document)
{
    const struct cw_report_totals *totals = &document->totals;

    cw_text_colour(out, document->reports[0], CW_COLOUR_BOLD);
    cw_out_str(out, "SUMMARY: cwguard: ");
    if (totals->leaked) {
        cw_text_plural(out, totals->leaked, "socket");
        cw_out_str(out, " left in CLOSE_WAIT by ");
        cw_text_plural(out, error_paths(document), "code path");
        if (!is_alone(document)) {
            cw_out_str(out, " of ");
            cw_out_count(out, document->n_reports);
            cw_out_str(out, " processes");
        }
    } else {
        cw_out_str(out, totals->notes ? "no leaks" : "no sockets left in CLOSE_WAIT");
    }
    if (totals->notes) {
        cw_out_str(out, ", ");
        cw_text_plural(out, totals->notes, "socket");
        cw_out_str(out, " in CLOSE_WAIT noted");
    }
    if (document->n_paths[CW_REPORT_ERRORS]) {
        cw_out_str(out, ", ");
        cw_out_count(out, totals->errors);
        cw_out_str(out, " failed and not closed by ");
        cw_text_plural(out, document->n_paths[CW_REPORT_ERRORS], "code path");
    }
    if (document->n_paths[CW_REPORT_CLOSED_LATE]) {
        cw_out_str(out, ", ");
        cw_out_count(out, totals->closed_late);
        cw_out_str(out, " closed late by ");
        cw_text_plural(out, document->n_paths[CW_REPORT_CLOSED_LATE], "code path");
    }
    cw_text_colour(out, document->reports[0], CW_COLOUR_OFF);
    cw_out_char(out, '\n');
}

void cw_text_end(struct cw_out *out, const struct cw_document *document)
{
    out_unseen(out, document);
    out_asides(out, document);
    out_summary(out, document);
}

/* --- a clean run --- */

/* ", 3 settling for less than 30 s: --grace=0 counts them" */
static void out_settling(struct cw_out *out, const struct cw_document *document)
{
    bool runs = !is_alone(document) || header_of(document, 0)->ended == CW_ENDED_RUNNING;
    uint32_t grace_ms = 0;

    if (!document->totals.settling)
        return;
    for (uint32_t i = 0; i < document->n_reports; i++)
        grace_ms = document->reports[i]->in.grace_ms > grace_ms ? document->reports[i]->in.grace_ms : grace_ms;
    cw_out_str(out, ", ");
    cw_out_count(out, document->totals.settling);
    cw_out_str(out, " settling");
    if (!grace_ms)
        return;
    cw_out_str(out, " for less than ");
    cw_out_age(out, grace_ms);
    cw_out_str(out, runs ? ": --grace=0" : ": exit_grace=0");
    cw_out_str(out, " counts them");
}

void cw_text_clean(struct cw_out *out, const struct cw_document *document)
{
    const struct cw_ledger *header = header_of(document, 0);
    uint32_t never_checked = 0;

    for (uint32_t i = 0; i < document->n_reports; i++)
        never_checked += header_of(document, i)->truth == CW_TRUTH_NONE;
    cw_out_str(out, "cwguard: ");
    if (is_alone(document) && header->ended == CW_ENDED_KILLED) { /* one of several perhaps, and nobody sees which */
        cw_out_safe(out, cw_basename(header->exe));
        cw_out_str(out, " (pid ");
        cw_out_i64(out, header->pid);
        cw_out_str(out, "): ");
    }
    cw_out_str(out, never_checked == document->n_reports
                        ? "no sockets known to be left in CLOSE_WAIT, none was ever checked ("
                        : "no sockets left in CLOSE_WAIT (");
    if (!is_alone(document)) {
        cw_out_count(out, document->n_reports);
        cw_out_str(out, " processes, ");
    }
    cw_text_connections(out, document);
    if (never_checked && never_checked < document->n_reports) {
        cw_out_str(out, ", ");
        cw_out_count(out, never_checked);
        cw_out_str(out, never_checked == 1 ? " process was never checked" : " processes were never checked");
    }
    out_settling(out, document);
    cw_out_char(out, ')');
    out_all_held(out, document, ", but ", "; ", "");
    cw_out_char(out, '\n');
}
