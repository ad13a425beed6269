/* The check of everything: all sockets of this process held against the kernel. */
#define _GNU_SOURCE
#include "preload/kernel.h"

#include "core/leak.h"
#include "core/truth.h"
#include "preload/probe.h"
#include "preload/record.h"
#include "preload/sys.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/mman.h>

/* An open socket of this process, and (queue and state) the kernel's word on it. */
struct owned {
    uint32_t inode;
    int fd;
};

/* The dump goes through all sockets of the machine, which may take milliseconds: not for a child that ends because its
 * client has gone. */
enum need { NEED_NOTHING, NEED_EACH, NEED_DUMP };
#define EACH_MAX 64u /* sockets; beyond that the dump is cheaper */

struct check {
    struct cw_truth_check truth;
    struct owned *owned;
    uint32_t n, room;
    enum need need;
    uint32_t grace_ms;
};

static uint32_t new_conn(void *ctx)
{
    (void)ctx;
    uint32_t index = cw_table_new_conn(&cw_table);
    if (!index)
        cw_count(CW_COUNTER_table_full);
    return index;
}

static void count_fd(void *ctx, int fd)
{
    (void)fd;
    ++*(uint32_t *)ctx;
}

/* The record that fd means, NULL if there is none. */
static struct cw_conn *record_at(int fd)
{
    uint64_t slot = cw_table_slot(&cw_table, fd);
    return CW_SLOT_KIND(slot) == CW_SLOT_CONN ? &CW_P->view.conns[CW_SLOT_INDEX(slot)] : NULL;
}

/* Whether what waits at this listener is the parent's to report: it listens as well. */
static bool parents_listener(const struct check *check, int fd)
{
    const struct cw_conn *conn = check->truth.parent_lives ? record_at(fd) : NULL;
    return conn && CW_GET(conn->origin) == CW_ORIGIN_FORKED;
}

/* What has to be asked because of this socket: nothing unless its peer has closed or (a listener) somebody waits in its
 * queue, who may have; little if it cannot have leaked, whichever of the ages counts. */
static enum need need_of(const struct check *check, int fd)
{
    struct pollfd ask = {.fd = fd, .events = POLLIN | POLLRDHUP};
    struct cw_sock sock = {0};
    int listens = 0;
    if (!cw_kernel_may(CW_MAY_POLL | CW_MAY_GETSOCKOPT))
        return NEED_DUMP;
    if (cw_sys(SYS_poll, &ask, 1, 0) != 1 || !cw_kernel_is_tcp(fd, &sock.family, &sock.protocol))
        return NEED_NOTHING;
    if (!(ask.revents & ~POLLIN) && cw_kernel_option(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens) && !listens)
        return NEED_NOTHING;
    if (listens)
        return parents_listener(check, fd) ? NEED_NOTHING : NEED_DUMP;
    if (sock.protocol == 255 || !cw_kernel_tcp_info(fd, &sock))
        return NEED_DUMP;
    if (sock.state != TCP_CLOSE_WAIT)
        return NEED_NOTHING;
    return sock.last_data_sent_ms < check->grace_ms ? NEED_EACH : NEED_DUMP;
}

static void own_fd(void *ctx, int fd)
{
    struct check *check = ctx;
    uint32_t inode = cw_kernel_socket_inode(fd);
    if (inode && check->n < check->room)
        check->owned[check->n++] = (struct owned){.inode = inode, .fd = fd};
    if (inode && check->need != NEED_DUMP) {
        enum need need = need_of(check, fd);
        if (need > check->need)
            check->need = need;
    }
}

/* Heapsort by inode, then fd: no memory, no recursion. */
static bool owned_before(const struct owned *a, const struct owned *b)
{
    return a->inode != b->inode ? a->inode < b->inode : a->fd < b->fd;
}

static void sift(struct owned *heap, uint32_t at, uint32_t n)
{
    for (uint32_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && owned_before(&heap[child], &heap[child + 1]))
            child++;
        if (!owned_before(&heap[at], &heap[child]))
            return;
        struct owned swap = heap[at];
        heap[at] = heap[child];
        heap[child] = swap;
    }
}

