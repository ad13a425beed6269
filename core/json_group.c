/* JSON report: one code path. */
#include "core/ages.h"
#include "core/json.h"
#include "core/names.h"
#include "core/outside_words.h"
#include "core/syscalls.h"
#include "core/work.h"

#include <string.h>

static void out_evidence(struct cw_json *json, const struct cw_report *report, const struct cw_group *group)
{
    const struct cw_evidence *entries = report->work->evidence;
    unsigned n = cw_evidence_collect(report, group, report->work->evidence);

    cw_json_open(json, "evidence", '[');
    for (unsigned i = 0; i < n; i++) {
        const char *unit = entries[i].unit;
        cw_json_open(json, NULL, '{');
        cw_json_str(json, "key", entries[i].key);
        if (!entries[i].has_value)
            cw_json_null(json, "value");
        else if (unit && !strcmp(unit, "s"))
            cw_json_seconds(json, "value", entries[i].value);
        else
            cw_json_u64(json, "value", entries[i].value);
        cw_json_str(json, "unit", unit);
        cw_json_str(json, "text", entries[i].text);
        cw_json_str(json, "unavailable", entries[i].unavailable);
        cw_json_close(json, '}');
    }
    cw_json_close(json, ']');
}

static void out_build_id(struct cw_json *json, const struct cw_report *report, const struct cw_module *module)
{
    struct cw_report_work *work = report->work;

    if (!module || !module->build_id_len) {
        cw_json_null(json, "build_id");
        return;
    }
    cw_out_line(&work->line_out, &work->line);
    cw_module_build_id(&work->line_out, module);
    cw_out_flush(&work->line_out);
    cw_json_str(json, "build_id", work->line.text);
}

static void out_frame(struct cw_json *json, const struct cw_report *report, uint64_t frame,
                      const struct cw_symbol *symbol)
{
    static const char *const kinds[] = {"native", "jit", "python", "js"};
    const struct cw_module *module = cw_view_module(report->view, CW_FRAME_MODULE(frame));
    const char *path = module ? cw_view_string(report->view, module->path) : "";
    unsigned kind = symbol->kind;

    cw_json_open(json, NULL, '{');
    cw_json_str(json, "function", symbol->function);
    cw_json_str(json, "file", symbol->file);
    if (symbol->line)
        cw_json_u64(json, "line", symbol->line);
    else
        cw_json_null(json, "line");
    cw_json_str(json, "module", *path ? path : NULL);
    out_build_id(json, report, module);
    cw_json_u64(json, "offset", CW_FRAME_OFFSET(frame));
    cw_json_bool(json, "inlined", symbol->inlined);
    cw_json_str(json, "kind", kinds[kind < sizeof(kinds) / sizeof(kinds[0]) ? kind : 0]);
    cw_json_close(json, '}');
}

void cw_json_frames(struct cw_json *json, const struct cw_report *report, uint32_t stack)
{
    struct cw_report_work *work = report->work;
    unsigned n = cw_frames_shown(report->view, report->in.resolver, stack, work->symbols, work->frames);

    cw_json_open(json, "frames", '[');
    for (unsigned i = 0; i < n; i++) {
        unsigned k = cw_frame_symbols(report->view, report->in.resolver, work->frames[i], work->symbols);
        if (!k) {
            bool jit = !CW_FRAME_MODULE(work->frames[i]);
            work->symbols[k++] = (struct cw_symbol){.kind = jit ? CW_FRAME_JIT : CW_FRAME_NATIVE};
        }
        for (unsigned j = 0; j < k; j++)
            out_frame(json, report, work->frames[i], &work->symbols[j]);
    }
    cw_json_close(json, ']');
}

/* A stack: null where none is known and null is allowed. */
static void out_stack(struct cw_json *json, const struct cw_report *report, const char *key, unsigned call,
                      uint32_t stack, bool may_be_null)
{
    const uint64_t *frames = NULL;

    if (may_be_null && !cw_view_stack(report->view, stack, &frames, NULL) && !cw_call_name(call)) {
        cw_json_null(json, key);
        return;
    }
    cw_json_open(json, key, '{');
    cw_json_str(json, "call", cw_call_name(call));
    cw_json_frames(json, report, stack);
    cw_json_close(json, '}');
}

