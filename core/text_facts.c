/* Text report: what is known of a group's sockets. */
#include "core/names.h"
#include "core/text.h"

enum {
    WIDTH_WRAP = 112,  /* evidence goes on in a new line before this column */
    WIDTH_INDENT = 13, /* "  evidence   " */
    SOCKETS_SHOWN = 3,
    SOCKETS_SHOWN_ALONE = 10, /* if there is one group only */
    QUEUES_KEPT = 32,
    QUEUES_SHOWN = 5,
};

/* "  evidence   a; b; c", wrapped between entries. */
static void out_evidence(struct cw_out *out, const struct cw_report *report, const struct cw_group *group)
{
    const struct cw_evidence *entries = report->work->evidence;
    unsigned n = cw_evidence_collect(report, group, report->work->evidence), column = WIDTH_INDENT, shown = 0;

    cw_out_str(out, "  evidence   ");
    for (unsigned i = 0; i < n; i++) {
        unsigned width = cw_text_columns(entries[i].text) + 2;
        if (!entries[i].text[0])
            continue;
        if (shown && column + width > WIDTH_WRAP) {
            cw_out_str(out, ";\n             ");
            column = WIDTH_INDENT;
        } else if (shown) {
            cw_out_str(out, "; ");
        }
        shown++;
        cw_out_safe(out, entries[i].text);
        column += width;
    }
    cw_out_char(out, '\n');
}

static const char *socket_name(const struct cw_report *report, const struct cw_conn *conn)
{
    struct cw_out *out = cw_text_line(report);

    if (conn->origin == CW_ORIGIN_QUEUED) {
        cw_out_str(out, "queued");
    } else {
        cw_out_str(out, "fd ");
        cw_out_i64(out, conn->fd);
    }
    return cw_text_take(report);
}

static const char *socket_addresses(const struct cw_report *report, const struct cw_conn *conn)
{
    struct cw_out *out = cw_text_line(report);
    bool came = conn->origin == CW_ORIGIN_ACCEPT || conn->origin == CW_ORIGIN_QUEUED ||
                conn->open_call == CW_CALL_accept || conn->open_call == CW_CALL_accept4;

    cw_out_address(out, conn->family, conn->local, conn->local_port);
    cw_out_str(out, came ? " <- " : conn->origin == CW_ORIGIN_CONNECT ? " -> " : " -- ");
    cw_out_address(out, conn->family, conn->peer, conn->peer_port);
    return cw_text_take(report);
}

static void out_sockets(struct cw_out *out, const struct cw_report *report, const struct cw_group *group)
{
    uint32_t groups = 0;
    for (unsigned i = 0; i < CW_REPORT_SECTIONS; i++)
        groups += report->n_groups[i];
    uint32_t shown = groups == 1 ? SOCKETS_SHOWN_ALONE : SOCKETS_SHOWN;
    unsigned name_width = 0, address_width = 0;

    if (shown > group->count)
        shown = group->count;
    for (uint32_t i = 0; i < shown; i++) {
        const struct cw_conn *conn = cw_report_conn(report, &report->items[group->first + i]);
        cw_text_widen(&name_width, cw_text_columns(socket_name(report, conn)));
        unsigned width = cw_text_columns(socket_addresses(report, conn));
        address_width = width > address_width ? width : address_width;
    }
    for (uint32_t i = 0; i < shown; i++) {
        const struct cw_item *item = &report->items[group->first + i];
        const struct cw_conn *conn = cw_report_conn(report, item);
        cw_out_str(out, i ? "             " : "  sockets    ");
        cw_out_pad(out, socket_name(report, conn), name_width + 3);
        cw_out_pad(out, socket_addresses(report, conn), address_width + 3);
        cw_out_age(out, item->age_ms);
        cw_out_char(out, '\n');
    }
    if (group->count > shown) {
        cw_out_str(out, "             and ");
        cw_out_count(out, group->count - shown);
        cw_out_str(out, " more\n");
    }
}

struct queue {
    uint32_t bytes, n;
};

/* Counts the sockets by Recv-Q, commonest first, and returns how many values there are; sockets with still other values
 * than the QUEUES_KEPT first ones are counted in *ret_others. */
static unsigned count_queues(const struct cw_report *report, const struct cw_group *group, struct queue *queues,
                             uint32_t *ret_others)
{
    unsigned n = 0;

    *ret_others = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        const struct cw_conn *conn = cw_report_conn(report, &report->items[group->first + i]);
        unsigned k = 0;
        if (!(conn->k_flags & CW_K_QUEUES))
            continue;
        while (k < n && queues[k].bytes != conn->k_recv_q)
            k++;
        if (k == QUEUES_KEPT) {
            (*ret_others)++;
            continue;
        }
        if (k == n)
            queues[n++] = (struct queue){conn->k_recv_q, 0};
        queues[k].n++;
        for (; k && queues[k].n > queues[k - 1].n; k--) {
            struct queue moved = queues[k];
            queues[k] = queues[k - 1];
            queues[k - 1] = moved;
        }
    }
    return n;
}

/* "  Recv-Q     1 (126 sockets), 513 (2)" */
static void out_queues(struct cw_out *out, const struct cw_report *report, const struct cw_group *group)
{
    struct queue queues[QUEUES_KEPT];
    uint32_t others = 0;
    unsigned n = count_queues(report, group, queues, &others);

    if (!n)
        return;
    cw_out_str(out, "  Recv-Q     ");
    for (unsigned i = 0; i < n; i++) {
        if (i >= QUEUES_SHOWN) {
            others += queues[i].n;
            continue;
        }
        cw_out_str(out, i ? ", " : "");
        cw_out_count(out, queues[i].bytes);
        cw_out_str(out, " (");
        if (i)
            cw_out_count(out, queues[i].n);
        else
            cw_text_plural(out, queues[i].n, "socket");
        cw_out_char(out, ')');
    }
    if (others) {
        cw_out_str(out, ", other values (");
        cw_out_count(out, others);
        cw_out_char(out, ')');
    }
    cw_out_char(out, '\n');
}

void cw_text_facts(struct cw_out *out, const struct cw_report *report, const struct cw_group *group)
{
    out_evidence(out, report, group);
    out_sockets(out, report, group);
    out_queues(out, report, group);
    cw_out_str(out, "  next       ");
    cw_out_safe(out, cw_evidence_next(report, group));
    cw_out_str(out, "; more: cwguard explain ");
    cw_out_str(out, cw_diagnoses[group->diagnosis].id);
    cw_out_char(out, '\n');
}
