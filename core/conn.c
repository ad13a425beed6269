/* Connections: what each event does to a record. */
#define _GNU_SOURCE /* POLLRDHUP */
#include "core/conn.h"

#include "core/ages.h"
#include "core/atomic.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* Copies an address with atomic word stores, so that a sweep in another thread reads whole words. */
static void store_address(uint8_t to[16], const void *from, size_t n)
{
    uint32_t words[4] = {0};
    memcpy(words, from, n);
    for (unsigned i = 0; i < 4; i++)
        CW_SET(((uint32_t *)(void *)to)[i], words[i]);
}

static bool store_sockaddr(struct cw_conn *conn, uint8_t to[16], uint16_t *port, const struct sockaddr *address,
                           uint32_t len)
{
    if (len >= sizeof(struct sockaddr_in) && address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        store_address(to, &in.sin_addr, 4);
        CW_SET(*port, ntohs(in.sin_port));
    } else if (len >= sizeof(struct sockaddr_in6) && address->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof in6);
        store_address(to, &in6.sin6_addr, 16);
        CW_SET(*port, ntohs(in6.sin6_port));
    } else {
        return false;
    }
    CW_SET(conn->family, (uint8_t)address->sa_family);
    return true;
}

void cw_conn_set_peer(struct cw_conn *conn, const struct sockaddr *address, uint32_t len)
{
    store_sockaddr(conn, conn->peer, &conn->peer_port, address, len);
}

void cw_conn_set_local(struct cw_conn *conn, const struct sockaddr *address, uint32_t len)
{
    store_sockaddr(conn, conn->local, &conn->local_port, address, len);
}

void cw_conn_open(struct cw_conn *conn, enum cw_origin origin, enum cw_call call, int fd, uint32_t stack,
                  uint32_t thread, uint32_t fork_seq, uint32_t now_ms)
{
    CW_SET(conn->origin, (uint8_t)origin);
    CW_SET(conn->open_call, (uint8_t)call);
    CW_SET(conn->fd, fd);
    CW_SET(conn->open_stack, stack);
    CW_SET(conn->open_thread, thread);
    CW_SET(conn->open_ms, now_ms);
    CW_SET(conn->fork_seq, fork_seq);
    uint32_t flags = CW_CONN_IN_USE;
    if (origin == CW_ORIGIN_ACCEPT || origin == CW_ORIGIN_CONNECT)
        flags |= CW_CONN_CONNECTED;
    /* Release: whoever sees IN_USE sees the rest. */
    __atomic_fetch_or(&conn->flags, flags, __ATOMIC_RELEASE);
}

/* IN_USE is left as it is: another thread may have closed the fd meanwhile. */
void cw_conn_connected(struct cw_conn *conn, uint32_t stack, uint32_t thread, uint32_t fork_seq, uint32_t now_ms)
{
    CW_SET(conn->origin, (uint8_t)CW_ORIGIN_CONNECT);
    CW_SET(conn->open_call, (uint8_t)CW_CALL_connect);
    CW_SET(conn->open_stack, stack);
    CW_SET(conn->open_thread, thread);
    CW_SET(conn->open_ms, now_ms);
    CW_SET(conn->fork_seq, fork_seq);
    CW_OR(conn->flags, CW_CONN_CONNECTED);
}

void cw_conn_moved(struct cw_conn *conn, uint64_t ra, uint64_t sp, uint32_t stack)
{
    CW_SET(conn->touch_ra, ra);
    CW_SET(conn->touch_sp, (uint32_t)sp);
    CW_SET(conn->touch_stack, stack);
}

/* A failure that says nothing of the connection: it would block, or a signal came. */
static bool transient(int32_t result)
{
    return result == -EAGAIN || result == -EINTR || result == -EWOULDBLOCK;
}

/* Flags change seldom, so look before the locked instruction. */
static void set_flag(struct cw_conn *conn, uint32_t flag)
{
    if (!(CW_GET(conn->flags) & flag))
        CW_OR(conn->flags, flag);
}

static void clear_flag(struct cw_conn *conn, uint32_t flag)
{
    if (CW_GET(conn->flags) & flag)
        CW_AND(conn->flags, ~flag);
}

/* A thread that is on record keeps its reference, so an unknown one (0: no room for it) is another than any known one. */
static void touched_by(struct cw_conn *conn, uint32_t thread)
{
    uint32_t before = CW_GET(conn->touch_thread);
    if (before == thread)
        return;
    if (before)
        set_flag(conn, CW_CONN_SHARED);
    CW_SET(conn->touch_thread, thread);
}