static void sort_owned(struct owned *owned, uint32_t n)
{
    for (uint32_t i = n / 2; i-- > 0;)
        sift(owned, i, n);
    for (uint32_t i = n; i-- > 1;) {
        struct owned swap = owned[0];
        owned[0] = owned[i];
        owned[i] = swap;
        sift(owned, 0, i);
    }
}

static bool is_socket(void *ctx, int fd)
{
    (void)ctx;
    return cw_kernel_socket_inode(fd) != 0;
}

/* All fds of the socket that owned[at] is one of: copies them to fds, returns how many (at most max). */
static unsigned same_inode(const struct check *check, uint32_t at, int *fds, unsigned max)
{
    unsigned n = 0;
    for (uint32_t i = at; i < check->n && check->owned[i].inode == check->owned[at].inode && n < max; i++)
        fds[n++] = check->owned[i].fd;
    return n;
}

/* The first of the fds on this inode, check->n if there is none. */
static uint32_t find_owned(const struct check *check, uint32_t inode)
{
    uint32_t low = 0, high = check->n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (check->owned[mid].inode < inode)
            low = mid + 1;
        else
            high = mid;
    }
    return low < check->n && check->owned[low].inode == inode ? low : check->n;
}

static int diagnosed(void *ctx, const struct cw_sock *sock)
{
    struct check *check = ctx;
    if (sock->inode == 0) {
        cw_truth_queued(&check->truth, sock, 0);
        return 0;
    }
    uint32_t at = find_owned(check, sock->inode);
    if (at == check->n)
        return 0; /* another process's */
    int fds[16];
    unsigned n = same_inode(check, at, fds, 16);
    struct cw_sock with_options = *sock;
    int keepalive = 0;
    with_options.keepalive =
        sock->keepalive || (cw_kernel_option(fds[0], SOL_SOCKET, SO_KEEPALIVE, &keepalive) && keepalive);
    cw_truth_socket(&check->truth, fds, n, &with_options);
    return 0;
}

/* Without sock_diag, and for MPTCP, which it does not show as TCP: each socket is asked by itself. */
static void ask_each(struct check *check, bool mptcp_only)
{
    for (uint32_t i = 0; i < check->n;) {
        int fds[16];
        unsigned n = same_inode(check, i, fds, 16);
        uint32_t inode = check->owned[i].inode;
        struct cw_sock sock;
        uint8_t family, protocol;
        if (cw_kernel_is_tcp(fds[0], &family, &protocol) && (protocol == 255 || !mptcp_only) &&
            cw_kernel_sock(fds[0], &sock)) {
            struct pollfd ask = {.fd = fds[0], .events = POLLRDHUP};
            bool hung_up = protocol == 255 && cw_kernel_may(CW_MAY_POLL) && cw_sys(SYS_poll, &ask, 1, 0) == 1 &&
                           (ask.revents & POLLRDHUP);
            if (hung_up && !(ask.revents & POLLHUP))
                sock.state = TCP_CLOSE_WAIT; /* what an MPTCP socket's own state does not say */
            if (sock.state == TCP_CLOSE_WAIT)
                cw_truth_socket(&check->truth, fds, n, &sock);
        }
        while (i < check->n && check->owned[i].inode == inode)
            i++;
    }
}

/* --- listeners, and connections that have failed --- */

#define POLL_FDS 64u

static bool is_listener(const struct cw_conn *conn)
{
    return CW_GET(conn->flags) & CW_CONN_LISTENER;
}

/* Also those in whose queue nobody is: what waits on the port is another's then. */
static void ask_listeners(struct check *check)
{
    for (uint32_t i = 0; i < check->n; i++) {
        const struct cw_conn *conn = record_at(check->owned[i].fd);
        struct cw_sock sock = {0};
        if (!conn || !is_listener(conn) || !cw_kernel_tcp_info(check->owned[i].fd, &sock))
            continue;
        sock.inode = check->owned[i].inode;
        cw_truth_listener(&check->truth, check->owned[i].fd, &sock);
    }
}

