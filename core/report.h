/* The report: from a ledger's facts to items (one per socket) to groups (one per code path), ready to be written out.
 *
 * Build it over a view whose k_* fields were just checked (core/truth.h), then hand it to an emitter (core/emit.h). No
 * malloc: the caller lends memory. Pure, but for the leak judgement that it stores in the records; one thread per view.
 * May run in a signal handler that has 6 KiB of stack. */
#ifndef CORE_REPORT_H
#define CORE_REPORT_H

#include "core/diagnose.h"
#include "core/options.h"
#include "core/redact.h"
#include "core/resolve.h"
#include "core/view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A process that has a socket open, as /proc/PID/fd shows it. */
struct cw_holder {
    uint32_t inode;
    int32_t pid, fd;
    char name[16]; /* of the process, NUL-terminated */
};

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
    const struct cw_redact *redact;     /* may be NULL: then nothing is redacted */
    const struct cw_holder *holders;    /* sorted by inode, pid, fd */
    uint32_t n_holders;
    bool holders_known;       /* somebody has looked; else holders_errno may say why not */
    uint32_t holders_refused; /* processes that did not let us look */
    int holders_errno;
    int32_t holders_refused_pid; /* the first of them, 0 not known */
    int holders_refused_errno;   /* with what */
    /* Sockets in CLOSE_WAIT that this process has closed and children keep open: reported by those, a remark here. */
    bool held_known;                  /* somebody has looked */
    uint32_t held_sockets, held_pids; /* how many, and how many processes hold them */
    int32_t held_pid, held_fd;        /* who holds most of them, and the first one's fd there */
    bool held_by_descendant;          /* no child of its own, but a child's */
    char held_name[16];               /* of the process, NUL-terminated */
};

enum cw_report_section {
    CW_REPORT_LEAKS,
    CW_REPORT_ERRORS, /* in state CLOSE after an error: no CLOSE_WAIT any more, but open */
    CW_REPORT_CLOSED_LATE,
    CW_REPORT_SECTIONS
};

/* One socket. */
struct cw_item {
    uint32_t conn;   /* index in CONNS */
    uint32_t age_ms; /* since the peer's FIN; ERRORS: since its last use; CLOSED_LATE: from the FIN to the close */
    uint32_t origin_stack, close_stack, label;
    uint32_t part; /* struct cw_decision */
    uint32_t deciding_stack;
    uint8_t section, diagnosis;
    uint8_t deciding_call; /* enum cw_call */
    uint8_t grouped;       /* enum cw_grouped */
};

/* One code path: same section, diagnosis, stacks and label; or what waits for the same thread or listener. Its items are items[first] to items[first + count - 1],
 * oldest first. */
struct cw_group {
    enum cw_report_section section;
    enum cw_diagnosis_id diagnosis;
    enum cw_severity severity; /* of the group: closed late ones are notes unless option late says otherwise */
    uint32_t first, count;
    uint32_t oldest_ms, newest_ms;
    uint32_t origin_stack, deciding_stack, close_stack, label;
    uint8_t deciding_call; /* enum cw_call */
    uint64_t stack_id;
};

/* Sockets, each counted once. */
struct cw_report_totals {
    uint32_t close_wait, leaked, notes, settling, closed_late, errors;
    uint32_t queued;     /* in accept queues: no fd of the process stands for them, so not in close_wait */
    uint32_t not_listed; /* counted, but in no list: there was no room for them, or they are of too many code paths */
};

struct cw_report_work; /* room in the scratch memory that emitters use instead of stack */

struct cw_report {
    struct cw_view *view;
    struct cw_report_input in;
    struct cw_report_totals totals;
    const struct cw_item *items;
    const struct cw_group *groups[CW_REPORT_SECTIONS];
    uint32_t n_groups[CW_REPORT_SECTIONS];
    struct cw_context context;
    struct cw_report_work *work;
};

/* Bytes of scratch memory that a report over this view takes now. */
size_t cw_report_scratch_bytes(const struct cw_view *view);

/* Builds *ret in `scratch` (aligned for any type), which must outlive it, as must view and what `in` points to.
 * Returns 0, or -ENOSPC (as a number) if the scratch memory has no room for even an empty report. */
int cw_report_build(struct cw_report *ret, struct cw_view *view, const struct cw_report_input *in, void *scratch,
                    size_t scratch_bytes);

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

/* What the program was called as: its argv[0], or its file where that has become a title with more in it (nginx, postgres). */
const char *cw_report_called(const struct cw_report *report);

/* The facts that a socket's diagnosis is made of. */
struct cw_facts cw_report_facts(const struct cw_report *report, const struct cw_conn *conn);

/* The holders of a socket, all pids: the first, and how many follow it. */
const struct cw_holder *cw_report_holders(const struct cw_report *report, const struct cw_conn *conn, uint32_t *ret_n);

#endif
