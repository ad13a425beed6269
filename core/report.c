#include "core/report.h"

#include "core/ages.h"
#include "core/atomic.h"
#include "core/leak.h"
#include "core/sort.h"
#include "core/work.h"

#include <errno.h>
#include <string.h>

enum { STATE_CLOSE = 7, STATE_CLOSE_WAIT = 8 }; /* <netinet/tcp.h> */

/* --- what counts --- */

static bool is_late(const struct cw_conn *conn)
{
    const uint32_t of = CW_CONN_IN_USE | CW_CONN_LATE | CW_CONN_LISTENER;
    return (CW_GET(conn->flags) & of) == (CW_CONN_IN_USE | CW_CONN_LATE);
}

static bool is_in(const struct cw_conn *conn, uint8_t state)
{
    return (CW_GET(conn->flags) & (CW_CONN_IN_USE | CW_CONN_LATE | CW_CONN_LISTENER)) == CW_CONN_IN_USE &&
           CW_GET(conn->k_ms) && CW_GET(conn->k_state) == state;
}

static uint32_t conns_used(const struct cw_view *view)
{
    uint32_t used = CW_GET(view->header->sections[CW_SECTION_CONNS].used);
    return used < view->n_conns ? used : view->n_conns;
}

static uint32_t candidates(const struct cw_view *view)
{
    uint32_t n = 0, used = conns_used(view);
    for (uint32_t i = 1; i < used; i++)
        n +=
            is_late(&view->conns[i]) || is_in(&view->conns[i], STATE_CLOSE_WAIT) || is_in(&view->conns[i], STATE_CLOSE);
    return n;
}

static size_t bytes_for(size_t n)
{
    return sizeof(struct cw_report_work) + n * (sizeof(struct cw_item) + sizeof(struct cw_group));
}

size_t cw_report_scratch_bytes(const struct cw_view *view)
{
    /* Some more sockets, and a thread, may turn up before the report is built. */
    return bytes_for((size_t)candidates(view) + 64) + cw_context_bytes(view) + 64 * sizeof(uint32_t);
}

/* --- items --- */

struct build {
    struct cw_report *report;
    struct cw_item *items;
    struct cw_group *all_groups;
    uint32_t n, room;
};

static void add_item(struct build *build, uint32_t index, enum cw_report_section section)
{
    const struct cw_report *report = build->report;
    const struct cw_conn *conn = &report->view->conns[index];
    struct cw_facts facts = cw_report_facts(report, conn);

    if (build->n == build->room) {
        build->report->totals.not_listed++;
        return;
    }
    struct cw_item *item = &build->items[build->n++];
    bool late = section == CW_REPORT_CLOSED_LATE;
    uint32_t since = section == CW_REPORT_ERRORS ? cw_leak_last_use_ms(conn) : conn->fin_ms;

    enum cw_diagnosis_id diagnosis = cw_diagnose(&facts);
    struct cw_decision decision = cw_decide(diagnosis, &facts);
    *item = (struct cw_item){.conn = index,
                             .age_ms = since ? cw_age(facts.now_ms, since) : 0,
                             .origin_stack = conn->open_stack,
                             .close_stack = late ? conn->close_stack : 0,
                             .label = conn->label,
                             .section = (uint8_t)section,
                             .diagnosis = (uint8_t)diagnosis,
                             .deciding_stack = decision.stack,
                             .deciding_call = decision.call,
                             .part = decision.part,
                             .grouped = (uint8_t)decision.grouped};
}

/* A failed connection: for how long nobody has done anything about it. */
static void add_failed(struct build *build, uint32_t index)
{
    struct cw_report *report = build->report;
    const struct cw_conn *conn = &report->view->conns[index];

    if (!cw_leak_failed(conn, report->in.now_ms, report->in.grace_ms))
        return;
    report->totals.errors++;
    add_item(build, index, CW_REPORT_ERRORS);
}

static void add_close_wait(struct build *build, uint32_t index)
{
    struct cw_report *report = build->report;
    struct cw_conn *conn = &report->view->conns[index];

    if (conn->origin == CW_ORIGIN_QUEUED)
        report->totals.queued++;
    else
        report->totals.close_wait++;
    if (!cw_leak_judge(conn, report->in.now_ms, report->in.grace_ms) || (CW_GET(conn->flags) & CW_CONN_SETTLING)) {
        report->totals.settling++;
        return;
    }
    struct cw_facts facts = cw_report_facts(report, conn);
    if (cw_diagnoses[cw_diagnose(&facts)].severity == CW_SEVERITY_NOTE)
        report->totals.notes++;
    else
        report->totals.leaked++;
    add_item(build, index, CW_REPORT_LEAKS);
}