/* MPTCP sockets show the state of their first subflow. */
static bool may_have_failed(const struct cw_conn *conn)
{
    return (CW_GET(conn->flags) & (CW_CONN_CONNECTED | CW_CONN_LISTENER)) == CW_CONN_CONNECTED &&
           !CW_GET(conn->k_state) && CW_GET(conn->protocol) != 255;
}

/* POLLHUP without POLLRDHUP's CLOSE_WAIT: reset, timed out, or closed in both directions and not by close(). A connect() that
 * failed leaves the same state. */
static void hung_up(struct check *check, uint32_t at)
{
    int fds[16];
    struct cw_sock sock = {0};
    unsigned n = same_inode(check, at, fds, 16);
    const struct cw_conn *conn = record_at(check->owned[at].fd);
    if (!conn || !cw_kernel_tcp_info(fds[0], &sock) || sock.state != TCP_CLOSE)
        return;
    if (CW_GET(conn->origin) == CW_ORIGIN_CONNECT && !sock.connected_once)
        return;
    cw_truth_failed(&check->truth, fds, n, check->owned[at].inode, cw_kernel_local_port(fds[0]));
}

static void ask_failed(struct check *check)
{
    struct pollfd asked[POLL_FDS];
    uint32_t at[POLL_FDS], n = 0;
    if (!cw_kernel_may(CW_MAY_POLL | CW_MAY_GETSOCKOPT))
        return;
    for (uint32_t i = 0; i <= check->n; i++) {
        const struct cw_conn *conn = i < check->n ? record_at(check->owned[i].fd) : NULL;
        if (conn && may_have_failed(conn) && (n == 0 || check->owned[i].inode != check->owned[at[n - 1]].inode)) {
            asked[n] = (struct pollfd){.fd = check->owned[i].fd};
            at[n++] = i;
        }
        if (n < POLL_FDS && i < check->n)
            continue;
        if (n && cw_sys(SYS_poll, asked, n, 0) > 0)
            for (uint32_t k = 0; k < n; k++)
                if (asked[k].revents & (POLLHUP | POLLERR))
                    hung_up(check, at[k]);
        n = 0;
    }
}

/* --- without sock_diag --- */

/* What /proc says of sockets that were asked already: their queues, and who waits in those of listeners. */
static int listed(void *ctx, const struct cw_sock *sock)
{
    struct check *check = ctx;
    if (sock->inode == 0)
        cw_truth_queued(&check->truth, sock, 0);
    else
        for (uint32_t i = find_owned(check, sock->inode); i < check->n && check->owned[i].inode == sock->inode; i++)
            cw_truth_queues(&check->truth, check->owned[i].fd, sock);
    return 0;
}

static bool worth_listing(const struct cw_conn *conn)
{
    return CW_GET(conn->k_state) == TCP_CLOSE_WAIT ||
           (is_listener(conn) && CW_GET(conn->k_state) == TCP_LISTEN && CW_GET(conn->k_recv_q));
}

static int do_without_netlink(struct check *check)
{
    uint32_t used = cw_table_used(&cw_table, CW_SECTION_CONNS);
    if (!cw_kernel_may(CW_MAY_GETSOCKOPT))
        return cw_kernel_read_close_wait(diagnosed, check);
    ask_each(check, false);
    for (uint32_t i = 1; i < used; i++)
        if (worth_listing(&CW_P->view.conns[i])) {
            cw_kernel_read_close_wait(listed, check);
            break;
        }
    return 0;
}

/* --- all of it --- */

static bool any_mptcp(void)
{
    uint32_t used = cw_table_used(&cw_table, CW_SECTION_CONNS);
    for (uint32_t i = 1; i < used; i++)
        if (CW_GET(CW_P->view.conns[i].protocol) == 255 && (CW_GET(CW_P->view.conns[i].flags) & CW_CONN_IN_USE))
            return true;
    return false;
}

