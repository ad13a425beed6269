/* Evidence: what is known of the sockets themselves. */
#define _GNU_SOURCE /* POLLRDHUP */
#include "core/ages.h"
#include "core/evidence_list.h"
#include "core/names.h"
#include "core/outside_words.h"

#include <poll.h>
#include <sys/epoll.h>

void cw_evidence_epoll_mask(struct cw_out *out, uint32_t mask)
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

static const char *errno_name(int number)
{
    return cw_errno_name(number) ? cw_errno_name(number) : "refused";
}

void cw_evidence_eof(struct cw_evidence_list *list)
{
    const struct cw_evidence_stats *stats = &list->stats;
    struct cw_out *out = cw_evidence_begin(list, "end_of_stream");

    if (!stats->eof_age.n) {
        cw_out_str(out, "end of stream not seen");
    } else if (stats->peeked_only == list->group->count) {
        cw_out_str(out, "end of stream seen by MSG_PEEK, not read");
    } else {
        cw_out_str(out, "FIN read ");
        cw_evidence_ages(out, &stats->eof_age);
        cw_evidence_share(list, stats->eof_age.n);
    }
    if (list->oldest->eof_ms)
        cw_evidence_value(list, cw_age(list->report->in.now_ms, list->oldest->eof_ms), "s");
    cw_evidence_end(list);
    if (list->oldest->fin_ms) /* the head of the group says it in words */
        cw_evidence_number(list, "fin", cw_age(list->report->in.now_ms, list->oldest->fin_ms), "s");
}

/* Why what the kernel has in force could not be asked for, so that the mask is the one of the last epoll_ctl; 0 if it could. */
static int mask_errno(const struct cw_evidence_list *list)
{
    const struct cw_set *set = cw_view_set(list->report->view, list->oldest->epoll_set);
    return set && (list->oldest->flags & CW_CONN_WATCHED) ? (int)set->k_errno : 0;
}

/* Without hooks only what is seen of the threads says whether anybody waits for the socket: "thread 4243 waits on that set". */
static void add_who_is_told(struct cw_evidence_list *list)
{
    const struct cw_view *view = list->report->view;
    const struct cw_conn *oldest = list->oldest;
    bool watched = oldest->flags & CW_CONN_WATCHED;
    const struct cw_context *context = &list->report->context;
    const struct cw_set *set = watched ? cw_view_set(view, oldest->epoll_set) : NULL;
    const struct cw_thread *thread = set       ? cw_context_waiter(context, set)
                                     : watched ? NULL
                                               : cw_context_in_call(context, oldest->fd);

    if (!thread && !watched)
        return;
    struct cw_out *out = cw_evidence_begin(list, watched ? "epoll_waiter" : "thread");
    if (thread) {
        cw_out_str(out, "thread ");
        cw_out_i64(out, thread->tid);
        cw_out_str(out, watched ? " waits on that set now" : " is in a call on it now");
        cw_evidence_value(list, (uint32_t)thread->tid, "tid");
    } else {
        cw_out_str(out, "no thread is seen to wait on that set now");
    }
    cw_evidence_end(list);
}

void cw_evidence_epoll(struct cw_evidence_list *list)
{
    const struct cw_evidence_stats *stats = &list->stats;
    const struct cw_conn *oldest = list->oldest;
    struct cw_out *out = cw_evidence_begin(list, "epoll");

    if (oldest->flags & CW_CONN_WATCHED) {
        cw_out_str(out, "in epoll set ");
        cw_out_i64(out, oldest->epoll_fd);
        cw_out_str(out, " with ");
        cw_evidence_epoll_mask(out, oldest->epoll_mask);
        cw_evidence_share(list, stats->same_watch);
        if (mask_errno(list)) {
            cw_out_str(out, " as registered; the set's fdinfo may not be read (");
            cw_out_errno(out, mask_errno(list));
            cw_out_char(out, ')');
            cw_evidence_unavailable(list, errno_name(mask_errno(list)));
        }
        cw_evidence_value(list, (uint32_t)oldest->epoll_fd, "fd");
    } else if (oldest->flags & CW_CONN_WAS_WATCHED) {
        cw_out_str(out, "taken out of epoll set ");
        cw_out_i64(out, oldest->epoll_fd);
        cw_evidence_share(list, stats->was_watched - stats->watched);
        cw_evidence_value(list, (uint32_t)oldest->epoll_fd, "fd");
    } else if (stats->polled) {
        cw_out_str(out, "last in a poll or select set ");
        cw_evidence_ages(out, &stats->polled_age);
        cw_evidence_share(list, stats->polled);
        if (oldest->polled_ms)
            cw_evidence_value(list, cw_age(list->report->in.now_ms, oldest->polled_ms), "s");
    } else {
        cw_out_str(out, cw_is_outside(list->report->view) ? "in no epoll set"
                                                          : "never seen in an epoll, poll or select set");
        cw_evidence_value(list, oldest->epoll_sets, "sets");
    }
    cw_evidence_end(list);
    if (cw_is_outside(list->report->view))
        add_who_is_told(list);
    if (oldest->flags & CW_CONN_WAS_WATCHED)
        cw_evidence_number(list, "epoll_mask", oldest->epoll_mask, "mask");
    else if (oldest->flags & CW_CONN_POLLED)
        cw_evidence_number(list, "poll_mask", oldest->poll_mask, "mask");
}

