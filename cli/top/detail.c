#include "cli/top/detail.h"

#include "cli/top/model.h"
#include "core/evidence.h"
#include "core/names.h"
#include "core/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WRAP_COLUMNS = 78, WORD_BYTES = 1024, PARTS = 3 };

/* --- lines --- */

static void clear(struct cw_top_lines *lines)
{
    for (size_t i = 0; i < lines->n; i++)
        free(lines->text[i]);
    lines->n = 0;
}

static void add_line(struct cw_top_lines *lines, const char *text, size_t bytes)
{
    char *copy;

    if (lines->n == lines->room) {
        size_t room = lines->room ? 2 * lines->room : 64;
        char **more = realloc(lines->text, room * sizeof *more);
        if (!more)
            return;
        lines->text = more;
        lines->room = room;
    }
    copy = strndup(text, bytes);
    if (copy)
        lines->text[lines->n++] = copy;
}

static size_t append(char *to, size_t n, const char *text, size_t bytes)
{
    memcpy(to + n, text, bytes);
    return n + bytes;
}

/* Words in lines of at most WRAP_COLUMNS bytes behind `first`, and behind an indent from the second line on. */
static void add_wrapped(struct cw_top_lines *lines, const char *first, const char *indent, const char *text)
{
    char line[WRAP_COLUMNS + WORD_BYTES];
    size_t n = append(line, 0, first, strlen(first)), begin = n;

    while (*text) {
        size_t word = strcspn(text, " ");
        if (word > WORD_BYTES - WRAP_COLUMNS)
            word = WORD_BYTES - WRAP_COLUMNS;
        if (n > begin && n + 1 + word > WRAP_COLUMNS) {
            add_line(lines, line, n);
            n = begin = append(line, 0, indent, strlen(indent));
        }
        if (n > begin)
            n = append(line, n, " ", 1);
        n = append(line, n, text, word);
        text += word;
        text += strspn(text, " ");
    }
    add_line(lines, line, n);
}

/* What core writes, cut at the ends of its lines. */
struct splitter {
    struct cw_top_lines *lines;
    char line[2048];
    size_t n;
};

static int split(void *ctx, const void *bytes, size_t n)
{
    struct splitter *splitter = ctx;
    const char *text = bytes;

    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\n') {
            add_line(splitter->lines, splitter->line, splitter->n);
            splitter->n = 0;
        } else if (splitter->n < sizeof splitter->line) {
            splitter->line[splitter->n++] = text[i];
        }
    }
    return 0;
}

/* --- what is in them --- */

static void add_head(struct cw_top_lines *lines, const struct cw_path *path)
{
    static const char *const kinds[CW_REPORT_SECTIONS] = {
        [CW_REPORT_ERRORS] = "ERROR  ", [CW_REPORT_CLOSED_LATE] = "LATE  "};
    static const char *const states[CW_REPORT_SECTIONS] = {[CW_REPORT_LEAKS] = " in CLOSE_WAIT",
                                                           [CW_REPORT_ERRORS] = " in CLOSE",
                                                           [CW_REPORT_CLOSED_LATE] = " closed late"};
    const struct cw_group *group = path->parts[0].group;
    const char *kind = kinds[group->section];
    struct cw_line line;
    struct cw_out out;

    cw_out_line(&out, &line);
    cw_out_str(&out, kind ? kind : group->severity == CW_SEVERITY_ERROR ? "LEAK  " : "NOTE  ");
    cw_text_plural(&out, path->count, "socket");
    cw_out_str(&out, states[group->section]);
    if (path->n_parts > 1) {
        cw_out_str(&out, " in ");
        cw_out_count(&out, path->n_parts);
        cw_out_str(&out, " processes");
    }
    cw_out_str(&out, path->count > 1 ? ", oldest " : ", for ");
    cw_out_age(&out, path->oldest_ms);
    if (path->count > 1) {
        cw_out_str(&out, ", newest ");
        cw_out_age(&out, path->newest_ms);
    }
    cw_out_str(&out, "  [");
    cw_out_str(&out, cw_diagnoses[group->diagnosis].id);
    cw_out_char(&out, ']');
    cw_out_flush(&out);
    add_line(lines, line.text, line.n);
}

