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

/* What has to be asked because of this socket: nothing unless its peer has closed or (a listener) somebody waits in its
 * queue, who may have; little if it cannot have leaked, whichever of the ages counts. */
static enum need need_of(int fd, uint32_t grace_ms)
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
    bool young = !listens && sock.protocol != 255 && cw_kernel_tcp_info(fd, &sock) && sock.last_data_sent_ms < grace_ms;
    return young ? NEED_EACH : NEED_DUMP;
}

static void own_fd(void *ctx, int fd)
{
    struct check *check = ctx;
    uint32_t inode = cw_kernel_socket_inode(fd);
    if (inode && check->n < check->room)
        check->owned[check->n++] = (struct owned){.inode = inode, .fd = fd};
    if (inode && check->need != NEED_DUMP) {
        enum need need = need_of(fd, check->grace_ms);
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

static int diagnosed(void *ctx, const struct cw_sock *sock)
{
    struct check *check = ctx;
    if (sock->inode == 0) {
        cw_truth_queued(&check->truth, sock, 0);
        return 0;
    }
    uint32_t low = 0, high = check->n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (check->owned[mid].inode < sock->inode)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == check->n || check->owned[low].inode != sock->inode)
        return 0; /* another process's */
    int fds[16];
    unsigned n = same_inode(check, low, fds, 16);
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

static bool any_mptcp(void)
{
    uint32_t used = cw_table_used(&cw_table, CW_SECTION_CONNS);
    for (uint32_t i = 1; i < used; i++)
        if (CW_GET(CW_P->view.conns[i].protocol) == 255 && (CW_GET(CW_P->view.conns[i].flags) & CW_CONN_IN_USE))
            return true;
    return false;
}

int cw_kernel_check_all(uint32_t grace_ms)
{
    if (!cw_kernel_may(0))
        return -EPERM;
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
        .truth = {.view = &CW_P->view, .now_ms = cw_now_ms(), .new_conn = new_conn},
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
    cw_truth_begin(&check.truth);
    failed = check.need == NEED_DUMP ? cw_kernel_dump_close_wait(0, diagnosed, &check) : 0;
    if (failed) {
        cw_truth_begin(&check.truth);
        CW_OR(CW_P->view.header->flags, CW_HEADER_NO_NETLINK);
        if (cw_kernel_may(CW_MAY_GETSOCKOPT))
            ask_each(&check, false);
        else if ((failed = cw_kernel_read_close_wait(diagnosed, &check)) != 0) {
            cw_sys(SYS_munmap, memory, bytes);
            return failed;
        }
    } else if (check.need == NEED_EACH) {
        ask_each(&check, false);
    } else if (check.need == NEED_DUMP && any_mptcp()) {
        ask_each(&check, true);
    }
    cw_truth_gone(&check.truth, is_socket, NULL);
    cw_sys(SYS_munmap, memory, bytes);
    CW_ADD(CW_P->view.header->counters[CW_COUNTER_closes_unseen], check.truth.closes_unseen);
    uint32_t used = cw_table_used(&cw_table, CW_SECTION_CONNS);
    for (uint32_t i = 1; i < used; i++) {
        struct cw_conn *conn = &CW_P->view.conns[i];
        if ((CW_GET(conn->flags) & (CW_CONN_IN_USE | CW_CONN_LATE)) == CW_CONN_IN_USE)
            cw_leak_judge(conn, check.truth.now_ms, grace_ms);
    }
    CW_SET(CW_P->view.header->truth, CW_TRUTH_KERNEL);
    CW_SET(CW_P->view.header->truth_ms, check.truth.now_ms);
    return 0;
}
