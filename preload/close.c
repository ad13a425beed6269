/* Closing: before and after every call that may free an fd. */
#define _GNU_SOURCE
#include "preload/close.h"

#include "core/leak.h"
#include "core/truth.h"
#include "preload/kernel.h"
#include "preload/live.h"
#include "preload/stack.h"
#include "preload/sweep.h"
#include "preload/sys.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/mman.h>

/* Sockets closed late that are kept one by one; beyond that they are only counted. */
#define LATE_MAX 8192u

bool cw_close_freed(int result, int error)
{
    return result == 0 || error == EINTR || error == EIO || error == ENOSPC || error == EDQUOT || error == EINPROGRESS;
}

/* --- a listener's queue --- */

struct stock {
    struct cw_truth_check truth;
    const struct cw_conn *listener;
    uint32_t entered, most;
};

static uint32_t late_room(void)
{
    uint32_t late = CW_GET(CW_P->late);
    return late < LATE_MAX ? LATE_MAX - late : 0;
}

static uint32_t new_late(void *ctx)
{
    (void)ctx;
    uint32_t index = late_room() ? cw_table_new_conn(&cw_table) : 0;
    if (index)
        CW_ADD(CW_P->late, 1);
    else
        cw_count(CW_COUNTER_late_dropped);
    return index;
}

/* A client that came and went a moment ago is no leak: the end's grace period holds here too. */
static bool just_come(const struct stock *stock, const struct cw_sock *sock)
{
    uint32_t in_ms = CW_GET(stock->listener->in_last_ms), grace_ms = cw_static.options.exit_grace_ms;

    if (sock->has_info)
        return sock->last_ack_recv_ms < grace_ms;
    /* Who waits now has come since accept last found nobody. */
    return in_ms && CW_GET(stock->listener->in_last_res) == -EAGAIN && stock->truth.now_ms - in_ms < grace_ms;
}

static int queued(void *ctx, const struct cw_sock *sock)
{
    struct stock *stock = ctx;
    if (stock->entered < stock->most && sock->inode == 0 && sock->local_port == CW_GET(stock->listener->local_port) &&
        !just_come(stock, sock))
        stock->entered += (uint32_t)cw_truth_queued(&stock->truth, sock, 1);
    return stock->entered >= stock->most;
}

/* At most so many, of whatever listener on this port. */
static uint32_t take_stock(struct cw_conn *listener, int fd, bool whole_port)
{
    struct cw_sock info = {0};
    if (!cw_kernel_tcp_info(fd, &info) || info.state != TCP_LISTEN || info.recv_q == 0)
        return 0;
    struct stock stock = {.truth = {.view = &CW_P->view, .now_ms = cw_now_ms(), .new_conn = new_late},
                          .listener = listener,
                          .most = whole_port ? UINT32_MAX : info.recv_q};
    CW_SET(listener->k_recv_q, info.recv_q);
    CW_SET(listener->k_send_q, info.send_q);
    CW_SET(listener->k_ms, stock.truth.now_ms);
    int failed = cw_kernel_dump_close_wait(CW_GET(listener->local_port), queued, &stock);
    if (failed < 0 && !stock.entered) {
        cw_kernel_note_refusal(failed);
        cw_kernel_read_close_wait(queued, &stock);
    }
    return stock.entered ? stock.truth.now_ms : 0;
}

uint32_t cw_listener_stock(struct cw_conn *listener, int fd)
{
    return take_stock(listener, fd, false);
}

static int queued_still(void *ctx, const struct cw_sock *sock)
{
    const struct cw_closing *closing = ctx;
    uint32_t used = cw_table_used(&cw_table, CW_SECTION_CONNS);
    for (uint32_t i = 1; sock->inode == 0 && i < used; i++) {
        struct cw_conn *conn = &CW_P->view.conns[i];
        if (CW_GET(conn->origin) != CW_ORIGIN_QUEUED || CW_GET(conn->close_ms) != closing->queue_ms ||
            !(CW_GET(conn->flags) & CW_CONN_LATE) || conn->peer_port != sock->peer_port ||
            conn->local_port != sock->local_port || memcmp(conn->peer, sock->peer, sizeof conn->peer) != 0)
            continue;
        CW_AND(conn->flags, ~(uint32_t)CW_CONN_LATE);
        CW_ADD(CW_P->late, (uint32_t)-1);
        cw_table_unref_conn(&cw_table, i);
        break;
    }
    return 0;
}