/* "Recv-Q not known", and why. */
static void out_no_queue(struct cw_evidence_list *list, const char *words)
{
    const struct cw_ledger *header = list->report->view->header;

    cw_out_str(list->out, words);
    if (!(header->flags & CW_HEADER_NO_NETLINK)) {
        cw_evidence_unavailable(list, header->truth == CW_TRUTH_KERNEL ? "sock_diag does not tell"
                                                                       : "sock_diag was not asked");
    } else if (header->netlink_errno) {
        cw_out_str(list->out, ": sock_diag refused (");
        cw_out_errno(list->out, header->netlink_errno);
        cw_out_char(list->out, ')');
        cw_evidence_unavailable(list, errno_name(header->netlink_errno));
    } else {
        cw_evidence_unavailable(list, "sock_diag refused");
    }
}

void cw_evidence_recv_q(struct cw_evidence_list *list)
{
    const struct cw_evidence_stats *stats = &list->stats;
    struct cw_out *out = cw_evidence_begin(list, "recv_q");

    if (!stats->recv_q.n) {
        out_no_queue(list, "Recv-Q not known");
    } else {
        cw_out_str(out, "Recv-Q ");
        cw_evidence_numbers(out, &stats->recv_q);
        if (stats->recv_q.most == 1 && stats->recv_q.least == 1)
            cw_out_str(out, ": only the FIN is unread");
        else if (!stats->recv_q.most)
            cw_out_str(out, ": everything was read");
        else if (stats->bytes_unread)
            cw_out_str(out, ": data is unread");
        if (stats->bytes_unread && stats->bytes_unread < list->group->count)
            cw_evidence_share(list, stats->bytes_unread);
    }
    if (list->oldest->k_flags & CW_K_QUEUES)
        cw_evidence_value(list, list->oldest->k_recv_q, "bytes");
    cw_evidence_end(list);
}

static void add_flag(struct cw_evidence_list *list, const char *key, const char *words, uint32_t n)
{
    if (!n)
        return;
    cw_out_str(cw_evidence_begin(list, key), words);
    cw_evidence_share(list, n);
    cw_evidence_value(list, n, "sockets");
    cw_evidence_end(list);
}

void cw_evidence_copies(struct cw_evidence_list *list)
{
    const struct cw_evidence_stats *stats = &list->stats;

    if (stats->refs.most > 1) {
        cw_evidence_numbers(cw_evidence_begin(list, "copies"), &stats->refs);
        cw_out_str(list->out, " fds of this process share the socket");
        cw_evidence_value(list, list->oldest->refs, "fds");
        cw_evidence_end(list);
    }
    if (stats->copy_age.n) {
        cw_out_str(cw_evidence_begin(list, "copy_closed"), "one of its fds was closed ");
        cw_evidence_ages(list->out, &stats->copy_age);
        cw_evidence_share(list, stats->copy_age.n);
        if (list->oldest->copy_close_ms)
            cw_evidence_value(list, cw_age(list->report->in.now_ms, list->oldest->copy_close_ms), "s");
        cw_evidence_end(list);
    }
    if (stats->forks.most) {
        cw_evidence_numbers(cw_evidence_begin(list, "forks_while_open"), &stats->forks);
        cw_out_str(list->out, stats->forks.most == 1 ? " fork while it was open" : " forks while it was open");
        cw_evidence_value(list, stats->forks.most, "forks");
        cw_evidence_end(list);
    }
    add_flag(list, "stdio", "used through stdio, whose reads may not be seen", stats->stdio);
    add_flag(list, "scm_sent", "sent to another process (SCM_RIGHTS)", stats->scm_sent);
    if ((list->oldest->flags & CW_CONN_SCM_SENT) && list->oldest->copy_close_ms)
        cw_evidence_number(list, "passed", cw_age(list->report->in.now_ms, list->oldest->copy_close_ms), "s");
    add_flag(list, "shutdown", "its own direction is shut down", stats->shut_wr);
    add_flag(list, "keepalive", "SO_KEEPALIVE is on", stats->keepalive);
}

void cw_evidence_origin(struct cw_evidence_list *list)
{
    struct cw_out *out = cw_evidence_begin(list, "origin");

    cw_out_str(out, cw_origin_words(list->oldest->origin));
    if (list->oldest->open_ms) {
        cw_out_char(out, ' ');
        cw_out_age(out, cw_age(list->report->in.now_ms, list->oldest->open_ms));
        cw_out_str(out, " ago");
        cw_evidence_value(list, cw_age(list->report->in.now_ms, list->oldest->open_ms), "s");
    } else if (list->oldest->fd >= 0) {
        cw_evidence_value(list, (uint32_t)list->oldest->fd, "fd");
    }
    cw_evidence_end(list);
}

