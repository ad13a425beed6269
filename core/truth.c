/* Truth: the kernel's answers held against the records. */
#include "core/truth.h"

#include "core/atomic.h"
#include "core/listeners.h"
#include "core/table.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

static uint32_t conns_used(const struct cw_view *view)
{
    uint32_t used = CW_GET(view->header->sections[CW_SECTION_CONNS].used);
    return used < view->n_conns ? used : view->n_conns;
}

void cw_truth_begin(struct cw_truth_check *check)
{
    struct cw_view *view = check->view;
    uint32_t used = conns_used(view);
    check->closes_unseen = 0;
    check->no_room = 0;
    check->gathered = false;
    for (uint32_t i = 1; i < used; i++) {
        struct cw_conn *conn = &view->conns[i];
        uint32_t flags = CW_GET(conn->flags);
        if (!(flags & CW_CONN_IN_USE) || (flags & CW_CONN_LATE))
            continue;
        CW_SET(conn->k_state, 0);
        CW_SET(conn->k_ms, check->now_ms);
        if (flags & CW_CONN_GONE)
            CW_AND(conn->flags, ~(uint32_t)CW_CONN_GONE);
    }
}

/* An AF_INET6 socket's IPv4-mapped address and the AF_INET one that accept may have shown are the same. */
static bool same_address(uint8_t family_a, const uint8_t a[16], uint8_t family_b, const uint8_t b[16])
{
    static const uint8_t mapped[12] = {[10] = 0xFF, [11] = 0xFF};
    if (family_a == family_b)
        return memcmp(a, b, family_a == AF_INET ? 4 : 16) == 0;
    const uint8_t *six = family_a == AF_INET6 ? a : b, *four = family_a == AF_INET6 ? b : a;
    return memcmp(six, mapped, sizeof mapped) == 0 && memcmp(six + 12, four, 4) == 0;
}

/* Whether the record can be this socket. What the record does not know does not speak against it. */
static bool same_socket(const struct cw_conn *conn, const struct cw_sock *sock)
{
    if (conn->flags & CW_CONN_LISTENER)
        return false;
    if (conn->inode && sock->inode)
        return conn->inode == sock->inode;
    if (conn->local_port && conn->local_port != sock->local_port)
        return false;
    if (conn->peer_port &&
        (conn->peer_port != sock->peer_port || !same_address(conn->family, conn->peer, sock->family, sock->peer)))
        return false;
    return true;
}

static void enter_address(uint8_t to[16], const uint8_t from[16])
{
    for (unsigned i = 0; i < 4; i++) {
        uint32_t word;
        memcpy(&word, from + 4 * i, sizeof word);
        CW_SET(((uint32_t *)(void *)to)[i], word);
    }
}

static void enter(const struct cw_truth_check *check, struct cw_conn *conn, const struct cw_sock *sock)
{
    CW_SET(conn->family, sock->family);
    CW_SET(conn->protocol, sock->protocol);
    enter_address(conn->local, sock->local);
    enter_address(conn->peer, sock->peer);
    CW_SET(conn->local_port, sock->local_port);
    CW_SET(conn->peer_port, sock->peer_port);
    if (sock->inode)
        CW_SET(conn->inode, sock->inode);
    unsigned k = sock->has_queues ? CW_K_QUEUES : 0;
    if (sock->has_info && sock->unacked)
        k |= CW_K_UNACKED;
    if (sock->has_queues && sock->send_q)
        k |= CW_K_UNACKED;
    CW_SET(conn->k_flags, (uint8_t)k);
    CW_SET(conn->k_recv_q, sock->recv_q);
    CW_SET(conn->k_send_q, sock->send_q);
    CW_SET(conn->k_last_ack_recv, sock->has_info ? sock->last_ack_recv_ms : 0);
    CW_SET(conn->k_last_data_sent, sock->has_info ? sock->last_data_sent_ms : 0);
    if (sock->keepalive)
        CW_OR(conn->flags, CW_CONN_KEEPALIVE);
    CW_SET(conn->k_ms, check->now_ms);
    CW_SET(conn->k_state, sock->state);
}

/* A record for a socket that no hook saw. */
static struct cw_conn *new_record(struct cw_truth_check *check, enum cw_origin origin, int fd)
{
    uint32_t index = check->new_conn(check->ctx);
    if (!index || index >= check->view->n_conns) {
        check->no_room++;
        return NULL;
    }
    struct cw_conn *conn = &check->view->conns[index];
    CW_SET(conn->origin, (uint8_t)origin);
    CW_SET(conn->fd, fd);
    CW_SET(conn->epoll_fd, -1);
    CW_SET(conn->open_ms, 0);
    CW_OR(conn->flags, CW_CONN_IN_USE | CW_CONN_CONNECTED);
    return conn;
}

