#include "core/evidence_list.h"

#include "core/ages.h"
#include "core/names.h"
#include "core/outside_words.h"
#include "core/work.h"

#include <string.h>

/* --- one pass over a group --- */

static void include(struct cw_range *range, uint32_t value)
{
    if (!range->n || value < range->least)
        range->least = value;
    if (!range->n || value > range->most)
        range->most = value;
    range->n++;
}

static void include_age(struct cw_range *range, uint32_t now_ms, uint32_t then_ms)
{
    if (then_ms)
        include(range, cw_age(now_ms, then_ms));
}

static void add_member(struct cw_evidence_stats *stats, const struct cw_report *report, const struct cw_conn *conn,
                       const struct cw_conn *oldest)
{
    uint32_t flags = conn->flags, now_ms = report->in.now_ms,
             touched_ms = cw_later(conn->in_last_ms, conn->out_last_ms);
    uint64_t forks = report->view->header->counters[CW_COUNTER_forks];

    include_age(&stats->in_age, now_ms, conn->in_last_ms);
    include_age(&stats->out_age, now_ms, conn->out_last_ms);
    include_age(&stats->eof_age, now_ms, conn->eof_ms);
    include_age(&stats->copy_age, now_ms, flags & CW_CONN_COPIED ? conn->copy_close_ms : 0);
    include_age(&stats->polled_age, now_ms, conn->polled_ms);
    include_age(&stats->event_age, now_ms, conn->event_ms);
    if (conn->fin_ms && touched_ms)
        include(&stats->idle, cw_age(conn->fin_ms, touched_ms));
    include(&stats->turns, conn->origin == CW_ORIGIN_CONNECT ? conn->turns_in : conn->turns_out);
    include(&stats->forks, (uint32_t)forks - conn->fork_seq > INT32_MAX ? 0 : (uint32_t)forks - conn->fork_seq);
    include(&stats->refs, conn->refs);
    if (conn->k_flags & CW_K_QUEUES) {
        include(&stats->recv_q, conn->k_recv_q);
        include(&stats->send_q, conn->k_send_q);
        stats->bytes_unread += conn->k_recv_q > 1;
    }
    stats->watched += (flags & CW_CONN_WATCHED) != 0;
    stats->was_watched += (flags & CW_CONN_WAS_WATCHED) != 0;
    stats->polled += (flags & CW_CONN_POLLED) != 0;
    stats->stdio += (flags & CW_CONN_STDIO) != 0;
    stats->scm_sent += (flags & CW_CONN_SCM_SENT) != 0;
    stats->keepalive += (flags & CW_CONN_KEEPALIVE) != 0;
    stats->shut_wr += (flags & CW_CONN_SHUT_WR) != 0;
    stats->peeked_only += (flags & (CW_CONN_EOF_SEEN | CW_CONN_EOF_CONSUMED)) == CW_CONN_EOF_SEEN;
    stats->same_watch +=
        (flags & CW_CONN_WATCHED) && conn->epoll_fd == oldest->epoll_fd && conn->epoll_mask == oldest->epoll_mask;
}

/* --- writing entries --- */

struct cw_out *cw_evidence_begin(struct cw_evidence_list *list, const char *key)
{
    list->entries[list->n] = (struct cw_evidence){.key = key};
    cw_out_line(list->out, &list->report->work->line);
    return list->out;
}

void cw_evidence_end(struct cw_evidence_list *list)
{
    struct cw_evidence *entry = &list->entries[list->n];
    const struct cw_line *line = &list->report->work->line;

    cw_out_flush(list->out);
    size_t n = line->n < sizeof(entry->text) ? line->n : sizeof(entry->text) - 1;
    memcpy(entry->text, line->text, n);
    entry->text[n] = 0;
    if (list->n + 1 < CW_EVIDENCE_MAX)
        list->n++;
}

void cw_evidence_value(struct cw_evidence_list *list, uint64_t number, const char *unit)
{
    list->entries[list->n].has_value = true;
    list->entries[list->n].value = number;
    list->entries[list->n].unit = unit;
}

void cw_evidence_number(struct cw_evidence_list *list, const char *key, uint64_t number, const char *unit)
{
    cw_evidence_begin(list, key);
    cw_evidence_value(list, number, unit);
    cw_evidence_end(list);
}

void cw_evidence_unavailable(struct cw_evidence_list *list, const char *why)
{
    list->entries[list->n].unavailable = why;
}

void cw_evidence_share(struct cw_evidence_list *list, uint32_t n)
{
    if (n == list->group->count)
        return;
    cw_out_str(list->out, " (");
    cw_out_count(list->out, n);
    cw_out_str(list->out, " of ");
    cw_out_count(list->out, list->group->count);
    cw_out_char(list->out, ')');
}

void cw_evidence_ages(struct cw_out *out, const struct cw_range *ages)
{
    cw_out_age(out, ages->least);
    if (ages->most / 1000 != ages->least / 1000) {
        cw_out_str(out, " to ");
        cw_out_age(out, ages->most);
    }
    cw_out_str(out, " ago");
}

void cw_evidence_numbers(struct cw_out *out, const struct cw_range *numbers)
{
    cw_out_count(out, numbers->least);
    if (numbers->most != numbers->least) {
        cw_out_str(out, " to ");
        cw_out_count(out, numbers->most);
    }
}

void cw_evidence_transfer(struct cw_evidence_list *list, const char *key, const char *last, const char *never,
                          const struct cw_range *ages, uint32_t oldest_ms, uint8_t call)
{
    struct cw_out *out = cw_evidence_begin(list, key);

    if (!ages->n) {
        cw_out_str(out, never);
    } else {
        cw_out_str(out, last);
        cw_out_char(out, ' ');
        cw_evidence_ages(out, ages);
        if (list->group->count == 1 && cw_call_name(call)) {
            cw_out_str(out, " by ");
            cw_out_str(out, cw_call_name(call));
        }
        cw_evidence_share(list, ages->n);
    }
    if (oldest_ms)
        cw_evidence_value(list, cw_age(list->report->in.now_ms, oldest_ms), "s");
    cw_evidence_end(list);
}

/* --- the whole --- */

unsigned cw_evidence_collect(const struct cw_report *report, const struct cw_group *group,
                             struct cw_evidence ret[CW_EVIDENCE_MAX])
{
    static void (*const kinds[])(struct cw_evidence_list *) = {
#define CW_X(name, function) [CW_EVIDENCE_##name] = cw_evidence_##function,
        CW_EVIDENCE(CW_X)
#undef CW_X
    };
    struct cw_evidence_list list = {.report = report, .group = group, .entries = ret, .out = &report->work->line_out};

    list.oldest = cw_report_conn(report, &report->items[group->first]);
    list.facts = cw_report_facts(report, list.oldest);
    for (uint32_t i = 0; i < group->count; i++)
        add_member(&list.stats, report, cw_report_conn(report, &report->items[group->first + i]), list.oldest);
    for (unsigned i = 0; i < CW_EVIDENCE_KINDS; i++)
        if (cw_diagnosis_words(report->view, group->diagnosis)->evidence & (1u << i))
            kinds[i](&list);
    return list.n;
}