/* After the close: a queue that another process holds too (a parent, a child) lives on, and with it what was in it;
 * so does that of another listener on the port. */
static void listener_unstock(const struct cw_closing *closing)
{
    struct cw_closing at = *closing;
    if (at.queue_ms && cw_kernel_dump_close_wait(at.queue_port, queued_still, &at) < 0)
        cw_kernel_read_close_wait(queued_still, &at);
}

void cw_listener_closed(uint32_t now_ms)
{
    struct cw_ledger *header = CW_P->view.header;
    if (__atomic_sub_fetch(&header->listeners, 1, __ATOMIC_RELAXED) == 0)
        CW_SET(header->listeners_closed_ms, now_ms);
}

/* --- one fd --- */

static bool last_of_it(const struct cw_conn *conn)
{
    return CW_GET(conn->refs) <= 1;
}

/* Whether this close may be a late one, by what is known without asking: nothing happened for the grace period. */
static bool worth_asking(const struct cw_conn *conn, uint32_t now_ms)
{
    uint32_t in_ms = CW_GET(conn->in_last_ms), out_ms = CW_GET(conn->out_last_ms), open_ms = CW_GET(conn->open_ms);
    uint32_t grace_ms = cw_static.options.grace_ms;
    if (cw_static.options.late == CW_LATE_OFF)
        return false;
    if (CW_GET(conn->origin) == CW_ORIGIN_FORKED && !in_ms && !out_ms)
        return false; /* a child putting away what its parent left it: the parent's business */
    if (CW_GET(conn->flags) & CW_CONN_LEAKED)
        return true;
    return (!in_ms || now_ms - in_ms >= grace_ms) && (!out_ms || now_ms - out_ms >= grace_ms) &&
           now_ms - open_ms >= grace_ms;
}

static bool is_late(struct cw_conn *conn, int fd)
{
    uint32_t now_ms = cw_now_ms();
    if (!(CW_GET(conn->flags) & CW_CONN_CONNECTED) || !worth_asking(conn, now_ms))
        return false;
    return cw_sweep_ask(conn, fd, now_ms) && cw_leak_judge(conn, now_ms, cw_static.options.grace_ms);
}

void cw_close_begin(struct cw_closing *closing, int fd)
{
    *closing = (struct cw_closing){.fd = fd};
    if (!cw_known(fd))
        return;
    closing->marked = cw_table_mark_closing(&cw_table, fd);
    if (CW_SLOT_KIND(closing->marked) != CW_SLOT_CONN)
        return;
    struct cw_conn *conn = &CW_P->view.conns[CW_SLOT_INDEX(closing->marked)];
    if (!last_of_it(conn))
        return;
    if (CW_GET(conn->flags) & CW_CONN_LISTENER) {
        closing->queue_port = CW_GET(conn->local_port);
        closing->queue_ms = take_stock(conn, fd, true);
    } else {
        closing->late = is_late(conn, fd);
    }
}

/* Turns the record into one of a socket closed late; false when there is no room for more. */
static bool keep_late(const struct cw_site *site, enum cw_call call, struct cw_conn *conn)
{
    if (!late_room()) {
        cw_count(CW_COUNTER_late_dropped);
        return false;
    }
    CW_ADD(CW_P->late, 1);
    CW_SET(conn->close_ms, cw_now_ms());
    CW_SET(conn->close_call, (uint8_t)call);
    CW_SET(conn->close_stack, cw_stack_capture(site));
    CW_OR(conn->flags, CW_CONN_LATE);
    return true;
}

/* Somebody waited in its queue: what is known of the listener says why. */
static void keep_listener(struct cw_conn *listener)
{
    if (!late_room())
        return;
    CW_ADD(CW_P->late, 1);
    CW_SET(listener->close_ms, cw_now_ms());
    CW_OR(listener->flags, CW_CONN_LATE);
}

