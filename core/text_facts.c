/* Text report: what is known of a group's sockets. */
#include "core/names.h"
#include "core/text.h"

enum {
    WIDTH_WRAP = 112,  /* evidence goes on in a new line before this column */
    WIDTH_INDENT = 13, /* "  evidence   " */
    PROCESSES_SHOWN = 3,
    SOCKETS_SHOWN = 3,
    SOCKETS_SHOWN_ALONE = 10, /* if there is one group only */
    QUEUES_KEPT = 32,
    QUEUES_SHOWN = 5,
};

/* "  processes  pid 4242: 12 sockets; 4243: 11; and 38 more processes with 412", if the report covers several processes. */
static void out_processes(struct cw_out *out, const struct cw_document *document, const struct cw_path *path)
{
    uint32_t n = path->n_parts, shown = n <= PROCESSES_SHOWN + 1 ? n : PROCESSES_SHOWN, rest = path->count;

    if (document->n_reports == 1)
        return;
    cw_out_str(out, "  processes  pid ");
    for (uint32_t i = 0; i < shown; i++) {
        cw_out_str(out, i ? "; " : "");
        cw_text_pid(out, document, path->parts[i].report);
        cw_out_str(out, ": ");
        if (i)
            cw_out_count(out, path->parts[i].group->count);
        else
            cw_text_plural(out, path->parts[i].group->count, "socket");
        rest -= path->parts[i].group->count;
    }
    if (n > shown) {
        cw_out_str(out, "; and ");
        cw_out_count(out, n - shown);
        cw_out_str(out, " more processes with ");
        cw_out_count(out, rest);
    }
    cw_out_char(out, '\n');
}

