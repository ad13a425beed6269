#include "core/evidence.h"

#include "core/names.h"
#include "core/work.h"

#include <string.h>
#include <sys/epoll.h>

/* --- one pass over a group --- */

struct range {
    uint32_t n, least, most; /* n: members that have the fact at all */
};

struct stats {
    struct range in_age, out_age, eof_age, recv_q, forks, refs, polled_age;
    uint32_t watched, was_watched, polled, stdio, scm_sent, keepalive, peeked_only, same_watch, shut_wr;
    uint32_t bytes_unread; /* members with more than the FIN in Recv-Q */
};

static void include(struct range *range, uint32_t value)
{
    if (!range->n || value < range->least)
        range->least = value;
    if (!range->n || value > range->most)
        range->most = value;
    range->n++;
}

static void include_age(struct range *range, uint32_t now_ms, uint32_t then_ms)
{
    uint32_t age = now_ms - then_ms;
    if (then_ms)
        include(range, age > UINT32_MAX - 60000 ? 0 : age);
}

static void add_member(struct stats *stats, const struct cw_report *report, const struct cw_conn *conn,
                       const struct cw_conn *oldest)
{
    uint32_t flags = conn->flags, now_ms = report->in.now_ms;
    uint64_t forks = report->view->header->counters[CW_COUNTER_forks];

    include_age(&stats->in_age, now_ms, conn->in_last_ms);
    include_age(&stats->out_age, now_ms, conn->out_last_ms);
    include_age(&stats->eof_age, now_ms, conn->eof_ms);
    include_age(&stats->polled_age, now_ms, conn->polled_ms);
    include(&stats->forks, (uint32_t)forks - conn->fork_seq > INT32_MAX ? 0 : (uint32_t)forks - conn->fork_seq);
    include(&stats->refs, conn->refs);
    if (conn->k_flags & CW_K_QUEUES) {
        include(&stats->recv_q, conn->k_recv_q);
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

struct list {
    const struct cw_report *report;
    const struct cw_group *group;
    const struct cw_conn *oldest;
    struct stats stats;
    struct cw_evidence *entries;
    unsigned n;
    struct cw_out *out; /* begun for the entry under way */
};

/* Begins an entry; its words go to list->out until end(). */
static struct cw_out *begin(struct list *list, const char *key)
{
    list->entries[list->n] = (struct cw_evidence){.key = key};
    cw_out_line(list->out, &list->report->work->line);
    return list->out;
}

static void end(struct list *list)
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

static void value(struct list *list, uint64_t number, const char *unit)
{
    list->entries[list->n].has_value = true;
    list->entries[list->n].value = number;
    list->entries[list->n].unit = unit;
}

/* " (126 of 128)" where a fact does not hold for the whole group. */
static void out_share(struct list *list, uint32_t n)
{
    if (n == list->group->count)
        return;
    cw_out_str(list->out, " (");
    cw_out_count(list->out, n);
    cw_out_str(list->out, " of ");
    cw_out_count(list->out, list->group->count);
    cw_out_char(list->out, ')');
}

static void out_ages(struct cw_out *out, const struct range *ages)
{
    cw_out_age(out, ages->least);
    if (ages->most / 1000 != ages->least / 1000) {
        cw_out_str(out, " to ");
        cw_out_age(out, ages->most);
    }
    cw_out_str(out, " ago");
}

static void out_numbers(struct cw_out *out, const struct range *numbers)
{
    cw_out_count(out, numbers->least);
    if (numbers->most != numbers->least) {
        cw_out_str(out, " to ");
        cw_out_count(out, numbers->most);
    }
}

/* "last write 93 s ago", "no write seen". */
static void add_transfer(struct list *list, const char *key, const char *last, const char *never,
                         const struct range *ages, uint32_t oldest_ms, uint8_t call)
{
    struct cw_out *out = begin(list, key);

    if (!ages->n) {
        cw_out_str(out, never);
    } else {
        cw_out_str(out, last);
        cw_out_char(out, ' ');
        out_ages(out, ages);
        if (list->group->count == 1 && cw_call_name(call)) {
            cw_out_str(out, " by ");
            cw_out_str(out, cw_call_name(call));
        }
        out_share(list, ages->n);
    }
    if (oldest_ms)
        value(list, list->report->in.now_ms - oldest_ms, "s");
    end(list);
}

static void add_eof(struct list *list)
{
    const struct stats *stats = &list->stats;
    struct cw_out *out = begin(list, "end_of_stream");

    if (!stats->eof_age.n) {
        cw_out_str(out, "end of stream not seen");
    } else if (stats->peeked_only == list->group->count) {
        cw_out_str(out, "end of stream seen by MSG_PEEK, not read");
    } else {
        cw_out_str(out, "FIN read ");
        out_ages(out, &stats->eof_age);
        out_share(list, stats->eof_age.n);
    }
    if (list->oldest->eof_ms)
        value(list, list->report->in.now_ms - list->oldest->eof_ms, "s");
    end(list);
}

static void out_epoll_mask(struct cw_out *out, uint32_t mask)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } names[] = {{EPOLLIN, "EPOLLIN"},   {EPOLLOUT, "EPOLLOUT"}, {EPOLLRDHUP, "EPOLLRDHUP"},
                 {EPOLLPRI, "EPOLLPRI"}, {EPOLLET, "EPOLLET"},   {EPOLLONESHOT, "EPOLLONESHOT"}};
    bool any = false;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (!(mask & names[i].bit))
            continue;
        cw_out_str(out, any ? "|" : "");
        cw_out_str(out, names[i].name);
        any = true;
    }
    if (!any)
        cw_out_str(out, "no events");
}

