/* JSON report: what the threads and the listeners of a process without a recorder are doing. */
#include "core/names.h"
#include "core/outside_words.h"
#include "core/syscalls.h"
#include "core/thread_places.h"
#include "core/threads_report.h"

#include <string.h>

static void out_tids(struct cw_json *json, const struct cw_view *view, const struct cw_place *place)
{
    uint32_t shown = 0;

    cw_json_open(json, "tids", '[');
    for (uint32_t i = place->first; shown < place->count && i < view->n_threads; i++) {
        if (!cw_thread_same_place(view, place->first, i))
            continue;
        cw_json_i64(json, NULL, view->threads[i].tid);
        shown++;
    }
    cw_json_close(json, ']');
}

static void out_place(struct cw_json *json, const struct cw_report *report, const struct cw_place *place)
{
    const struct cw_thread *thread = &report->view->threads[place->first];
    char name[sizeof(thread->name) + 1] = "", state[2] = {thread->k_state, 0};
    bool on_fd = thread->k_syscall >= 0 && cw_syscall_takes_fd(thread->k_syscall);
    bool on_lock = thread->k_syscall >= 0 && !on_fd && thread->k_object;

    memcpy(name, thread->name, sizeof(thread->name));
    cw_json_open(json, NULL, '{');
    cw_json_i64(json, "pid", report->view->header->pid);
    out_tids(json, report->view, place);
    cw_json_str(json, "name", name[0] ? name : NULL);
    cw_json_str(json, "state", state[0] ? state : NULL);
    cw_json_str(json, "syscall", thread->k_syscall >= 0 ? cw_syscall_name(thread->k_syscall) : NULL);
    cw_json_u64_if(json, "fd", on_fd && thread->k_object, (uint32_t)thread->k_object);
    cw_json_u64_if(json, "lock_holder", on_lock, (uint32_t)thread->k_object);
    if (thread->k_stack)
        cw_json_frames(json, report, thread->k_stack);
    else
        cw_json_null(json, "frames");
    if (!thread->k_errno)
        cw_json_null(json, "unavailable");
    else
        cw_json_str(json, "unavailable", cw_errno_name(thread->k_errno) ? cw_errno_name(thread->k_errno) : "refused");
    cw_json_close(json, '}');
}

void cw_json_threads(struct cw_json *json, const struct cw_report *report)
{
    struct cw_place places[CW_PLACES_MAX];
    uint32_t others;

    if (!(report->view->header->flags & CW_HEADER_OUTSIDE))
        return;
    unsigned n = cw_thread_places(report->view, places, &others);
    for (unsigned i = 0; i < n; i++)
        out_place(json, report, &places[i]);
}

static void out_listener(struct cw_json *json, const struct cw_report *report, const struct cw_conn *listener)
{
    bool queues = listener->k_flags & CW_K_QUEUES, watched = listener->flags & CW_CONN_WATCHED;

    cw_json_open(json, NULL, '{');
    cw_json_i64(json, "pid", report->view->header->pid);
    cw_json_i64(json, "fd", listener->fd);
    struct cw_out *out = cw_json_key(json, "local");
    cw_out_char(out, '"');
    cw_redact_address(out, report->in.redact, CW_REDACT_LOCAL, listener->family, listener->local, listener->local_port);
    cw_out_char(out, '"');
    cw_json_u64_if(json, "waiting", queues, listener->k_recv_q);
    cw_json_u64_if(json, "limit", queues, listener->k_send_q);
    cw_json_u64_if(json, "epoll_fd", watched, (uint32_t)listener->epoll_fd);
    cw_json_u64_if(json, "epoll_mask", watched, listener->epoll_mask);
    cw_json_str(json, "state", queues && !listener->k_recv_q ? NULL : cw_listener_words(report->view, listener)->id);
    cw_json_close(json, '}');
}

void cw_json_listeners(struct cw_json *json, const struct cw_report *report)
{
    if (!(report->view->header->flags & CW_HEADER_OUTSIDE))
        return;
    for (uint32_t i = 0; i < report->context.n_listeners; i++)
        out_listener(json, report, &report->view->conns[report->context.listeners[i]]);
}