/* "  evidence   a; b; c", wrapped between entries. */
static void out_evidence(struct cw_out *out, const struct cw_path *path)
{
    const struct cw_report *report = path->parts->report;
    const struct cw_evidence *entries = report->work->evidence;
    unsigned n = cw_evidence_collect(report, path->parts->group, report->work->evidence);
    unsigned column = WIDTH_INDENT, shown = 0;

    cw_out_str(out, "  evidence   ");
    if (path->n_parts > 1) { /* the others' is not this one's, but much the same */
        cw_out_str(cw_text_line(report), "pid ");
        cw_out_i64(&report->work->line_out, report->view->header->pid);
        cw_out_str(&report->work->line_out, ": ");
        cw_out_str(out, cw_text_take(report));
        column += cw_text_columns(cw_text_take(report));
    }
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

static const char *socket_name(const struct cw_document *document, const struct cw_report *report,
                               const struct cw_conn *conn)
{
    struct cw_out *out = cw_text_line(report);

    if (document->n_reports > 1) {
        cw_out_str(out, "pid ");
        cw_out_i64(out, report->view->header->pid);
        cw_out_char(out, ' ');
    }
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

    cw_redact_address(out, report->in.redact, CW_REDACT_LOCAL, conn->family, conn->local, conn->local_port);
    cw_out_str(out, came ? " <- " : conn->origin == CW_ORIGIN_CONNECT ? " -> " : " -- ");
    cw_redact_address(out, report->in.redact, CW_REDACT_PEER, conn->family, conn->peer, conn->peer_port);
    return cw_text_take(report);
}

/* A socket of a path: that of parts[part] at `index`, then those after it. */
struct place {
    uint32_t part, index;
};

static const struct cw_item *item_at(const struct cw_path *path, const struct place *at,
                                     const struct cw_report **ret_report)
{
    const struct cw_part *part = &path->parts[at->part];
    *ret_report = part->report;
    return &part->report->items[part->group->first + at->index];
}

static void step(const struct cw_path *path, struct place *at)
{
    if (++at->index == path->parts[at->part].group->count)
        *at = (struct place){at->part + 1, 0};
}

static void out_sockets(struct cw_out *out, const struct cw_document *document, const struct cw_path *path)
{
    const struct cw_report *report;
    uint32_t paths = 0;
    for (unsigned i = 0; i < CW_REPORT_SECTIONS; i++)
        paths += document->n_paths[i];
    uint32_t shown = paths == 1 ? SOCKETS_SHOWN_ALONE : SOCKETS_SHOWN;
    unsigned name_width = 0, address_width = 0;
    struct place at = {0, 0};

    if (shown > path->count)
        shown = path->count;
    for (uint32_t i = 0; i < shown; i++, step(path, &at)) {
        const struct cw_item *item = item_at(path, &at, &report);
        const struct cw_conn *conn = cw_report_conn(report, item);
        cw_text_widen(&name_width, cw_text_columns(socket_name(document, report, conn)));
        unsigned width = cw_text_columns(socket_addresses(report, conn));
        address_width = width > address_width ? width : address_width;
    }
    at = (struct place){0, 0};
    for (uint32_t i = 0; i < shown; i++, step(path, &at)) {
        const struct cw_item *item = item_at(path, &at, &report);
        const struct cw_conn *conn = cw_report_conn(report, item);
        cw_out_str(out, i ? "             " : "  sockets    ");
        cw_out_pad(out, socket_name(document, report, conn), name_width + 3);
        cw_out_pad(out, socket_addresses(report, conn), address_width + 3);
        cw_out_age(out, item->age_ms);
        cw_out_char(out, '\n');
    }
    if (path->count > shown) {
        cw_out_str(out, "             and ");
        cw_out_count(out, path->count - shown);
        cw_out_str(out, " more\n");
    }
}

struct queue {
    uint32_t bytes, n;
};

struct queues {
    struct queue rows[QUEUES_KEPT]; /* commonest first */
    unsigned n;
    uint32_t others; /* sockets with still other values than the QUEUES_KEPT first ones */
};

static void count_queue(struct queues *queues, uint32_t bytes)
{
    struct queue *rows = queues->rows;
    unsigned k = 0;

    while (k < queues->n && rows[k].bytes != bytes)
        k++;
    if (k == QUEUES_KEPT) {
        queues->others++;
        return;
    }
    if (k == queues->n)
        rows[queues->n++] = (struct queue){bytes, 0};
    rows[k].n++;
    for (; k && rows[k].n > rows[k - 1].n; k--) {
        struct queue moved = rows[k];
        rows[k] = rows[k - 1];
        rows[k - 1] = moved;
    }
}

static void count_queues(struct queues *queues, const struct cw_path *path)
{
    queues->n = queues->others = 0;
    for (uint32_t i = 0; i < path->n_parts; i++)
        for (uint32_t k = 0; k < path->parts[i].group->count; k++) {
            const struct cw_report *report = path->parts[i].report;
            const struct cw_conn *conn = cw_report_conn(report, &report->items[path->parts[i].group->first + k]);
            if (conn->k_flags & CW_K_QUEUES)
                count_queue(queues, conn->k_recv_q);
        }
}

/* "  Recv-Q     1 (126 sockets), 513 (2)" */
static void out_queues(struct cw_out *out, const struct cw_path *path)
{
    struct queues queues;

    count_queues(&queues, path);
    if (!queues.n)
        return;
    cw_out_str(out, "  Recv-Q     ");
    for (unsigned i = 0; i < queues.n; i++) {
        if (i >= QUEUES_SHOWN) {
            queues.others += queues.rows[i].n;
            continue;
        }
        cw_out_str(out, i ? ", " : "");
        cw_out_count(out, queues.rows[i].bytes);
        cw_out_str(out, " (");
        if (i)
            cw_out_count(out, queues.rows[i].n);
        else
            cw_text_plural(out, queues.rows[i].n, "socket");
        cw_out_char(out, ')');
    }
    if (queues.others) {
        cw_out_str(out, ", other values (");
        cw_out_count(out, queues.others);
        cw_out_char(out, ')');
    }
    cw_out_char(out, '\n');
}

void cw_text_facts(struct cw_out *out, const struct cw_document *document, const struct cw_path *path)
{
    const struct cw_part *first = path->parts;

    out_processes(out, document, path);
    out_evidence(out, path);
    out_sockets(out, document, path);
    out_queues(out, path);
    cw_out_str(out, "  next       ");
    cw_out_safe(out, cw_evidence_next(first->report, first->group));
    cw_out_str(out, "; more: cwguard explain ");
    cw_out_str(out, cw_diagnoses[first->group->diagnosis].id);
    cw_out_char(out, '\n');
}
