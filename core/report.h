/* The report: from a ledger's facts to items (one per socket) to groups (one per code path), ready to be written out.
 *
 * Build it over a view whose k_* fields were just checked (core/truth.h), then hand it to an emitter (core/emit.h). No
 * malloc: the caller lends memory. Pure, but for the leak judgement that it stores in the records; one thread per view.
 * May run in a signal handler that has 6 KiB of stack. */
#ifndef CORE_REPORT_H
#define CORE_REPORT_H

#include "core/diagnose.h"
#include "core/options.h"
#include "core/resolve.h"
#include "core/view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cw_report_input {
    uint32_t now_ms;      /* the moment that the report speaks of, in the ledger's ms: ages end there */
    uint64_t now_real_ns; /* CLOCK_REALTIME of the moment of writing */
    uint32_t age_ms;      /* how long before now_real_ns the moment now_ms was: 0, but for an ended process's ledger */
    uint32_t grace_ms;
    enum cw_late late;
    bool colour;
    const char *tool_version;           /* NULL: the ledger's */
    const struct cw_options *options;   /* listed in the JSON report; may be NULL */
    const struct cw_resolver *resolver; /* may be NULL: then modules and offsets only */
};

enum cw_report_section { CW_REPORT_LEAKS, CW_REPORT_CLOSED_LATE, CW_REPORT_SECTIONS };

/* One socket. */
struct cw_item {
    uint32_t conn;   /* index in CONNS */
    uint32_t age_ms; /* since the peer's FIN; CLOSED_LATE: from the FIN to the close */
    uint32_t origin_stack, deciding_stack, close_stack, label;
    uint8_t section, diagnosis;
};

/* One code path: same section, diagnosis, stacks and label. Its items are items[first] to items[first + count - 1],
 * oldest first. */
struct cw_group {
    enum cw_report_section section;
    enum cw_diagnosis_id diagnosis;
    enum cw_severity severity; /* of the group: closed late ones are notes unless option late says otherwise */
    uint32_t first, count;
    uint32_t oldest_ms, newest_ms;
    uint32_t origin_stack, deciding_stack, close_stack, label;
    uint64_t stack_id;
};

struct cw_report_work; /* room in the scratch memory that emitters use instead of stack */

struct cw_report {
    struct cw_view *view;
    struct cw_report_input in;
    struct {
        uint32_t close_wait, leaked, notes, settling, closed_late, errors;
        uint32_t queued;     /* in accept queues: no fd of the process stands for them */
        uint32_t not_listed; /* more sockets than the scratch memory had room for */
    } totals;
    const struct cw_item *items;
    const struct cw_group *groups[CW_REPORT_SECTIONS];
    uint32_t n_groups[CW_REPORT_SECTIONS];
    uint32_t listeners[64]; /* indices in CONNS of the listeners open now, the first ones */
    uint32_t n_listeners;
    struct cw_report_work *work;
};

/* Bytes of scratch memory that a report over this view takes now. */
size_t cw_report_scratch_bytes(const struct cw_view *view);

/* Builds *ret in `scratch` (aligned for any type), which must outlive it, as must view and what `in` points to.
 * Returns 0, or -ENOSPC (as a number) if the scratch memory has no room for even an empty report. */
int cw_report_build(struct cw_report *ret, struct cw_view *view, const struct cw_report_input *in, void *scratch,
                    size_t scratch_bytes);

/* Whether there is anything to report: a group of any section. */
bool cw_report_has_findings(const struct cw_report *report);

/* Whether a test run should fail: leaks of severity error, or sockets closed late if option late says fail. */
bool cw_report_fails(const struct cw_report *report);

/* The last moment at which a hook or a check wrote something down: for a killed process, the latest at which it is
 * known to have lived. In the ledger's ms, modulo 2^32. */
uint32_t cw_report_last_activity_ms(const struct cw_view *view);

/* Since the process began, and since the kernel was last asked about all its sockets. */
uint64_t cw_report_uptime_ms(const struct cw_report *report);
uint64_t cw_report_truth_age_ms(const struct cw_report *report);

/* When the process began: CLOCK_REALTIME, 0 if the ledger does not say. */
uint64_t cw_report_started_real_ns(const struct cw_report *report);

/* The connection behind an item. */
static inline const struct cw_conn *cw_report_conn(const struct cw_report *report, const struct cw_item *item)
{
    return &report->view->conns[item->conn];
}

/* The listener that the connection came through, if exactly one open one has its local port, else NULL. */
const struct cw_conn *cw_report_listener(const struct cw_report *report, const struct cw_conn *conn);

#endif