/* The thread that the group's oldest socket waits for, or that touched it last. */
static void out_thread(struct cw_json *json, const struct cw_report *report, const struct cw_group *group)
{
    const struct cw_conn *conn = cw_report_conn(report, &report->items[group->first]);
    const struct cw_facts facts = cw_report_facts(report, conn);
    const struct cw_thread *thread =
        cw_view_thread(report->view, conn->touch_thread ? conn->touch_thread : conn->open_thread);

    if (group->diagnosis == CW_DIAGNOSIS_OWNER_STUCK)
        thread = cw_stuck_thread(&facts);
    else if (group->diagnosis == CW_DIAGNOSIS_NEVER_ACCEPTED)
        thread = cw_listener_acceptor(report->view, cw_context_listener(&report->context, conn));
    if (!thread) {
        cw_json_null(json, "thread");
        return;
    }
    char name[sizeof(thread->name) + 1] = "";
    char state[2] = {thread->k_ms ? thread->k_state : 0, 0};
    const struct cw_conn *last = cw_context_last_conn(&report->context, thread);
    uint32_t seen_ms = cw_later(thread->wait_ms, last ? cw_later(last->in_last_ms, last->out_last_ms) : 0);

    memcpy(name, thread->name, sizeof(thread->name));
    cw_json_open(json, "thread", '{');
    cw_json_i64(json, "tid", thread->tid);
    cw_json_str(json, "name", name[0] ? name : NULL);
    cw_json_str(json, "state", state[0] ? state : NULL);
    cw_json_str(json, "syscall", thread->k_ms && thread->k_syscall >= 0 ? cw_syscall_name(thread->k_syscall) : NULL);
    if (seen_ms)
        cw_json_seconds(json, "since_s", cw_age(report->in.now_ms, seen_ms));
    else
        cw_json_null(json, "since_s");
    if (thread->k_stack)
        cw_json_frames(json, report, thread->k_stack);
    else
        cw_json_null(json, "frames");
    cw_json_close(json, '}');
}

static void out_holders_of(struct cw_json *json, const struct cw_report *report, const struct cw_group *group)
{
    for (uint32_t i = 0; i < group->count; i++) {
        uint32_t n = 0;
        const struct cw_conn *conn = cw_report_conn(report, &report->items[group->first + i]);
        const struct cw_holder *holders = cw_report_holders(report, conn, &n);
        for (uint32_t k = 0; k < n; k++) {
            bool own = holders[k].pid == report->view->header->pid;
            if (own && holders[k].fd == conn->fd)
                continue;
            cw_json_open(json, NULL, '{');
            cw_json_i64(json, "pid", holders[k].pid);
            cw_json_str(json, "name", holders[k].name[0] ? holders[k].name : NULL);
            cw_json_i64(json, "fd", holders[k].fd);
            cw_json_str(json, "how",
                        own                                                                    ? "dup"
                        : conn->flags & CW_CONN_SCM_SENT || conn->origin == CW_ORIGIN_RECEIVED ? "passed"
                                                                                               : "fork");
            cw_json_close(json, '}');
        }
    }
}

/* All who have sockets of the path open, by socket; null if nobody has looked. */
static void out_holders(struct cw_json *json, const struct cw_path *path)
{
    bool known = false;

    for (uint32_t i = 0; i < path->n_parts; i++)
        known = known || path->parts[i].report->in.holders_known;
    if (!known) {
        cw_json_null(json, "holders");
        return;
    }
    cw_json_open(json, "holders", '[');
    for (uint32_t i = 0; i < path->n_parts; i++)
        if (path->parts[i].report->in.holders_known)
            out_holders_of(json, path->parts[i].report, path->parts[i].group);
    cw_json_close(json, ']');
}

static void out_address(struct cw_json *json, const char *key, const struct cw_report *report,
                        const struct cw_conn *conn, enum cw_redaction which)
{
    struct cw_out *out = cw_json_key(json, key);
    const uint8_t *address = which == CW_REDACT_PEER ? conn->peer : conn->local;
    uint16_t port = which == CW_REDACT_PEER ? conn->peer_port : conn->local_port;

    if (!conn->family || !port) {
        cw_out_str(out, "null");
        return;
    }
    cw_out_char(out, '"');
    cw_redact_address(out, report->in.redact, which, conn->family, address, port);
    cw_out_char(out, '"');
}

static void out_listener(struct cw_json *json, const struct cw_report *report, const struct cw_conn *conn)
{
    bool came = conn->origin == CW_ORIGIN_ACCEPT || conn->origin == CW_ORIGIN_QUEUED;
    const struct cw_conn *listener = came ? cw_context_listener(&report->context, conn) : NULL;

    if (!listener) {
        cw_json_null(json, "listener");
        return;
    }
    bool queues = (listener->k_flags & CW_K_QUEUES) != 0;
    cw_json_open(json, "listener", '{');
    out_address(json, "local", report, listener, CW_REDACT_LOCAL);
    cw_json_u64_if(json, "waiting", queues, listener->k_recv_q);
    cw_json_u64_if(json, "limit", queues, listener->k_send_q);
    if (listener->in_last_ms)
        cw_json_seconds(json, "last_accept_s", cw_age(report->in.now_ms, listener->in_last_ms));
    else
        cw_json_null(json, "last_accept_s");
    cw_json_u64_if(json, "last_errno", listener->in_last_res < 0, 0 - (uint64_t)(int64_t)listener->in_last_res);
    cw_json_bool(json, "in_epoll", (listener->flags & CW_CONN_WATCHED) != 0);
    cw_json_close(json, '}');
}