/* The record that fd's slot names. */
static struct cw_conn *slot_record(const struct cw_view *view, int fd)
{
    uint64_t slot = (uint32_t)fd < view->n_slots ? CW_GET(view->slots[fd]) : 0;
    uint32_t index = CW_SLOT_INDEX(slot);
    if (CW_SLOT_KIND(slot) != CW_SLOT_CONN || index == 0 || index >= conns_used(view))
        return NULL;
    struct cw_conn *conn = &view->conns[index];
    return CW_GET(conn->flags) & CW_CONN_IN_USE ? conn : NULL;
}

/* Likewise, if it can be this socket. */
static struct cw_conn *record_of(struct cw_truth_check *check, int fd, const struct cw_sock *sock)
{
    struct cw_conn *conn = slot_record(check->view, fd);
    if (!conn || same_socket(conn, sock))
        return conn;
    /* The fd was closed by a call that no hook saw and means another socket now. */
    if (!(CW_GET(conn->flags) & CW_CONN_GONE)) {
        CW_OR(conn->flags, CW_CONN_GONE);
        check->closes_unseen++;
    }
    return NULL;
}

void cw_truth_socket(struct cw_truth_check *check, const int *fds, unsigned n, const struct cw_sock *sock)
{
    struct cw_conn *conn = NULL;
    for (unsigned i = 0; i < n && !conn; i++)
        conn = record_of(check, fds[i], sock);
    if (!conn)
        conn = new_record(check, CW_ORIGIN_UNTRACKED, fds[0]);
    if (!conn)
        return;
    CW_SET(conn->fd, fds[0]);
    if (CW_GET(conn->refs) < n)
        CW_SET(conn->refs, n);
    enter(check, conn, sock);
}

/* Nothing is said where the record is another socket's: that is noticed when the kernel shows it in CLOSE_WAIT. */
bool cw_truth_failed(struct cw_truth_check *check, const int *fds, unsigned n, uint32_t inode, uint16_t local_port)
{
    const uint32_t no = CW_CONN_LISTENER | CW_CONN_GONE | CW_CONN_LATE;
    for (unsigned i = 0; i < n; i++) {
        struct cw_conn *conn = slot_record(check->view, fds[i]);
        if (!conn || (CW_GET(conn->flags) & (CW_CONN_CONNECTED | no)) != CW_CONN_CONNECTED || CW_GET(conn->k_state) ||
            cw_truth_shut_down(conn))
            continue;
        uint32_t known_inode = CW_GET(conn->inode);
        uint16_t known_port = CW_GET(conn->local_port);
        if ((known_inode && inode && known_inode != inode) || (known_port && local_port && known_port != local_port))
            continue;
        CW_SET(conn->fd, fds[0]);
        if (CW_GET(conn->refs) < n)
            CW_SET(conn->refs, n);
        if (inode)
            CW_SET(conn->inode, inode);
        CW_SET(conn->k_flags, 0);
        CW_SET(conn->k_ms, check->now_ms);
        CW_SET(conn->k_state, TCP_CLOSE);
        return true;
    }
    return false;
}

void cw_truth_queues(struct cw_truth_check *check, int fd, const struct cw_sock *sock)
{
    struct cw_conn *conn = slot_record(check->view, fd);
    if (!conn || !sock->has_queues || CW_GET(conn->k_state) != TCP_CLOSE_WAIT || CW_GET(conn->inode) != sock->inode ||
        CW_GET(conn->k_ms) != check->now_ms)
        return;
    CW_SET(conn->k_recv_q, sock->recv_q);
    CW_SET(conn->k_send_q, sock->send_q);
    unsigned k = CW_GET(conn->k_flags) | CW_K_QUEUES | (sock->send_q ? CW_K_UNACKED : 0u);
    CW_SET(conn->k_flags, (uint8_t)k);
}

void cw_truth_listener(struct cw_truth_check *check, int fd, const struct cw_sock *sock)
{
    struct cw_conn *conn = slot_record(check->view, fd);
    if (!conn || !(CW_GET(conn->flags) & CW_CONN_LISTENER) || sock->state != TCP_LISTEN || !sock->has_queues)
        return;
    if (sock->inode)
        CW_SET(conn->inode, sock->inode);
    CW_SET(conn->k_recv_q, sock->recv_q);
    if (sock->send_q || !(CW_GET(conn->k_flags) & CW_K_QUEUES)) /* /proc/net/tcp does not say the limit */
        CW_SET(conn->k_send_q, sock->send_q);
    CW_SET(conn->k_flags, CW_K_QUEUES);
    CW_SET(conn->k_ms, check->now_ms);
    CW_SET(conn->k_state, TCP_LISTEN);
}

void cw_truth_by_hooks(struct cw_view *view)
{
    const uint32_t no = CW_CONN_LATE | CW_CONN_GONE | CW_CONN_SHUT_WR | CW_CONN_LISTENER;
    const uint32_t yes = CW_CONN_IN_USE | CW_CONN_CONNECTED | CW_CONN_EOF_CONSUMED;
    uint32_t used = conns_used(view);
    for (uint32_t i = 1; i < used; i++) {
        struct cw_conn *conn = &view->conns[i];
        bool checked_since = conn->k_ms && (int32_t)(conn->k_ms - conn->eof_ms) >= 0;
        if ((conn->flags & (yes | no)) != yes || checked_since)
            continue;
        conn->k_state = TCP_CLOSE_WAIT;
        conn->k_flags = 0;
        conn->k_ms = conn->eof_ms;
    }
}

