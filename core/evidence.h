/* Evidence: the facts behind a diagnosis, in words and as values, the same for every emitter. Pure. */
#ifndef CORE_EVIDENCE_H
#define CORE_EVIDENCE_H

#include "core/report.h"

enum { CW_EVIDENCE_MAX = 16 };

struct cw_evidence {
    const char *key; /* stable name for programs */
    bool has_value;
    uint64_t value;          /* of the group's oldest socket, in `unit`; ms are written as seconds */
    const char *unit;        /* "s" (value in ms), "bytes", "sockets", …; NULL for none */
    char text[160];          /* for people; "" if there is nothing worth a word */
    const char *unavailable; /* why the fact could not be had, else NULL */
};

/* Fills ret for a group and returns how many, 3 or more. */
unsigned cw_evidence_collect(const struct cw_report *report, const struct cw_group *group,
                             struct cw_evidence ret[CW_EVIDENCE_MAX]);

/* The report's `next` line without "more: …": what to do, and the function to look at where its name is known. Not
 * escaped; valid until the next call for this report. */
const char *cw_evidence_next(const struct cw_report *report, const struct cw_group *group);

/* The fingerprint of a group: diagnosis, module and function names. */
uint64_t cw_evidence_fingerprint(const struct cw_report *report, const struct cw_group *group);

#endif