static void out_connection(struct cw_json *json, const struct cw_report *report, const struct cw_item *item)
{
    const struct cw_conn *conn = cw_report_conn(report, item);
    const struct cw_thread *thread =
        cw_view_thread(report->view, conn->touch_thread ? conn->touch_thread : conn->open_thread);
    bool queues = (conn->k_flags & CW_K_QUEUES) != 0, late = item->section == CW_REPORT_CLOSED_LATE;
    const char *label = cw_view_string(report->view, conn->label);

    cw_json_open(json, NULL, '{');
    cw_json_i64(json, "pid", report->view->header->pid);
    if (conn->fd >= 0 && conn->origin != CW_ORIGIN_QUEUED)
        cw_json_i64(json, "fd", conn->fd);
    else
        cw_json_null(json, "fd");
    cw_json_u64_if(json, "inode", conn->inode != 0, conn->inode);
    cw_json_str(json, "family", conn->family == 2 ? "inet" : conn->family == 10 ? "inet6" : NULL);
    out_address(json, "local", report, conn, CW_REDACT_LOCAL);
    out_address(json, "peer", report, conn, CW_REDACT_PEER);
    cw_json_str(json, "state", cw_tcp_state_name(conn->k_state));
    cw_json_u64_if(json, "recv_q", queues, conn->k_recv_q);
    cw_json_u64_if(json, "send_q", queues, conn->k_send_q);
    if (conn->fin_ms)
        cw_json_seconds(json, "fin_age_s", cw_age(report->in.now_ms, conn->fin_ms));
    else
        cw_json_null(json, "fin_age_s");
    if (late && conn->fin_ms)
        cw_json_seconds(json, "closed_after_s", item->age_ms);
    else
        cw_json_null(json, "closed_after_s");
    if (thread)
        cw_json_i64(json, "tid", thread->tid);
    else
        cw_json_null(json, "tid");
    cw_json_redacted(json, "label", report, CW_REDACT_LABEL, *label ? label : NULL);
    cw_json_close(json, '}');
}

/* How many of the sockets are whose: the first one's are what evidence, stacks, thread and listener speak of. */
static void out_processes(struct cw_json *json, const struct cw_path *path)
{
    cw_json_open(json, "processes", '[');
    for (uint32_t i = 0; i < path->n_parts; i++) {
        cw_json_open(json, NULL, '{');
        cw_json_i64(json, "pid", path->parts[i].report->view->header->pid);
        cw_json_u64(json, "count", path->parts[i].group->count);
        cw_json_close(json, '}');
    }
    cw_json_close(json, ']');
}

void cw_json_path(struct cw_json *json, const struct cw_path *path)
{
    const struct cw_report *report = path->parts->report;
    const struct cw_group *group = path->parts->group;
    const struct cw_diagnosis *diagnosis = cw_diagnosis_words(report->view, group->diagnosis);
    const struct cw_conn *oldest = cw_report_conn(report, &report->items[group->first]);

    cw_json_open(json, NULL, '{');
    cw_json_str(json, "diagnosis", diagnosis->id);
    cw_json_str(json, "severity", cw_severity_name(group->severity));
    cw_json_str(json, "title", diagnosis->title);
    cw_json_u64(json, "count", path->count);
    cw_json_seconds(json, "oldest_s", path->oldest_ms);
    cw_json_seconds(json, "newest_s", path->newest_ms);
    cw_json_null(json, "first_seen");
    cw_json_null(json, "seen_total");
    cw_json_null(json, "rate_per_h");
    cw_json_hex(json, "fingerprint", cw_evidence_fingerprint(report, group));
    cw_json_hex(json, "stack_id", group->stack_id);
    cw_json_str(json, "advice", cw_evidence_advice(report, group));
    cw_json_str(json, "next", cw_evidence_next(report, group));
    cw_json_null(json, "baseline");
    out_processes(json, path);
    out_evidence(json, report, group);
    out_stack(json, report, "origin", oldest->open_call, group->origin_stack, false);
    out_stack(json, report, "deciding", group->deciding_call, group->deciding_stack, true);
    out_stack(json, report, "closed", oldest->close_call, group->close_stack, true);
    out_thread(json, report, group);
    out_holders(json, path);
    out_listener(json, report, oldest);
    cw_json_open(json, "connections", '[');
    for (uint32_t i = 0; i < path->n_parts; i++) {
        const struct cw_part *part = &path->parts[i];
        for (uint32_t k = 0; k < part->group->count; k++)
            out_connection(json, part->report, &part->report->items[part->group->first + k]);
    }
    cw_json_close(json, ']');
    cw_json_close(json, '}');
}