static void add_all(struct build *build)
{
    struct cw_report *report = build->report;
    uint32_t used = conns_used(report->view);

    for (uint32_t i = 1; i < used; i++) {
        const struct cw_conn *conn = &report->view->conns[i];
        if (CW_GET(conn->flags) & CW_CONN_ELSEWHERE)
            continue; /* another process of the document reports it */
        if (is_late(conn)) {
            report->totals.closed_late++;
            if (report->in.late != CW_LATE_OFF)
                add_item(build, i, CW_REPORT_CLOSED_LATE);
        } else if (is_in(conn, STATE_CLOSE_WAIT)) {
            add_close_wait(build, i);
        } else if (is_in(conn, STATE_CLOSE)) {
            add_failed(build, i);
        }
    }
}

/* --- groups --- */

static int order(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* 0 when both belong to one group. */
static int compare_keys(const struct cw_item *a, const struct cw_item *b)
{
    int result = order(a->section, b->section);
    result = result ? result : order(a->diagnosis, b->diagnosis);
    result = result ? result : order(a->grouped, b->grouped);
    if (a->grouped == CW_GROUPED_BY_PART ||
        (a->grouped == CW_GROUPED_BY_DECISION && !(a->deciding_stack | b->deciding_stack)))
        return result ? result : order(a->part, b->part);
    if (result || a->grouped == CW_GROUPED_BY_DECISION)
        return result ? result : order(a->deciding_stack, b->deciding_stack);
    result = order(a->origin_stack, b->origin_stack);
    result = result ? result : order(a->deciding_stack, b->deciding_stack);
    result = result ? result : order(a->close_stack, b->close_stack);
    return result ? result : order(a->label, b->label);
}

static int compare_items(const void *first, const void *second, void *ctx)
{
    const struct cw_item *a = first, *b = second;
    (void)ctx;
    int result = compare_keys(a, b);
    result = result ? result : order(b->age_ms, a->age_ms);
    return result ? result : order(a->conn, b->conn);
}

static int compare_groups(const void *first, const void *second, void *ctx)
{
    const struct cw_group *a = first, *b = second;
    (void)ctx;
    int result = order(a->section, b->section);
    result = result ? result : order(a->severity, b->severity);
    result = result ? result : order(b->count, a->count);
    result = result ? result : order(b->oldest_ms, a->oldest_ms);
    result = result ? result : order(a->stack_id, b->stack_id);
    return result ? result : order(a->first, b->first);
}

static struct cw_group make_group(const struct cw_report *report, const struct cw_item *items, uint32_t first,
                                  uint32_t count)
{
    const struct cw_item *item = &items[first];
    struct cw_group group = {.section = item->section,
                             .diagnosis = item->diagnosis,
                             .severity = cw_diagnoses[item->diagnosis].severity,
                             .first = first,
                             .count = count,
                             .oldest_ms = item->age_ms,
                             .newest_ms = items[first + count - 1].age_ms,
                             .origin_stack = item->origin_stack,
                             .deciding_stack = item->deciding_stack,
                             .deciding_call = item->deciding_call,
                             .close_stack = item->close_stack,
                             .label = item->label};

    if (group.section == CW_REPORT_CLOSED_LATE && report->in.late != CW_LATE_FAIL)
        group.severity = CW_SEVERITY_NOTE;
    group.stack_id = cw_hash_stack(CW_HASH_START, report->view, item->origin_stack);
    group.stack_id = cw_hash_stack(group.stack_id, report->view, item->deciding_stack);
    if (report->view->header->flags & CW_HEADER_OUTSIDE) /* no stacks are known */
        group.stack_id = cw_hash_bytes(group.stack_id, &item->part, sizeof(item->part));
    return group;
}

static void build_groups(struct build *build)
{
    struct cw_report *report = build->report;
    uint32_t n_groups = 0;

    cw_sort(build->items, build->n, sizeof(*build->items), compare_items, NULL);
    for (uint32_t first = 0, end; first < build->n; first = end) {
        for (end = first + 1; end < build->n && !compare_keys(&build->items[first], &build->items[end]); end++)
            ;
        build->all_groups[n_groups++] = make_group(report, build->items, first, end - first);
    }
    cw_sort(build->all_groups, n_groups, sizeof(*build->all_groups), compare_groups, NULL);
    for (uint32_t i = 0; i < n_groups; i++) {
        enum cw_report_section section = build->all_groups[i].section;
        if (!report->n_groups[section]++)
            report->groups[section] = &build->all_groups[i];
    }
}

/* A hostile or half-written header may lack the NULs that every reader of its texts relies on. */
static void end_texts(struct cw_ledger *header)
{
#define END(field) header->field[sizeof(header->field) - 1] = 0
    END(exe);
    END(command);
    END(host);
    END(kernel);
    END(tool_version);
    END(options);
    END(off_reason);
#undef END
}

int cw_report_build(struct cw_report *ret, struct cw_view *view, const struct cw_report_input *in, void *scratch,
                    size_t scratch_bytes)
{
    size_t context_bytes = (cw_context_bytes(view) + 15) & ~(size_t)15;

    if (scratch_bytes < bytes_for(0) + context_bytes)
        return -ENOSPC;
    size_t room = (scratch_bytes - context_bytes - bytes_for(0)) / (bytes_for(1) - bytes_for(0));
    struct build build = {.report = ret, .room = room < UINT32_MAX ? (uint32_t)room : UINT32_MAX};

    memset(ret, 0, sizeof(*ret));
    ret->view = view;
    ret->in = *in;
    ret->work = scratch;
    char *context_memory = (char *)scratch + sizeof(struct cw_report_work);
    cw_context_gather(&ret->context, view, in->resolver, ret->work->symbols, context_memory, context_bytes);
    build.all_groups = (struct cw_group *)(void *)(context_memory + context_bytes);
    build.items = (struct cw_item *)(void *)(build.all_groups + build.room);
    ret->items = build.items;
    end_texts(view->header);
    add_all(&build);
    build_groups(&build);
    return 0;
}

/* --- questions --- */

bool cw_report_fails(const struct cw_report *report)
{
    return report->totals.leaked || (report->in.late == CW_LATE_FAIL && report->totals.closed_late);
}

const char *cw_report_called(const struct cw_report *report)
{
    const struct cw_ledger *header = report->view->header;
    bool is_title = strpbrk(header->command, " \t") && strcmp(header->command, header->exe) != 0;

    return !header->command[0] || (is_title && header->exe[0]) ? header->exe : header->command;
}

struct cw_facts cw_report_facts(const struct cw_report *report, const struct cw_conn *conn)
{
    uint32_t now_ms = conn->flags & CW_CONN_LATE ? conn->close_ms : report->in.now_ms;
    return (struct cw_facts){report->view, conn, now_ms, report->in.grace_ms, &report->context};
}

const struct cw_holder *cw_report_holders(const struct cw_report *report, const struct cw_conn *conn, uint32_t *ret_n)
{
    const struct cw_holder *holders = report->in.holders;
    uint32_t low = 0, high = report->in.n_holders;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (holders[middle].inode < conn->inode)
            low = middle + 1;
        else
            high = middle;
    }
    for (*ret_n = 0; conn->inode && low + *ret_n < report->in.n_holders && holders[low + *ret_n].inode == conn->inode;)
        (*ret_n)++;
    return *ret_n ? &holders[low] : NULL;
}

