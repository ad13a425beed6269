/* Sweeps over the open sockets. */
#define _GNU_SOURCE
#include "preload/sweep.h"

#include "core/leak.h"
#include "core/truth.h"
#include "preload/close.h"
#include "preload/kernel.h"
#include "preload/live.h"
#include "preload/probe.h"
#include "preload/record.h"
#include "preload/sys.h"

#include <netinet/tcp.h>
#include <poll.h>

/* A whole round begins at most this often; what a slice leaves is done on the following calls. */
#define ROUND_MS 1000u
/* A slice takes a fraction of a millisecond: who has been at it for so long has jumped out of it, from a signal handler. */
#define ABANDONED_MS 10000
/* fds per slice: 4,096 at 48 ns each (poll) are 0.2 ms; per poll call, what fits on a small stack. */
#define SLICE_FDS 4096u
#define POLL_FDS 128u
#define LEAKED_AGAIN_MS 10000u

bool cw_sweep_ask(struct cw_conn *conn, int fd, uint32_t now_ms)
{
    struct cw_sock info = {0};
    if (!cw_kernel_tcp_info(fd, &info))
        return false;
    if (CW_GET(conn->protocol) == 255 && info.state == TCP_ESTABLISHED && (CW_GET(conn->k_flags) & CW_K_RDHUP))
        info.state = TCP_CLOSE_WAIT; /* MPTCP: its own state does not tell (docs/architecture.md) */
    /* A connect() that failed never was a connection. */
    bool never = CW_GET(conn->origin) == CW_ORIGIN_CONNECT && !info.connected_once;
    if (info.state == TCP_CLOSE && (never || cw_truth_shut_down(conn)))
        info.state = 0;
    uint8_t k = (uint8_t)(CW_GET(conn->k_flags) & CW_K_RDHUP);
    if (info.unacked)
        k |= CW_K_UNACKED;
    CW_SET(conn->k_flags, k);
    CW_SET(conn->k_last_ack_recv, info.last_ack_recv_ms);
    CW_SET(conn->k_last_data_sent, info.last_data_sent_ms);
    uint32_t flags = CW_GET(conn->flags);
    if (info.keepalive && !(flags & CW_CONN_KEEPALIVE))
        CW_OR(conn->flags, CW_CONN_KEEPALIVE);
    else if (!info.keepalive && (flags & CW_CONN_KEEPALIVE))
        CW_AND(conn->flags, ~(uint32_t)CW_CONN_KEEPALIVE);
    CW_SET(conn->k_ms, now_ms);
    CW_SET(conn->k_state, info.state);
    return true;
}

/* A socket that poll flagged. A record may have become another's meanwhile: the slot is asked again. */
static void flagged(int fd, uint64_t slot, unsigned revents, uint32_t now_ms)
{
    if (cw_table_slot(&cw_table, fd) != slot || CW_SLOT_KIND(slot) != CW_SLOT_CONN)
        return;
    struct cw_conn *conn = &CW_P->view.conns[CW_SLOT_INDEX(slot)];
    if (revents & POLLNVAL) {
        /* Closed by a call that no hook saw. */
        uint64_t marked = cw_table_mark_closing(&cw_table, fd);
        if (marked) {
            cw_table_clear(&cw_table, fd, marked);
            cw_close_unseen(marked);
        }
        return;
    }
    /* One that has leaked is asked again every ten seconds or so: 3 us each second for each of 19,000 would be 5 % of a CPU. */
    uint32_t again_ms = LEAKED_AGAIN_MS + CW_SLOT_INDEX(slot) % LEAKED_AGAIN_MS / 4;
    if ((CW_GET(conn->flags) & CW_CONN_LEAKED) && now_ms - CW_GET(conn->k_ms) < again_ms)
        return;
    CW_SET(conn->k_flags, (uint8_t)(CW_GET(conn->k_flags) | CW_K_RDHUP));
    if (!(CW_GET(conn->flags) & CW_CONN_CONNECTED) || !cw_sweep_ask(conn, fd, now_ms))
        return;
    if (cw_table_slot(&cw_table, fd) != slot) {
        CW_SET(conn->k_ms, 0); /* closed meanwhile: the answer may have been another socket's */
        return;
    }
    bool had = CW_GET(conn->flags) & CW_CONN_LEAKED;
    bool leaked = cw_leak_judge(conn, now_ms, cw_static.options.grace_ms);
    if (leaked && !had)
        cw_live_leaked(conn);
}

static void poll_some(struct pollfd *asked, const uint64_t *slots, unsigned n, uint32_t now_ms)
{
    if (n == 0 || cw_sys(SYS_poll, asked, n, 0) <= 0)
        return;
    for (unsigned i = 0; i < n; i++)
        if (asked[i].revents)
            flagged(asked[i].fd, slots[i], (unsigned)asked[i].revents, now_ms);
}

/* A mark that nobody came back for: a close that was cancelled while the fd was still open. It may also be merely under way
 * (fclose writes what is buffered first, which can take long): its end is prepared to find the mark gone (cw_close_end). */
static void settle_mark(int fd, uint64_t word)
{
    const struct cw_conn *conn = &CW_P->view.conns[CW_SLOT_INDEX(word)];
    struct cw_sock sock;
    if (CW_SLOT_KIND(word) == CW_SLOT_CONN && cw_kernel_sock(fd, &sock) &&
        sock.local_port == CW_GET(conn->local_port) && sock.peer_port == CW_GET(conn->peer_port))
        cw_table_settle(&cw_table, fd, word);
}

static uint32_t sweep_slice(uint32_t from, uint32_t now_ms)
{
    struct pollfd asked[POLL_FDS];
    uint64_t slots[POLL_FDS];
    unsigned n = 0;
    uint32_t ready = CW_GET(CW_P->slots_ready), done = 0, fd = from;
    for (; fd < ready && done < SLICE_FDS; fd++) {
        uint64_t slot = cw_table_slot(&cw_table, (int)fd);
        if (CW_SLOT_KIND(slot) != CW_SLOT_CONN)
            continue;
        done++;
        if (slot & CW_SLOT_CLOSING) {
            settle_mark((int)fd, slot);
            continue;
        }
        asked[n] = (struct pollfd){.fd = (int)fd, .events = POLLRDHUP};
        slots[n++] = slot;
        if (n == POLL_FDS) {
            poll_some(asked, slots, n, now_ms);
            n = 0;
        }
    }
    poll_some(asked, slots, n, now_ms);
    cw_live_announce(now_ms);
    return fd < ready ? fd : 0;
}

void cw_sweep_maybe(uint32_t now_ms)
{
    struct cw_process *process = CW_P;
    uint32_t next = CW_GET(process->sweep_next);
    if (!CW_GET(process->live) || (next == 0 && now_ms - CW_GET(process->sweep_ms) < ROUND_MS))
        return;
    if (CW_GET(process->ending) || !cw_kernel_may(CW_MAY_POLL | CW_MAY_GETSOCKOPT))
        return;
    uint32_t busy = CW_GET(process->sweeping);
    if ((busy && (int32_t)(now_ms - busy) < ABANDONED_MS) ||
        !__atomic_compare_exchange_n(&process->sweeping, &busy, now_ms, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return;
    if (next == 0)
        CW_SET(process->sweep_ms, now_ms);
    next = sweep_slice(next, now_ms);
    CW_SET(process->sweep_next, next);
    if (next == 0) {
        CW_SET(process->view.header->truth_ms, now_ms);
        CW_SET(process->view.header->truth, CW_TRUTH_SWEEP);
    }
    busy = now_ms;
    __atomic_compare_exchange_n(&process->sweeping, &busy, 0, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}