static void add_epoll(struct list *list)
{
    const struct stats *stats = &list->stats;
    const struct cw_conn *oldest = list->oldest;
    struct cw_out *out = begin(list, "epoll");

    if (oldest->flags & CW_CONN_WATCHED) {
        cw_out_str(out, "in epoll set ");
        cw_out_i64(out, oldest->epoll_fd);
        cw_out_str(out, " with ");
        out_epoll_mask(out, oldest->epoll_mask);
        out_share(list, stats->same_watch);
        value(list, (uint32_t)oldest->epoll_fd, "fd");
    } else if (oldest->flags & CW_CONN_WAS_WATCHED) {
        cw_out_str(out, "taken out of epoll set ");
        cw_out_i64(out, oldest->epoll_fd);
        out_share(list, stats->was_watched - stats->watched);
        value(list, (uint32_t)oldest->epoll_fd, "fd");
    } else if (stats->polled) {
        cw_out_str(out, "last in a poll or select set ");
        out_ages(out, &stats->polled_age);
        out_share(list, stats->polled);
    } else {
        cw_out_str(out, "never seen in an epoll, poll or select set");
    }
    end(list);
}

static void add_recv_q(struct list *list)
{
    const struct stats *stats = &list->stats;
    struct cw_out *out = begin(list, "recv_q");

    if (!stats->recv_q.n) {
        cw_out_str(out, "Recv-Q not known");
        list->entries[list->n].unavailable = "sock_diag could not be used";
    } else {
        cw_out_str(out, "Recv-Q ");
        out_numbers(out, &stats->recv_q);
        if (stats->recv_q.most == 1 && stats->recv_q.least == 1)
            cw_out_str(out, ": only the FIN is unread");
        else if (!stats->recv_q.most)
            cw_out_str(out, ": everything was read");
        else if (stats->bytes_unread)
            cw_out_str(out, ": data is unread");
        if (stats->bytes_unread && stats->bytes_unread < list->group->count)
            out_share(list, stats->bytes_unread);
    }
    if (list->oldest->k_flags & CW_K_QUEUES)
        value(list, list->oldest->k_recv_q, "bytes");
    end(list);
}

static void add_flag(struct list *list, const char *key, const char *words, uint32_t n)
{
    if (!n)
        return;
    cw_out_str(begin(list, key), words);
    out_share(list, n);
    value(list, n, "sockets");
    end(list);
}

