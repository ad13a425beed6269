#include "core/outside_words.h"

#include "core/diagnosis.h"
#include "core/evidence.h"
#include "core/frames.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

static const struct cw_diagnosis not_recorded = {
    .id = "untracked",
    .severity = CW_SEVERITY_ERROR,
    .title = "not recorded",
    .sentence = "The peer closed; this program was not started under libcwguard.so, so which code left the socket is "
                "not known.",
    .recognised = "The kernel shows the socket; there is no recorder in the process.",
    .advice =
        "Recv-Q says whether the end of stream is still to be read, the epoll sets whether anybody is told of it, the "
        "threads where the program is now. Run it under the library (cwguard run PROGRAM) and the report names the "
        "code "
        "that opened the socket and the code that left it; cwguard doctor says whether it can be loaded.",
    .next =
        "find what talks to this peer; cwguard run PROGRAM would name the code (cwguard doctor says whether it can)",
    .decided = "{call} at",
    .threads = "",
    .evidence = CW_EV_RECV_Q | CW_EV_EPOLL | CW_EV_HOLDERS | CW_EV_COPIES,
    .holds = cw_holds_untracked,
    .decides = cw_decides_untracked,
};

static const struct cw_listener_variant switched_off = {
    "switched-off", "in its epoll set, with no event that tells of connections",
    "The listener's events were switched off, or are one-shot and spent. A connection limit does that on purpose: then "
    "the fault "
    "is in what never gives connections back. Switch them on again when there is room, or close the listener.",
    "switch the listener's events on again, or close it"};
static const struct cw_listener_variant nobody_there = {
    "nobody-there", "in no epoll set, and no thread is seen to poll for it or to accept from it",
    "Nobody is told of new connections now: the listener was never registered, or was taken out, or the thread that "
    "accepts does "
    "something else. The threads show where each is.",
    "find out what the thread that should accept does now: see the threads"};
static const struct cw_listener_variant not_taken = {
    "not-taken", "somebody is to be told of its connections, but does not take them",
    "The thread that accepts does something else, accept fails (no fds left?), or an edge-triggered event was not "
    "followed up by "
    "accepting until EAGAIN. The threads show where each is.",
    "find out what the thread that should accept does now: see the threads"};

bool cw_is_outside(const struct cw_view *view)
{
    return view && view->header && (CW_GET(view->header->flags) & CW_HEADER_OUTSIDE);
}

const struct cw_diagnosis *cw_diagnosis_words(const struct cw_view *view, enum cw_diagnosis_id id)
{
    return id == CW_DIAGNOSIS_UNTRACKED && cw_is_outside(view) ? &not_recorded : &cw_diagnoses[id];
}

const struct cw_listener_variant *cw_listener_words(const struct cw_view *view, const struct cw_conn *listener)
{
    if (!listener || !cw_is_outside(view))
        return &cw_listener_variants[cw_listener_variant(view, listener)];
    if (cw_outside_acceptor(view, listener) || (listener->flags & CW_CONN_POLLED && listener->poll_mask & POLLIN))
        return &not_taken;
    if (!(listener->flags & CW_CONN_WATCHED))
        return &nobody_there;
    return listener->epoll_mask & EPOLLIN ? &not_taken : &switched_off;
}

uint32_t cw_outside_part(const struct cw_facts *facts)
{
    const struct cw_conn *conn = facts->conn;
    bool accepted = cw_context_listener(facts->context, conn) != NULL, queues = conn->k_flags & CW_K_QUEUES;
    const struct {
        uint32_t service, read, watched, mask;
    } key = {
        .service = accepted ? conn->local_port : (uint32_t)conn->peer_port << 16,
        .read = !queues              ? 3
                : conn->k_recv_q > 1 ? 2
                                     : conn->k_recv_q,
        .watched = (conn->flags & CW_CONN_WATCHED) != 0,
        .mask = conn->flags & CW_CONN_WATCHED ? conn->epoll_mask : 0,
    };
    return (uint32_t)cw_hash_bytes(CW_HASH_START, &key, sizeof key);
}

uint32_t cw_outside_queue(const struct cw_conn *conn, const struct cw_conn *listener)
{
    uint64_t hash = cw_hash_bytes(CW_HASH_START, &conn->local_port, sizeof conn->local_port);
    return (uint32_t)(listener ? cw_hash_bytes(hash, listener->local, sizeof listener->local) : hash);
}

static uint32_t threads_used(const struct cw_view *view)
{
    uint32_t used = CW_GET(view->header->sections[CW_SECTION_THREADS].used);
    return used < view->n_threads ? used : view->n_threads;
}

const struct cw_thread *cw_outside_waiter(const struct cw_view *view, uint32_t set_index)
{
    for (uint32_t i = 1; set_index && i < threads_used(view); i++)
        if (view->threads[i].in_wait && view->threads[i].waiting_set == set_index)
            return &view->threads[i];
    return NULL;
}

const struct cw_thread *cw_outside_acceptor(const struct cw_view *view, const struct cw_conn *listener)
{
    for (uint32_t i = 1; i < threads_used(view); i++) {
        const struct cw_thread *thread = &view->threads[i];
        bool accepts = thread->k_syscall == SYS_accept || thread->k_syscall == SYS_accept4;
        if (thread->k_ms && accepts && thread->k_object == listener->fd)
            return thread;
    }
    return NULL;
}
