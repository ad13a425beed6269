/* Evidence: the facts behind a diagnosis, in words and as values, the same for every emitter. Pure. */
#ifndef CORE_EVIDENCE_H
#define CORE_EVIDENCE_H

#include "core/out.h"
#include "core/report.h"

/* The kinds of entries, in the order in which reports show them: bit's name, function in core/evidence_*.c. */
#define CW_EVIDENCE(X)                                                                                                 \
    X(EOF, eof)                                                                                                        \
    X(LISTENER, listener)                                                                                              \
    X(QUEUE, queue)                                                                                                    \
    X(LAST_ACCEPT, last_accept)                                                                                        \
    X(ACCEPTOR, acceptor)                                                                                              \
    X(THREAD, thread)                                                                                                  \
    X(STUCK_ON, stuck_on)                                                                                              \
    X(FORK, fork)                                                                                                      \
    X(EVENT, event)                                                                                                    \
    X(TURNS, turns)                                                                                                    \
    X(IDLE, idle)                                                                                                      \
    X(LAST_WRITE, last_write)                                                                                          \
    X(LAST_READ, last_read)                                                                                            \
    X(EPOLL, epoll)                                                                                                    \
    X(RECV_Q, recv_q)                                                                                                  \
    X(SEND_Q, send_q)                                                                                                  \
    X(ORIGIN, origin)                                                                                                  \
    X(HOLDERS, holders)                                                                                                \
    X(COPIES, copies)

enum cw_evidence_number {
#define CW_X(name, function) CW_EVIDENCE_##name,
    CW_EVIDENCE(CW_X)
#undef CW_X
        CW_EVIDENCE_KINDS
};
enum cw_evidence_bit {
#define CW_X(name, function) CW_EV_##name = 1 << CW_EVIDENCE_##name,
    CW_EVIDENCE(CW_X)
#undef CW_X
};

enum { CW_EVIDENCE_MAX = 24 };

struct cw_evidence {
    const char *key; /* stable name for programs */
    bool has_value;
    uint64_t value;          /* of the group's oldest socket, in `unit`; ms are written as seconds */
    const char *unit;        /* "s" (value in ms), "bytes", "sockets", "fd", "pid", "tid", …; NULL for none */
    char text[160];          /* for people; "" if there is nothing worth a word */
    const char *unavailable; /* why the fact could not be had (an errno's name where it was refused), else NULL */
};

/* Fills ret for a group and returns how many, 3 or more. */
unsigned cw_evidence_collect(const struct cw_report *report, const struct cw_group *group,
                             struct cw_evidence ret[CW_EVIDENCE_MAX]);

/* What to do about the group: its diagnosis's advice, or that for what is the matter with the listener. */
const char *cw_evidence_advice(const struct cw_report *report, const struct cw_group *group);

/* The report's `next` line without "more: …": what to do, and the function to look at where its name is known. Not
 * escaped; valid until the next call for this report. */
const char *cw_evidence_next(const struct cw_report *report, const struct cw_group *group);

/* Writes what a deciding stack shows, as core/diagnoses.inc words it: "end of stream seen by recv at". */
void cw_evidence_out_decided(struct cw_out *out, enum cw_diagnosis_id diagnosis, uint8_t call);

/* The fingerprint of a group: diagnosis, module and function names. */
uint64_t cw_evidence_fingerprint(const struct cw_report *report, const struct cw_group *group);

#endif