static void add_copies(struct list *list)
{
    const struct stats *stats = &list->stats;

    if (stats->refs.most > 1) {
        out_numbers(begin(list, "copies"), &stats->refs);
        cw_out_str(list->out, " fds of this process share the socket");
        value(list, list->oldest->refs, "fds");
        end(list);
    }
    if (stats->forks.most) {
        out_numbers(begin(list, "forks_while_open"), &stats->forks);
        cw_out_str(list->out, stats->forks.most == 1 ? " fork while it was open" : " forks while it was open");
        value(list, stats->forks.most, "forks");
        end(list);
    }
    add_flag(list, "stdio", "used through stdio, whose reads may not be seen", stats->stdio);
    add_flag(list, "scm_sent", "sent to another process (SCM_RIGHTS)", stats->scm_sent);
    add_flag(list, "shutdown", "its own direction is shut down", stats->shut_wr);
    add_flag(list, "keepalive", "SO_KEEPALIVE is on", stats->keepalive);
}

static void add_origin(struct list *list)
{
    struct cw_out *out = begin(list, "origin");

    cw_out_str(out, cw_origin_words(list->oldest->origin));
    if (list->oldest->open_ms) {
        cw_out_char(out, ' ');
        cw_out_age(out, list->report->in.now_ms - list->oldest->open_ms);
        cw_out_str(out, " ago");
        value(list, list->report->in.now_ms - list->oldest->open_ms, "s");
    }
    end(list);
}

/* What is known of the listener whose queue a connection waited in. */
static void add_listener(struct list *list)
{
    const struct cw_conn *listener = cw_report_listener(list->report, list->oldest);
    struct cw_out *out = begin(list, "listener");

    if (!listener) {
        cw_out_str(out, "its listener is closed, or shares its port with another");
        list->entries[list->n].unavailable = "no open listener, or several, on this port";
        end(list);
        return;
    }
    cw_out_str(out, "listener fd ");
    cw_out_i64(out, listener->fd);
    cw_out_str(out, listener->flags & CW_CONN_WATCHED ? " is in epoll set " : " is in no epoll set");
    if (listener->flags & CW_CONN_WATCHED)
        cw_out_i64(out, listener->epoll_fd);
    value(list, (uint32_t)listener->fd, "fd");
    end(list);

    struct range ages = {0};
    include_age(&ages, list->report->in.now_ms, listener->in_last_ms);
    ages.n *= list->group->count; /* one fact for all of them */
    add_transfer(list, "last_accept", "last accept", "no accept seen", &ages, listener->in_last_ms, 0);
}

unsigned cw_evidence_collect(const struct cw_report *report, const struct cw_group *group,
                             struct cw_evidence ret[CW_EVIDENCE_MAX])
{
    struct list list = {.report = report, .group = group, .entries = ret, .out = &report->work->line_out};

    list.oldest = cw_report_conn(report, &report->items[group->first]);
    for (uint32_t i = 0; i < group->count; i++)
        add_member(&list.stats, report, cw_report_conn(report, &report->items[group->first + i]), list.oldest);
    const struct cw_conn *oldest = list.oldest;
    const struct stats *stats = &list.stats;

    if (group->diagnosis == CW_DIAGNOSIS_NEVER_ACCEPTED) {
        add_listener(&list);
        add_recv_q(&list);
        add_origin(&list);
        return list.n;
    }
    add_eof(&list);
    add_transfer(&list, "last_write", "last write", "no write seen", &stats->out_age, oldest->out_last_ms,
                 oldest->out_call);
    if (group->diagnosis != CW_DIAGNOSIS_EOF_NOT_CLOSED)
        add_transfer(&list, "last_read", "last read", "no read seen", &stats->in_age, oldest->in_last_ms,
                     oldest->in_call);
    add_epoll(&list);
    add_recv_q(&list);
    add_origin(&list);
    add_copies(&list);
    return list.n;
}
