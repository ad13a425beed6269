/* The document: one report over one or several processes, in which the same code path in many of them is one path.
 *
 * Each process is judged by itself (core/report.h), for a diagnosis turns on its own threads, sets and listeners. Before
 * that, cw_document_share sees to it that a socket which several of them have open is counted once; afterwards
 * cw_document_build joins what the reports found. Emitters (core/emit.h) write documents. No malloc: the caller lends memory.
 * Pure; may run in a signal handler that has 6 KiB of stack. */
#ifndef CORE_DOCUMENT_H
#define CORE_DOCUMENT_H

#include "core/report.h"

/* A code path in one process. */
struct cw_part {
    const struct cw_report *report;
    const struct cw_group *group;
};

/* A code path: in each process at most one group, all of the same section, diagnosis, severity, stack_id, closing stack and
 * label; without any stack, of the same program; of connections that wait to be accepted, at the same port. */
struct cw_path {
    const struct cw_part *parts; /* most sockets first: parts[0] lends its stacks, evidence and advice to the whole */
    uint32_t n_parts;
    uint32_t count; /* sockets in all */
    uint32_t oldest_ms, newest_ms;
};

/* Reports list so many code paths of a section, those with most sockets. Nobody reads more: it is a damaged ledger that has
 * more, or one where each socket has a label of its own. */
enum { CW_PATHS_LISTED = 1024 };

struct cw_document {
    const struct cw_report *const
        *reports; /* n_reports >= 1; the first is the process that was asked for, or the root */
    uint32_t n_reports;
    struct cw_report_totals totals;                  /* of all */
    const struct cw_path *paths[CW_REPORT_SECTIONS]; /* ordered as groups are */
    uint32_t n_paths[CW_REPORT_SECTIONS];            /* totals.not_listed: those of paths beyond CW_PATHS_LISTED too */
};

/* Bytes of scratch memory that cw_document_share takes for these views. */
size_t cw_document_share_bytes(const struct cw_view *const *views, uint32_t n);

/* Of every socket in CLOSE_WAIT, failed or closed late that more than one view has on record, all records but one get
 * CW_CONN_ELSEWHERE: reports do not count them; marks of before are taken away. The one that stays is of a process that
 * still had it open within 2 s of the last that had, of these the one that read or wrote it last (by start_mono_ns and the
 * record's ms), and if none ever did, of the first view; of what waits in an accept queue, the one that looks at the listener
 * rather than one that only has it open. A socket is known by its inode; what waits in an accept queue has
 * none and is known by its addresses, within a pid namespace. Views of another machine or another boot (host; boots that the
 * clocks put a day apart or more) share nothing. After the states were entered, before the reports are built; for one view
 * too. */
void cw_document_share(struct cw_view *const *views, uint32_t n, void *scratch, size_t scratch_bytes);

/* Bytes of scratch memory that a document over these reports takes. */
size_t cw_document_scratch_bytes(const struct cw_report *const *reports, uint32_t n);

/* Builds *ret in `scratch` (aligned for any type), which must outlive it, as must the reports. Returns 0, or -ENOSPC. */
int cw_document_build(struct cw_document *ret, const struct cw_report *const *reports, uint32_t n, void *scratch,
                      size_t scratch_bytes);

/* How many code paths of the section a report lists. */
static inline uint32_t cw_document_listed(const struct cw_document *document, enum cw_report_section section)
{
    return document->n_paths[section] < CW_PATHS_LISTED ? document->n_paths[section] : CW_PATHS_LISTED;
}

/* A counter of the recorders, of all processes together. */
uint64_t cw_document_counter(const struct cw_document *document, enum cw_counter counter);

/* TCP connections seen, of all processes together; one that came to a second of them by exec or SCM_RIGHTS counts once. */
uint64_t cw_document_connections(const struct cw_document *document);

/* How many of the processes had a recorder: of the others (CW_HEADER_OUTSIDE) nobody has counted anything. */
uint32_t cw_document_recorded(const struct cw_document *document);

/* Whether there is anything to report: a path of any section. */
bool cw_document_has_findings(const struct cw_document *document);

/* Whether a test run should fail: leaks of severity error, or sockets closed late if option late says fail. */
bool cw_document_fails(const struct cw_document *document);

#endif