/* The slot's reference goes; with the last one the connection. */
static void release_conn(const struct cw_site *site, enum cw_call call, uint32_t index, bool late)
{
    struct cw_conn *conn = &CW_P->view.conns[index];
    if (!last_of_it(conn)) {
        uint32_t now_ms = cw_now_ms();
        if (site)
            cw_conn_copy_closed(conn, cw_stack_capture(site), now_ms);
        if (cw_table_unref_conn(&cw_table, index))
            return;
        CW_ADD(CW_P->conns_open, (uint32_t)-1);
        return;
    }
    uint32_t flags = CW_GET(conn->flags);
    if (flags & CW_CONN_LISTENER) {
        cw_listener_closed(cw_now_ms());
        if (late)
            keep_listener(conn);
    } else if (late && site) {
        keep_late(site, call, conn);
    }
    if (flags & CW_CONN_ANNOUNCED)
        cw_live_closed(conn);
    CW_ADD(CW_P->conns_open, (uint32_t)-1);
    cw_table_unref_conn(&cw_table, index);
}

static void release(const struct cw_site *site, enum cw_call call, uint64_t word, bool late)
{
    if (CW_SLOT_KIND(word) == CW_SLOT_SET)
        cw_table_unref_set(&cw_table, CW_SLOT_INDEX(word));
    else if (CW_SLOT_KIND(word) == CW_SLOT_CONN)
        release_conn(site, call, CW_SLOT_INDEX(word), late);
}

void cw_close_unseen(uint64_t word)
{
    if (CW_SLOT_KIND(word) == CW_SLOT_CONN)
        cw_count(CW_COUNTER_closes_unseen);
    release(NULL, CW_CALL_none, word, false);
}

void cw_close_end(const struct cw_site *site, enum cw_call call, const struct cw_closing *closing, bool closed)
{
    if (!closing->marked)
        return;
    if (!closed) {
        if (!cw_table_unmark(&cw_table, closing->fd, closing->marked))
            release(NULL, CW_CALL_none, closing->marked,
                    false); /* it means something else, or a sweep has taken the mark away */
        return;
    }
    if (cw_table_clear(&cw_table, closing->fd, closing->marked) == 2)
        release(NULL, CW_CALL_none, closing->marked, false);
    release(site, call, closing->marked, closing->late || closing->queue_ms);
    listener_unstock(closing);
    if (CW_GET(CW_P->live))
        cw_sweep_maybe(cw_now_ms());
}

/* --- many --- */

#define RANGE_BYTES (CW_CLOSE_RANGE_MAX * sizeof(struct cw_closing))

void cw_close_range_begin(struct cw_closing_range *range, unsigned first, unsigned last)
{
    range->first = first;
    range->last = last;
    range->n = range->room = 0;
    range->each = NULL;
    if (!CW_GET(CW_P->live) || cw_vforked())
        return;
    if (!cw_kernel_may(0))
        return;
    long memory = cw_sys(SYS_mmap, 0, RANGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory < 0 && memory > -4096)
        return;
    range->each = (struct cw_closing *)memory;
    range->room = CW_CLOSE_RANGE_MAX;
    uint32_t ready = CW_GET(CW_P->slots_ready);
    for (unsigned fd = first; fd <= last && fd < ready && range->n < range->room; fd++)
        if (cw_table_slot(&cw_table, (int)fd)) {
            cw_close_begin(&range->each[range->n], (int)fd);
            range->n += range->each[range->n].marked != 0;
            range->first = fd + 1; /* what lies beyond is settled without a mark */
        }
    if (range->n < range->room)
        range->first = ready;
}

void cw_close_range_end(const struct cw_site *site, enum cw_call call, const struct cw_closing_range *range,
                        bool closed)
{
    unsigned n = range->n, room = range->room;
    for (unsigned i = 0; i < n; i++)
        cw_close_end(site, call, &range->each[i], closed);
    if (range->each)
        cw_sys(SYS_munmap, range->each, RANGE_BYTES);
    if (!closed || n < room || !CW_GET(CW_P->live) || cw_vforked())
        return;
    /* More than could be marked beforehand. A thread that opened one of these numbers since would lose its record, not its
     * report: the kernel is asked for that. */
    uint32_t ready = CW_GET(CW_P->slots_ready);
    for (unsigned fd = range->first; fd <= range->last && fd < ready; fd++) {
        struct cw_closing rest = {.fd = (int)fd, .marked = cw_table_mark_closing(&cw_table, (int)fd)};
        cw_close_end(site, call, &rest, true);
    }
}