bool cw_conn_in(struct cw_conn *conn, const struct cw_touch *touch)
{
    CW_SET(conn->in_call, touch->call);
    touched_by(conn, touch->thread);
    if (!CW_GET(conn->in_first_ms)) {
        CW_SET(conn->in_first_ms, touch->now_ms);
        CW_SET(conn->in_first_res, touch->result);
    }
    CW_SET(conn->in_last_ms, touch->now_ms);
    CW_SET(conn->in_last_res, touch->result);
    if (CW_GET(conn->event_ms))
        CW_SET(conn->event_ms, 0); /* what was delivered has been looked at */
    if (touch->result > 0) {
        if (CW_GET(conn->flags) & CW_CONN_LAST_WAS_OUT) {
            CW_SET(conn->turns_in, CW_GET(conn->turns_in) + 1);
            CW_AND(conn->flags, ~(uint32_t)CW_CONN_LAST_WAS_OUT);
        }
        clear_flag(conn, CW_CONN_IN_FAILED);
        return false;
    }
    if (touch->result < 0) {
        if (!transient(touch->result))
            set_flag(conn, CW_CONN_IN_FAILED);
        return false;
    }
    if (touch->transfer & CW_TRANSFER_EMPTY)
        return false;
    bool first = !(CW_GET(conn->flags) & CW_CONN_EOF_SEEN);
    set_flag(conn, CW_CONN_EOF_SEEN);
    if (!(touch->transfer & CW_TRANSFER_PEEK))
        set_flag(conn, CW_CONN_EOF_CONSUMED);
    if (first) {
        CW_SET(conn->eof_ms, touch->now_ms);
        CW_SET(conn->eof_call, touch->call);
        if (!CW_GET(conn->fin_ms))
            CW_SET(conn->fin_ms, touch->now_ms);
    }
    return first;
}

void cw_conn_eof_stack(struct cw_conn *conn, uint32_t stack)
{
    CW_SET(conn->eof_stack, stack);
}

/* A write that got through, the end of stream having been seen: how long since the one before it, if that was later than the
 * end. Fields of the write before are still in place. */
static void note_gap(struct cw_conn *conn, uint32_t now_ms)
{
    uint32_t before_ms = CW_GET(conn->out_last_ms);
    if (!before_ms || cw_after(CW_GET(conn->eof_ms), before_ms))
        return;
    uint32_t gap_ms = cw_age(now_ms, before_ms), gap_ds = gap_ms / 100 + (gap_ms % 100 != 0);
    if (gap_ds > UINT16_MAX)
        gap_ds = UINT16_MAX;
    if (gap_ds > CW_GET(conn->out_gap_ds))
        CW_SET(conn->out_gap_ds, (uint16_t)gap_ds);
}

void cw_conn_out(struct cw_conn *conn, const struct cw_touch *touch)
{
    CW_SET(conn->out_call, touch->call);
    touched_by(conn, touch->thread);
    if (touch->result > 0 && (CW_GET(conn->flags) & CW_CONN_EOF_SEEN))
        note_gap(conn, touch->now_ms);
    if (!CW_GET(conn->out_first_ms)) {
        CW_SET(conn->out_first_ms, touch->now_ms);
        CW_SET(conn->out_first_res, touch->result);
    }
    CW_SET(conn->out_last_ms, touch->now_ms);
    CW_SET(conn->out_last_res, touch->result);
    if (touch->result > 0) {
        if (!(CW_GET(conn->flags) & CW_CONN_LAST_WAS_OUT)) {
            if (CW_GET(conn->in_first_ms))
                CW_SET(conn->turns_out, CW_GET(conn->turns_out) + 1);
            CW_OR(conn->flags, CW_CONN_LAST_WAS_OUT);
        }
        clear_flag(conn, CW_CONN_OUT_FAILED);
    } else if (touch->result < 0 && !transient(touch->result)) {
        set_flag(conn, CW_CONN_OUT_FAILED);
    }
}

/* accept(2): no room for another fd or socket. The connection stays in the queue. */
static bool no_room(int32_t result)
{
    return result == -EMFILE || result == -ENFILE || result == -ENOBUFS || result == -ENOMEM;
}

bool cw_conn_accept_fails(const struct cw_conn *listener, int32_t result)
{
    return no_room(result) && !no_room(CW_GET(listener->in_last_res));
}

void cw_conn_accepted(struct cw_conn *listener, const struct cw_touch *touch, uint32_t stack)
{
    bool first = !CW_GET(listener->in_first_ms);
    CW_SET(listener->touch_thread, touch->thread);
    if (first)
        CW_SET(listener->in_first_ms, touch->now_ms);
    CW_SET(listener->in_last_ms, touch->now_ms);
    if (CW_GET(listener->event_ms))
        CW_SET(listener->event_ms, 0); /* what was delivered has been looked at */
    CW_SET(listener->in_call, touch->call);
    CW_SET(listener->in_last_res, touch->result);
    if (first)
        CW_SET(listener->in_first_res, touch->result);
    if (stack)
        CW_SET(listener->touch_stack, stack);
}

