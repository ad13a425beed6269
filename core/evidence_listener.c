/* Evidence: what is known of the listeners in whose queues the sockets wait. */
#include "core/ages.h"
#include "core/evidence_list.h"
#include "core/listeners.h"
#include "core/names.h"
#include "core/outside_words.h"

enum { LISTENERS_SHOWN = 4 };

/* Keys of an entry, of those that share the port. */
static const struct {
    const char *listener, *queue, *last_accept;
} of_several[LISTENERS_SHOWN] = {{"listener", "listener_queue", "last_accept"},
                                 {"listener_2", "listener_2_queue", "last_accept_2"},
                                 {"listener_3", "listener_3_queue", "last_accept_3"},
                                 {"listener_4", "listener_4_queue", "last_accept_4"}};

/* The one listener, NULL if there are several or none. */
static const struct cw_conn *listener_of(const struct cw_evidence_list *list)
{
    return cw_context_listener(&list->report->context, list->oldest);
}

static uint32_t next_position(const struct cw_evidence_list *list, uint32_t from)
{
    const struct cw_context *context = &list->report->context;
    return cw_listeners_next(context->view, context->listeners, context->n_listeners, from, list->oldest);
}

/* How many listeners the sockets may belong to. */
static uint32_t count_listeners(const struct cw_evidence_list *list)
{
    uint32_t n = 0;
    for (uint32_t at = next_position(list, 0); at < list->report->context.n_listeners; at = next_position(list, at + 1))
        n++;
    return n;
}

static const struct cw_conn *listener_at(const struct cw_evidence_list *list, uint32_t position)
{
    const struct cw_context *context = &list->report->context;
    return position < context->n_listeners ? cw_view_conn(context->view, context->listeners[position]) : NULL;
}

/* " of at most 128", where the limit is known: /proc/net/tcp does not tell it. */
static void out_limit(struct cw_out *out, const struct cw_conn *listener)
{
    if (!listener->k_send_q)
        return;
    cw_out_str(out, " of at most ");
    cw_out_count(out, listener->k_send_q);
}

/* "last accept 4 s ago failed with EMFILE": its age in ms, 0 where none was seen. */
static uint32_t out_last_accept(struct cw_evidence_list *list, const struct cw_conn *listener)
{
    struct cw_out *out = list->out;
    uint32_t age = cw_age(list->report->in.now_ms, listener->in_last_ms);

    if (!listener->in_last_ms) {
        cw_out_str(out, "no accept seen");
        return 0;
    }
    cw_out_str(out, "last accept ");
    cw_out_age(out, age);
    cw_out_str(out, " ago");
    if (listener->in_last_res < 0) {
        cw_out_str(out, " failed with ");
        cw_out_errno(out, -listener->in_last_res);
    } else {
        cw_out_str(out, " returned fd ");
        cw_out_i64(out, listener->in_last_res);
    }
    return age;
}

/* "listener fd 3: 5 waiting of at most 128, last accept 4 s ago returned fd 7" */
static void add_one_of_several(struct cw_evidence_list *list, const struct cw_conn *listener, unsigned number)
{
    struct cw_out *out = cw_evidence_begin(list, of_several[number].listener);

    cw_out_str(out, "listener fd ");
    cw_out_i64(out, listener->fd);
    cw_out_str(out, ": ");
    if (listener->k_flags & CW_K_QUEUES) {
        cw_out_count(out, listener->k_recv_q);
        cw_out_str(out, " waiting");
        out_limit(out, listener);
        cw_out_str(out, cw_is_outside(list->report->view) ? "" : ", ");
    }
    uint32_t age = cw_is_outside(list->report->view) ? 0 : out_last_accept(list, listener);
    cw_evidence_value(list, (uint32_t)listener->fd, "fd");
    cw_evidence_end(list);
    if (listener->k_flags & CW_K_QUEUES)
        cw_evidence_number(list, of_several[number].queue, listener->k_recv_q, "connections");
    if (listener->in_last_ms)
        cw_evidence_number(list, of_several[number].last_accept, age, "s");
}

/* Those that share the port; false if there are none, or one. */
static bool add_several(struct cw_evidence_list *list)
{
    uint32_t n = count_listeners(list), shown = 0;

    if (n < 2)
        return false;
    for (uint32_t at = next_position(list, 0); shown < LISTENERS_SHOWN && shown < n; at = next_position(list, at + 1)) {
        add_one_of_several(list, listener_at(list, at), shown++);
    }
    if (n > shown) {
        cw_out_count(cw_evidence_begin(list, "listeners"), n - shown);
        cw_out_str(list->out, n - shown == 1 ? " more listener" : " more listeners");
        cw_evidence_value(list, n, "listeners");
        cw_evidence_end(list);
    }
    return true;
}