void cw_truth_gone(struct cw_truth_check *check, bool (*is_socket)(void *ctx, int fd), void *ctx)
{
    struct cw_view *view = check->view;
    uint32_t slots = CW_GET(view->header->sections[CW_SECTION_SLOTS].used);
    for (uint32_t fd = 0; fd < slots && fd < view->n_slots; fd++) {
        uint64_t slot = CW_GET(view->slots[fd]);
        uint32_t index = CW_SLOT_INDEX(slot);
        if (CW_SLOT_KIND(slot) != CW_SLOT_CONN || (slot & CW_SLOT_CLOSING) || index == 0 || index >= conns_used(view))
            continue;
        struct cw_conn *conn = &view->conns[index];
        uint32_t flags = CW_GET(conn->flags);
        if (!(flags & CW_CONN_IN_USE) || (flags & CW_CONN_GONE) || CW_GET(conn->k_state) || is_socket(ctx, (int)fd))
            continue;
        CW_OR(conn->flags, CW_CONN_GONE);
        check->closes_unseen++;
    }
}

static void gather_listeners(struct cw_truth_check *check)
{
    const struct cw_view *view = check->view;
    uint32_t used = conns_used(view);
    check->gathered = true;
    check->n_listeners = 0;
    memset(check->entered, 0, sizeof check->entered);
    for (uint32_t i = 1; i < used && check->n_listeners < CW_TRUTH_LISTENERS; i++) {
        const uint32_t of = CW_CONN_IN_USE | CW_CONN_LISTENER;
        if ((CW_GET(view->conns[i].flags) & (of | CW_CONN_LATE | CW_CONN_GONE)) == of)
            check->listeners[check->n_listeners++] = i;
    }
}

/* Whether what waits at this listener is the parent's to report. */
static bool is_parents(const struct cw_truth_check *check, const struct cw_conn *listener)
{
    return check->parent_lives && CW_GET(listener->origin) == CW_ORIGIN_FORKED;
}

/* Calls `each` for every listener in whose queue the socket can be. */
static void each_listener(struct cw_truth_check *check, const struct cw_sock *sock,
                          void (*each)(struct cw_truth_check *check, uint32_t at, void *ctx), void *ctx)
{
    struct cw_conn address = {.family = sock->family, .local_port = sock->local_port};
    memcpy(address.local, sock->local, sizeof address.local);
    for (uint32_t at = 0, n = check->n_listeners;; at++) {
        at = cw_listeners_next(check->view, check->listeners, n, at, &address);
        if (at == n)
            return;
        each(check, at, ctx);
    }
}

struct place {
    unsigned n;     /* listeners that are ours to report */
    bool room;      /* one holds more than was put into it */
    bool parents;   /* it is not ours to report */
    uint32_t at;    /* the first of those */
    uint32_t stack; /* where ours listen, 0: in several places */
};

/* The parent reports what is at its own listeners, and fills their queues in the same order as we do. */
static void find_place(struct cw_truth_check *check, uint32_t at, void *ctx)
{
    struct place *place = ctx;
    const struct cw_conn *listener = &check->view->conns[check->listeners[at]];
    bool known = cw_listener_queue_known(listener), parents = is_parents(check, listener);
    bool room = known ? check->entered[at] < CW_GET(listener->k_recv_q) : !parents;
    uint32_t stack = CW_GET(listener->open_stack);

    if (!parents)
        place->stack = place->n++ == 0 || stack == place->stack ? stack : 0;
    if (!room || place->room)
        return;
    place->room = true;
    place->parents = parents;
    place->at = at;
}

static void mark_shared(struct cw_truth_check *check, uint32_t at, void *ctx)
{
    struct cw_conn *listener = &check->view->conns[check->listeners[at]];
    (void)ctx;
    CW_SET(listener->k_flags, (uint8_t)(CW_GET(listener->k_flags) | CW_K_PORT_SHARED));
}

int cw_truth_queued(struct cw_truth_check *check, const struct cw_sock *sock, int late)
{
    struct place place = {0};
    if (!check->gathered)
        gather_listeners(check);
    if (sock->inode)
        return 0;
    each_listener(check, sock, find_place, &place);
    if (place.n && !late && (!place.room || place.parents))
        each_listener(check, sock, mark_shared, NULL);
    check->entered[place.at] += place.room;
    if (!place.n || (!late && (!place.room || place.parents)))
        return 0;
    struct cw_conn *conn = new_record(check, CW_ORIGIN_QUEUED, -1);
    if (!conn)
        return 0;
    enter(check, conn, sock);
    CW_SET(conn->open_stack, place.stack);
    CW_SET(conn->open_call, CW_CALL_listen);
    if (late) {
        CW_SET(conn->close_ms, check->now_ms);
        CW_OR(conn->flags, CW_CONN_LATE);
    }
    return 1;
}
