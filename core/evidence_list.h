/* Inside the evidence: one pass over a group's sockets, and how entries are written. Pure. */
#ifndef CORE_EVIDENCE_LIST_H
#define CORE_EVIDENCE_LIST_H

#include "core/evidence.h"
#include "core/out.h"

struct cw_range {
    uint32_t n, least, most; /* n: members that have the fact at all */
};

struct cw_evidence_stats {
    struct cw_range in_age, out_age, eof_age, copy_age, recv_q, send_q, forks, refs, polled_age, event_age, turns, idle;
    uint32_t watched, was_watched, polled, stdio, scm_sent, keepalive, peeked_only, same_watch, shut_wr;
    uint32_t bytes_unread; /* members with more than the FIN in Recv-Q */
};

struct cw_evidence_list {
    const struct cw_report *report;
    const struct cw_group *group;
    const struct cw_conn *oldest;
    struct cw_facts facts; /* of the oldest */
    struct cw_evidence_stats stats;
    struct cw_evidence *entries;
    unsigned n;
    struct cw_out *out; /* begun for the entry under way */
};

#define CW_X(name, function) void cw_evidence_##function(struct cw_evidence_list *list);
CW_EVIDENCE(CW_X)
#undef CW_X

/* Begins an entry; its words go to the result until cw_evidence_end. */
struct cw_out *cw_evidence_begin(struct cw_evidence_list *list, const char *key);
void cw_evidence_end(struct cw_evidence_list *list);

/* The entry's value; for "s" in ms. */
void cw_evidence_value(struct cw_evidence_list *list, uint64_t number, const char *unit);
/* An entry of a value alone: its words, if it needs any, stand in the one before. */
void cw_evidence_number(struct cw_evidence_list *list, const char *key, uint64_t number, const char *unit);
void cw_evidence_unavailable(struct cw_evidence_list *list, const char *why);

/* " (126 of 128)" where a fact does not hold for the whole group. */
void cw_evidence_share(struct cw_evidence_list *list, uint32_t n);

/* "93 s ago", "93 s to 5 min ago"; "3", "3 to 5". */
void cw_evidence_ages(struct cw_out *out, const struct cw_range *ages);
void cw_evidence_numbers(struct cw_out *out, const struct cw_range *numbers);

/* "last write 93 s ago by send (126 of 128)"; `never` where no member has it. */
void cw_evidence_transfer(struct cw_evidence_list *list, const char *key, const char *last, const char *never,
                          const struct cw_range *ages, uint32_t oldest_ms, uint8_t call);

/* "EPOLLIN|EPOLLRDHUP". */
void cw_evidence_epoll_mask(struct cw_out *out, uint32_t mask);

#endif