/* The queues first: a connection that waits belongs to a listener where somebody does. */
static void begin(struct check *check)
{
    cw_truth_begin(&check->truth);
    ask_listeners(check);
}

static int ask_kernel(struct check *check)
{
    begin(check);
    int failed = check->need == NEED_DUMP ? cw_kernel_dump_close_wait(0, diagnosed, check) : 0;
    if (failed) {
        begin(check);
        cw_kernel_note_refusal(failed);
        failed = do_without_netlink(check);
        if (failed)
            return failed;
    } else if (check->need == NEED_EACH) {
        ask_each(check, false);
    } else if (check->need == NEED_DUMP && any_mptcp()) {
        ask_each(check, true);
    }
    ask_failed(check);
    return 0;
}

static bool parent_lives(void)
{
    const struct cw_ledger *header = CW_P->view.header;
    if (!(CW_GET(header->flags) & CW_HEADER_FORKED) || !cw_kernel_may(CW_MAY_FILES)) /* getppid was tried with these */
        return false;
    int32_t parent = (int32_t)cw_sys(SYS_getppid);
    return parent == CW_GET(header->ppid) && parent != 1;
}

/* Judges every record; returns how many sockets are in CLOSE_WAIT. */
static uint32_t judge_all(uint32_t now_ms, uint32_t grace_ms)
{
    uint32_t used = cw_table_used(&cw_table, CW_SECTION_CONNS), n = 0;
    for (uint32_t i = 1; i < used; i++) {
        struct cw_conn *conn = &CW_P->view.conns[i];
        if ((CW_GET(conn->flags) & (CW_CONN_IN_USE | CW_CONN_LATE)) != CW_CONN_IN_USE)
            continue;
        cw_leak_judge(conn, now_ms, grace_ms);
        n += CW_GET(conn->k_state) == TCP_CLOSE_WAIT;
    }
    return n;
}

static int check_all(uint32_t grace_ms, const struct cw_interrupted *at)
{
    uint32_t fds = 0;
    int failed = cw_kernel_each_fd(count_fd, &fds);
    if (failed < 0) {
        /* No /proc: the fds that hooks know of are all there is to ask. */
        fds = CW_GET(CW_P->slots_ready);
    }
    size_t bytes = ((size_t)fds + 64) * sizeof(struct owned);
    long memory = cw_sys(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory < 0 && memory > -4096)
        return (int)memory;
    struct check check = {
        .truth = {.view = &CW_P->view, .now_ms = cw_now_ms(), .new_conn = new_conn, .parent_lives = parent_lives()},
        .owned = (struct owned *)memory,
        .room = (uint32_t)(bytes / sizeof(struct owned)),
        .grace_ms = grace_ms,
    };
    if (failed < 0)
        for (uint32_t fd = 0; fd < fds; fd++)
            own_fd(&check, (int)fd);
    else
        cw_kernel_each_fd(own_fd, &check);
    if (check.need == NEED_EACH && check.n > EACH_MAX)
        check.need = NEED_DUMP;
    sort_owned(check.owned, check.n);
    failed = ask_kernel(&check);
    if (!failed)
        cw_truth_gone(&check.truth, is_socket, NULL);
    cw_sys(SYS_munmap, memory, bytes);
    if (failed)
        return failed;
    CW_ADD(CW_P->view.header->counters[CW_COUNTER_closes_unseen], check.truth.closes_unseen);
    if (judge_all(check.truth.now_ms, grace_ms)) {
        cw_kernel_check_threads(check.truth.now_ms, at);
        cw_kernel_check_sets();
    }
    CW_SET(CW_P->view.header->truth, CW_TRUTH_KERNEL);
    CW_SET(CW_P->view.header->truth_ms, check.truth.now_ms);
    return 0;
}

int cw_kernel_check_all(uint32_t grace_ms, const struct cw_interrupted *at)
{
    return cw_kernel_may(0) ? check_all(grace_ms, at) : -EPERM;
}