static void add_facts(struct cw_top_lines *lines, const struct cw_path *path)
{
    const struct cw_report *report = path->parts[0].report;
    const struct cw_group *group = path->parts[0].group;
    struct splitter splitter = {.lines = lines};
    struct cw_evidence evidence[CW_EVIDENCE_MAX];
    const char *before = "  evidence  ";
    char pid[32];
    struct cw_out out;
    unsigned n;

    add_wrapped(lines, "  ", "  ", cw_diagnoses[group->diagnosis].sentence);
    add_line(lines, "", 0);
    cw_out_init(&out, split, &splitter);
    cw_text_stacks(&out, report, group);
    cw_out_flush(&out);
    add_line(lines, "", 0);
    if (path->n_parts > 1) { /* the others' is not this one's, but much the same */
        snprintf(pid, sizeof pid, "pid %d:", (int)report->view->header->pid);
        add_wrapped(lines, before, "              ", pid);
        before = "            ";
    }
    n = cw_evidence_collect(report, group, evidence);
    for (unsigned i = 0; i < n; i++)
        if (evidence[i].text[0]) {
            add_wrapped(lines, before, "              ", evidence[i].text);
            before = "            ";
        }
    add_wrapped(lines, "  next      ", "            ", cw_evidence_next(report, group));
    add_line(lines, "", 0);
    add_wrapped(lines, "  ", "  ", cw_evidence_advice(report, group));
    add_line(lines, "", 0);
}

static void add_socket(struct cw_top_lines *lines, const struct cw_report *report, const struct cw_item *item)
{
    const struct cw_conn *conn = cw_report_conn(report, item);
    bool came = conn->origin == CW_ORIGIN_ACCEPT || conn->origin == CW_ORIGIN_QUEUED;
    const struct cw_redact *redact = report->in.redact;
    struct cw_line line;
    struct cw_out out;

    cw_out_line(&out, &line);
    cw_out_str(&out, "  pid ");
    cw_out_i64(&out, report->view->header->pid);
    if (conn->origin == CW_ORIGIN_QUEUED) {
        cw_out_str(&out, "  queued  ");
    } else {
        cw_out_str(&out, "  fd ");
        cw_out_i64(&out, conn->fd);
        cw_out_str(&out, conn->fd < 10 ? "    " : conn->fd < 100 ? "   " : "  ");
    }
    cw_redact_address(&out, redact, CW_REDACT_LOCAL, conn->family, conn->local, conn->local_port);
    cw_out_str(&out, came ? " <- " : conn->origin == CW_ORIGIN_CONNECT ? " -> " : " -- ");
    cw_redact_address(&out, redact, CW_REDACT_PEER, conn->family, conn->peer, conn->peer_port);
    if (conn->k_flags & CW_K_QUEUES) {
        cw_out_str(&out, "  Recv-Q ");
        cw_out_u64(&out, conn->k_recv_q);
    }
    cw_out_str(&out, "  ");
    cw_out_age(&out, item->age_ms);
    cw_out_flush(&out);
    add_line(lines, line.text, line.n);
}

void cw_top_detail_follow(struct cw_top_detail *detail, const struct cw_path *path)
{
    static const char gone[] = "No such sockets any more: they were closed, or their process has ended.";

    clear(&detail->head);
    clear(&detail->sockets);
    if (!path) {
        add_line(&detail->head, gone, sizeof gone - 1);
        return;
    }
    add_head(&detail->head, path);
    add_line(&detail->sockets, "  sockets", 9);
    for (uint32_t i = 0; i < path->n_parts; i++)
        for (uint32_t k = 0; k < path->parts[i].group->count; k++)
            add_socket(&detail->sockets, path->parts[i].report,
                       &path->parts[i].report->items[path->parts[i].group->first + k]);
}

void cw_top_detail_open(struct cw_top_detail *detail, const struct cw_path *path)
{
    clear(&detail->facts);
    add_facts(&detail->facts, path);
    cw_top_detail_follow(detail, path);
}

size_t cw_top_detail_lines(const struct cw_top_detail *detail)
{
    return detail->head.n + detail->facts.n + detail->sockets.n;
}

const char *cw_top_detail_line(const struct cw_top_detail *detail, size_t n)
{
    const struct cw_top_lines *parts[PARTS] = {&detail->head, &detail->facts, &detail->sockets};

    for (unsigned i = 0; i < PARTS; i++) {
        if (n < parts[i]->n)
            return parts[i]->text[n];
        n -= parts[i]->n;
    }
    return "";
}

void cw_top_detail_free(struct cw_top_detail *detail)
{
    struct cw_top_lines *parts[PARTS] = {&detail->head, &detail->facts, &detail->sockets};

    for (unsigned i = 0; i < PARTS; i++) {
        clear(parts[i]);
        free(parts[i]->text);
        *parts[i] = (struct cw_top_lines){0};
    }
}