uint32_t cw_report_last_activity_ms(const struct cw_view *view)
{
    const struct cw_ledger *header = view->header;
    uint32_t last = cw_later(header->truth_ms, header->end_ms), used = conns_used(view);

    for (uint32_t i = 1; i < used; i++) {
        const struct cw_conn *conn = &view->conns[i];
        if (!(CW_GET(conn->flags) & CW_CONN_IN_USE))
            continue;
        const uint32_t times[] = {conn->in_last_ms, conn->out_last_ms, conn->open_ms, conn->ctl_ms,
                                  conn->eof_ms,     conn->event_ms,    conn->k_ms,    conn->polled_ms};
        for (size_t k = 0; k < sizeof(times) / sizeof(times[0]); k++)
            last = cw_later(last, times[k]);
    }
    for (uint32_t i = 1; i < view->n_threads; i++)
        last = cw_later(last, view->threads[i].wait_ms);
    for (uint32_t i = 1; i < view->n_sets; i++)
        last = cw_later(cw_later(last, view->sets[i].return_ms), view->sets[i].idle_ms);
    return last;
}

uint64_t cw_report_started_real_ns(const struct cw_report *report)
{
    const struct cw_ledger *header = report->view->header;
    uint64_t before = header->start_mono_ns - header->process_start_mono_ns;

    if (!header->process_start_mono_ns || header->process_start_mono_ns > header->start_mono_ns)
        before = 0;
    return header->start_real_ns > before ? header->start_real_ns - before : 0;
}

uint64_t cw_report_uptime_ms(const struct cw_report *report)
{
    uint64_t started_ms = cw_report_started_real_ns(report) / 1000000, now_ms = report->in.now_real_ns / 1000000;

    now_ms -= now_ms > report->in.age_ms ? report->in.age_ms : now_ms;
    return now_ms > started_ms ? now_ms - started_ms : 0;
}

uint64_t cw_report_truth_age_ms(const struct cw_report *report)
{
    uint32_t age = report->in.now_ms - report->view->header->truth_ms;
    return (uint64_t)report->in.age_ms + (age > UINT32_MAX - 60000 ? 0 : age);
}