void cw_evidence_last_write(struct cw_evidence_list *list)
{
    cw_evidence_transfer(list, "last_write", "last write", "no write seen", &list->stats.out_age,
                         list->oldest->out_last_ms, list->oldest->out_call);
}

void cw_evidence_last_read(struct cw_evidence_list *list)
{
    cw_evidence_transfer(list, "last_read", "last read", "no read seen", &list->stats.in_age, list->oldest->in_last_ms,
                         list->oldest->in_call);
    const struct cw_conn *oldest = list->oldest;
    int32_t result = cw_after(oldest->out_last_ms, oldest->in_last_ms) ? oldest->out_last_res : oldest->in_last_res;
    if (!(oldest->flags & (CW_CONN_IN_FAILED | CW_CONN_OUT_FAILED)) || result >= 0)
        return;
    cw_out_str(cw_evidence_begin(list, "last_errno"), "it failed with ");
    cw_out_errno(list->out, -result);
    cw_evidence_value(list, (uint64_t)-result, "errno");
    cw_evidence_end(list);
}

void cw_evidence_send_q(struct cw_evidence_list *list)
{
    const struct cw_evidence_stats *stats = &list->stats;
    struct cw_out *out = cw_evidence_begin(list, "send_q");

    if (!stats->send_q.n) {
        out_no_queue(list, "Send-Q not known");
    } else {
        cw_out_str(out, "Send-Q ");
        cw_evidence_numbers(out, &stats->send_q);
        cw_evidence_value(list, list->oldest->k_send_q, "bytes");
    }
    cw_evidence_end(list);
    if (!list->oldest->out_gap_ds)
        return;
    cw_out_str(cw_evidence_begin(list, "send_gap"), "at most ");
    cw_out_age(list->out, list->oldest->out_gap_ds * 100u);
    cw_out_str(list->out, " between sends since");
    cw_evidence_value(list, list->oldest->out_gap_ds * 100u, "s");
    cw_evidence_end(list);
}

void cw_evidence_event(struct cw_evidence_list *list)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } names[] = {{POLLIN, "POLLIN"}, {POLLRDHUP, "POLLRDHUP"}, {POLLHUP, "POLLHUP"}, {POLLERR, "POLLERR"}};
    const struct cw_conn *oldest = list->oldest;
    const struct cw_set *set =
        oldest->flags & CW_CONN_WATCHED ? cw_view_set(list->report->view, oldest->epoll_set) : NULL;
    struct cw_out *out = cw_evidence_begin(list, "event");

    if (oldest->event_ms) {
        cw_out_str(out, cw_call_name(oldest->event_call) ? cw_call_name(oldest->event_call) : "poll");
        cw_out_str(out, " reported");
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
            if (!(oldest->event_mask & names[i].bit))
                continue;
            cw_out_char(out, ' ');
            cw_out_str(out, names[i].name);
        }
        cw_out_str(out, ", first ");
        cw_evidence_ages(out, &list->stats.event_age);
        cw_evidence_value(list, cw_age(list->report->in.now_ms, oldest->event_ms), "s");
        cw_evidence_end(list);
        cw_evidence_number(list, "event_mask", oldest->event_mask, "mask");
        return;
    } else if (set && set->return_ms) {
        cw_out_str(out, "epoll set ");
        cw_out_i64(out, set->fd);
        cw_out_str(out, " last returned events ");
        cw_out_age(out, cw_age(list->report->in.now_ms, set->return_ms));
        cw_out_str(out, " ago");
        cw_evidence_value(list, cw_age(list->report->in.now_ms, set->return_ms), "s");
    } else {
        cw_out_str(out, "no event on record");
    }
    cw_evidence_end(list);
}

void cw_evidence_turns(struct cw_evidence_list *list)
{
    struct cw_out *out = cw_evidence_begin(list, "turns");
    const struct cw_range *turns = &list->stats.turns;

    cw_evidence_numbers(out, turns);
    cw_out_str(out, turns->most == 1 ? " exchange" : " exchanges");
    cw_evidence_value(list,
                      list->oldest->origin == CW_ORIGIN_CONNECT ? list->oldest->turns_in : list->oldest->turns_out,
                      "exchanges");
    cw_evidence_end(list);
}

void cw_evidence_idle(struct cw_evidence_list *list)
{
    struct cw_out *out = cw_evidence_begin(list, "idle");
    const struct cw_range *idle = &list->stats.idle;

    if (!idle->n) {
        cw_out_str(out, "idle time not known");
        cw_evidence_end(list);
        return;
    }
    cw_out_str(out, "idle for ");
    cw_out_age(out, idle->least);
    if (idle->most / 1000 != idle->least / 1000) {
        cw_out_str(out, " to ");
        cw_out_age(out, idle->most);
    }
    cw_out_str(out, " when the peer closed");
    const struct cw_conn *oldest = list->oldest;
    cw_evidence_value(list, cw_age(oldest->fin_ms, cw_later(oldest->in_last_ms, oldest->out_last_ms)), "s");
    cw_evidence_end(list);
}