static void add_listener(struct cw_evidence_list *list, const struct cw_conn *listener)
{
    struct cw_out *out = cw_evidence_begin(list, "listener");

    if (!listener) {
        cw_out_str(out, "port ");
        cw_out_u64(out, list->oldest->local_port);
        cw_evidence_value(list, list->oldest->local_port, "port");
        cw_evidence_unavailable(list, "no open listener on this port");
    } else {
        cw_out_str(out, "listener fd ");
        cw_out_i64(out, listener->fd);
        if (listener->flags & CW_CONN_WATCHED) {
            cw_out_str(out, " in epoll set ");
            cw_out_i64(out, listener->epoll_fd);
            cw_out_str(out, " with ");
            cw_evidence_epoll_mask(out, listener->epoll_mask);
        }
        cw_evidence_value(list, (uint32_t)listener->fd, "fd");
    }
    cw_evidence_end(list);
}

void cw_evidence_listener(struct cw_evidence_list *list)
{
    const struct cw_conn *listener = listener_of(list);
    enum cw_listener_variant_id variant = cw_listener_variant(list->report->view, listener);

    if (listener || !add_several(list))
        add_listener(list, listener);
    cw_out_str(cw_evidence_begin(list, "listener_state"), cw_listener_words(list->report->view, listener)->words);
    if (listener && variant == CW_LISTENER_TAKEN_OUT && (listener->flags & CW_CONN_WAS_WATCHED)) {
        uint32_t age = cw_age(list->report->in.now_ms, listener->ctl_ms);
        cw_out_char(list->out, ' ');
        cw_out_age(list->out, age);
        cw_out_str(list->out, " ago");
        cw_evidence_value(list, age, "s");
    } else if (listener && variant == CW_LISTENER_TAKEN_OUT) {
        cw_evidence_value(list, listener->poll_mask, "mask");
    }
    cw_evidence_end(list);
}

/* Other processes listen on the port as well: the kernel does not say in whose queue a connection is. */
static void add_port_shared(struct cw_evidence_list *list)
{
    uint32_t n = list->report->context.n_listeners, at = next_position(list, 0);

    while (at < n && !(listener_at(list, at)->k_flags & CW_K_PORT_SHARED))
        at = next_position(list, at + 1);
    if (at == n)
        return;
    cw_out_str(cw_evidence_begin(list, "port_shared"),
               "other processes listen on this port too: the kernel does not say whose each socket is");
    cw_evidence_value(list, list->oldest->local_port, "port");
    cw_evidence_end(list);
}

void cw_evidence_queue(struct cw_evidence_list *list)
{
    const struct cw_conn *listener = listener_of(list);
    struct cw_out *out = cw_evidence_begin(list, "queue");
    uint32_t n = listener ? 1 : count_listeners(list);

    cw_out_count(out, list->group->count);
    cw_out_str(out, list->group->count == 1 ? " closed by its peer" : " closed by their peers");
    if (listener && (listener->k_flags & CW_K_QUEUES)) {
        cw_out_str(out, ", ");
        cw_out_count(out, listener->k_recv_q);
        cw_out_str(out, " waiting in all");
        cw_out_str(out, listener->k_send_q ? "," : "");
        out_limit(out, listener);
        cw_evidence_value(list, listener->k_recv_q, "connections");
    } else {
        if (n > 1) {
            cw_out_str(out, ", on the port of ");
            cw_out_u64(out, n);
            cw_out_str(out, " listeners: the kernel does not say at which of them each waits");
        }
        cw_evidence_value(list, list->group->count, "connections");
    }
    cw_evidence_end(list);
    add_port_shared(list);
}

void cw_evidence_last_accept(struct cw_evidence_list *list)
{
    const struct cw_conn *listener = listener_of(list);

    if (cw_is_outside(list->report->view))
        return; /* nobody was there to see one */
    if (!listener && count_listeners(list) > 1)
        return; /* said of each of them */
    cw_evidence_begin(list, "last_accept");
    if (!listener) {
        cw_out_str(list->out, "no accept seen");
        cw_evidence_end(list);
        return;
    }
    uint32_t age = out_last_accept(list, listener);
    if (listener->in_last_ms)
        cw_evidence_value(list, age, "s");
    cw_evidence_end(list);
    if (listener->in_last_res < 0)
        cw_evidence_number(list, "accept_errno", 0 - (uint64_t)(int64_t)listener->in_last_res, "errno");
}