void cw_conn_ctl(struct cw_conn *conn, int op, uint32_t mask, int epoll_fd, uint32_t set, uint32_t stack,
                 uint32_t thread, uint32_t now_ms)
{
    if (op == EPOLL_CTL_ADD && CW_GET(conn->epoll_sets) < UINT8_MAX)
        CW_SET(conn->epoll_sets, (uint8_t)(CW_GET(conn->epoll_sets) + 1));
    CW_SET(conn->epoll_fd, epoll_fd);
    CW_SET(conn->epoll_set, (uint16_t)set);
    if (op != EPOLL_CTL_DEL)
        CW_SET(conn->epoll_mask, mask);
    CW_SET(conn->ctl_op, (uint8_t)op);
    CW_SET(conn->ctl_ms, now_ms);
    CW_SET(conn->ctl_stack, stack);
    CW_SET(conn->ctl_thread, thread);
    if (op == EPOLL_CTL_DEL) {
        clear_flag(conn, CW_CONN_WATCHED);
    } else {
        set_flag(conn, CW_CONN_WATCHED);
        set_flag(conn, CW_CONN_WAS_WATCHED);
    }
}

bool cw_conn_polled(struct cw_conn *conn, enum cw_call call, unsigned asked, unsigned revents, uint32_t thread,
                    uint32_t now_ms)
{
    set_flag(conn, CW_CONN_POLLED);
    CW_SET(conn->polled_ms, now_ms);
    CW_SET(conn->poll_mask, (uint16_t)asked);
    if (!(CW_GET(conn->flags) & CW_CONN_WAS_WATCHED))
        CW_SET(conn->ctl_thread, thread);
    if (!(revents & (POLLIN | POLLHUP | POLLRDHUP | POLLERR)))
        return false;
    if ((revents & (POLLHUP | POLLRDHUP)) && !CW_GET(conn->fin_ms))
        CW_SET(conn->fin_ms, now_ms);
    CW_SET(conn->event_mask, (uint16_t)revents);
    CW_SET(conn->event_call, (uint8_t)call);
    if (CW_GET(conn->event_ms))
        return false;
    CW_SET(conn->event_ms, now_ms);
    return true;
}

void cw_conn_event_stack(struct cw_conn *conn, uint32_t stack)
{
    CW_SET(conn->event_stack, stack);
}

void cw_conn_shutdown(struct cw_conn *conn, int how, uint32_t stack, uint32_t now_ms)
{
    if (!CW_GET(conn->shut_ms)) {
        CW_SET(conn->shut_ms, now_ms);
        CW_SET(conn->shut_stack, stack);
    }
    if (how == SHUT_RD || how == SHUT_RDWR)
        set_flag(conn, CW_CONN_SHUT_RD);
    if (how == SHUT_WR || how == SHUT_RDWR)
        set_flag(conn, CW_CONN_SHUT_WR);
}

void cw_conn_copy_closed(struct cw_conn *conn, uint32_t stack, uint32_t now_ms)
{
    CW_SET(conn->copy_close_ms, now_ms);
    CW_SET(conn->copy_close_stack, stack);
}

void cw_conn_passed_on(struct cw_conn *conn, uint32_t stack, uint32_t now_ms)
{
    CW_OR(conn->flags, CW_CONN_SCM_SENT);
    CW_SET(conn->copy_stack, stack);
    CW_SET(conn->copy_close_ms, now_ms);
}

void cw_conn_forked(struct cw_conn *conn)
{
    struct cw_conn kept = *conn;
    memset(conn, 0, sizeof *conn);
    conn->flags = kept.flags & (CW_CONN_IN_USE | CW_CONN_LISTENER | CW_CONN_CONNECTED | CW_CONN_STDIO);
    memcpy(conn->peer, kept.peer, sizeof conn->peer);
    memcpy(conn->local, kept.local, sizeof conn->local);
    conn->peer_port = kept.peer_port;
    conn->local_port = kept.local_port;
    conn->family = kept.family;
    conn->protocol = kept.protocol;
    conn->origin = CW_ORIGIN_FORKED;
    conn->open_call = kept.open_call;
    conn->fd = kept.fd;
    conn->epoll_fd = -1;
    conn->open_ms = kept.open_ms;
    conn->open_stack = kept.open_stack;
    conn->inode = kept.inode;
    conn->fin_ms = kept.fin_ms;
    conn->generation = kept.generation;
    conn->label = kept.label;
}
