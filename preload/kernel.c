/* Asking the kernel about this process's own sockets. */
#define _GNU_SOURCE
#include "preload/kernel.h"

#include "core/conn.h"
#include "core/leak.h"
#include "core/proctcp.h"
#include "core/truth.h"
#include "preload/ledger_parts.h"
#include "preload/probe.h"
#include "preload/record.h"
#include "preload/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

bool cw_kernel_may(unsigned what)
{
    return !CW_GET(cw_static.seccomp) && (cw_static.may & what) == what;
}

static bool get_int(int fd, int level, int option, int *ret)
{
    socklen_t len = sizeof *ret;
    return cw_kernel_may(CW_MAY_GETSOCKOPT) && cw_sys(SYS_getsockopt, fd, level, option, ret, &len) == 0;
}

bool cw_kernel_is_tcp(int fd, uint8_t *ret_family, uint8_t *ret_protocol)
{
    int domain, protocol, type;
    if (!get_int(fd, SOL_SOCKET, SO_DOMAIN, &domain) || (domain != AF_INET && domain != AF_INET6))
        return false;
    if (!get_int(fd, SOL_SOCKET, SO_TYPE, &type) || type != SOCK_STREAM)
        return false;
    if (!get_int(fd, SOL_SOCKET, SO_PROTOCOL, &protocol) || (protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP))
        return false;
    *ret_family = (uint8_t)domain;
    *ret_protocol = protocol == IPPROTO_MPTCP ? 255 : IPPROTO_TCP;
    return true;
}

bool cw_kernel_tcp_info(int fd, struct cw_sock *ret)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    memset(&info, 0, sizeof info);
    if (!cw_kernel_may(CW_MAY_GETSOCKOPT))
        return false;
    if (cw_sys(SYS_getsockopt, fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return false;
    ret->state = info.tcpi_state;
    ret->has_info = true;
    ret->last_ack_recv_ms = info.tcpi_last_ack_recv;
    ret->last_data_sent_ms = info.tcpi_last_data_sent;
    ret->unacked = info.tcpi_unacked;
    ret->has_queues = info.tcpi_state == TCP_LISTEN;
    if (ret->has_queues) {
        ret->recv_q = info.tcpi_unacked;
        ret->send_q = info.tcpi_sacked;
    }
    int keepalive = 0;
    ret->keepalive = get_int(fd, SOL_SOCKET, SO_KEEPALIVE, &keepalive) && keepalive;
    return true;
}

uint32_t cw_kernel_name(int fd, bool peer, struct sockaddr_storage *ret)
{
    socklen_t len = sizeof *ret;
    if (!cw_kernel_may(CW_MAY_GETSOCKOPT))
        return 0;
    if (cw_sys(peer ? SYS_getpeername : SYS_getsockname, fd, ret, &len) != 0)
        return 0;
    return len <= sizeof *ret ? len : (uint32_t)sizeof *ret;
}

uint32_t cw_kernel_socket_inode(int fd)
{
    struct stat st;
    if (!cw_kernel_may(0))
        return 0;
    if (cw_sys(SYS_fstat, fd, &st) != 0 || !S_ISSOCK(st.st_mode))
        return 0;
    return (uint32_t)st.st_ino;
}

bool cw_kernel_peek(void *to, const void *from, size_t n)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0), at = (uintptr_t)from;
    if ((here ^ at) < 4096 && ((at + n - 1) ^ here) < 4096) {
        memcpy(to, from, n); /* on the page that we stand on */
        return true;
    }
    struct iovec local = {to, n}, remote = {(void *)(uintptr_t)from, n};
    return cw_kernel_may(CW_MAY_VM_READV) && cw_sys(SYS_process_vm_readv, CW_P->pid, &local, 1, &remote, 1, 0) == (long)n;
}

static void name_to(const struct sockaddr_storage *name, uint32_t len, uint8_t address[16], uint16_t *port)
{
    memset(address, 0, 16);
    if (len >= sizeof(struct sockaddr_in) && name->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)name;
        memcpy(address, &in->sin_addr, 4);
        *port = ntohs(in->sin_port);
    } else if (len >= sizeof(struct sockaddr_in6) && name->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)name;
        memcpy(address, &in6->sin6_addr, 16);
        *port = ntohs(in6->sin6_port);
    }
}

bool cw_kernel_sock(int fd, struct cw_sock *ret)
{
    memset(ret, 0, sizeof *ret);
    if (!cw_kernel_is_tcp(fd, &ret->family, &ret->protocol) || !cw_kernel_tcp_info(fd, ret))
        return false;
    struct sockaddr_storage name;
    uint32_t len = cw_kernel_name(fd, false, &name);
    name_to(&name, len, ret->local, &ret->local_port);
    len = cw_kernel_name(fd, true, &name);
    if (len)
        name_to(&name, len, ret->peer, &ret->peer_port);
    ret->inode = cw_kernel_socket_inode(fd);
    return true;
}

/* Not on the stack: a close() may be asking, on a thread that has 16 KiB in all. */
#define ANSWER_BYTES 16384u

static int dump_family(int netlink, uint8_t family, uint16_t local_port, unsigned char *answer,
                       int (*each)(void *, const struct cw_sock *), void *ctx)
{
    unsigned char request[CW_DIAG_REQUEST_BYTES] __attribute__((aligned(8)));
    size_t n = cw_diag_request(request, family, 1u << TCP_CLOSE_WAIT, local_port);
    long sent = cw_sys(SYS_sendto, netlink, request, n, 0, 0, 0);
    if (sent < 0)
        return (int)sent;
    for (;;) {
        long got = cw_sys(SYS_recvfrom, netlink, answer, ANSWER_BYTES, 0, 0, 0);
        if (got == -EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? (int)got : -EPIPE;
        int done = cw_diag_parse(answer, (size_t)got, each, ctx);
        if (done)
            return done == 1 ? 0 : done;
    }
}

int cw_kernel_dump_close_wait(uint16_t local_port, int (*each)(void *ctx, const struct cw_sock *sock), void *ctx)
{
    if (!cw_kernel_may(CW_MAY_NETLINK))
        return -EPERM;
    int netlink = (int)cw_sys(SYS_socket, AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (netlink < 0)
        return netlink;
    netlink = cw_fd_lift(netlink);
    if (netlink < 0)
        return netlink;
    long memory = cw_sys(SYS_mmap, 0, ANSWER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int failed = memory < 0 && memory > -4096 ? (int)memory : 0;
    if (!failed) {
        failed = dump_family(netlink, AF_INET, local_port, (unsigned char *)memory, each, ctx);
        if (!failed)
            failed = dump_family(netlink, AF_INET6, local_port, (unsigned char *)memory, each, ctx);
        cw_sys(SYS_munmap, memory, ANSWER_BYTES);
    }
    cw_sys(SYS_close, netlink);
    return failed == -ENOENT ? 0 : failed; /* a kernel without IPv6 */
}

/* Whole lines of one file, the rest of the buffer carried over. */
static int read_lines(int fd, uint8_t family, int (*each)(void *, const struct cw_sock *), void *ctx)
{
    char buf[4096 + CW_PROCTCP_LINE_BYTES];
    size_t held = 0;
    long got;
    while ((got = cw_sys(SYS_read, fd, buf + held, sizeof buf - held)) > 0) {
        size_t n = held + (size_t)got, at = 0;
        for (const char *newline; at < n && (newline = memchr(buf + at, '\n', n - at)); at = (size_t)(newline - buf) + 1) {
            struct cw_sock sock;
            if (cw_proctcp_line(buf + at, (size_t)(newline - buf) - at, family, &sock) && sock.state == TCP_CLOSE_WAIT &&
                each(ctx, &sock))
                return 0;
        }
        held = n - at;
        if (held >= sizeof buf)
            return -EMSGSIZE;
        memmove(buf, buf + at, held);
    }
    return (int)got;
}

/* Without sock_diag: the same sockets from /proc/self/net, by calls that no filter minds. */
static int read_close_wait(int (*each)(void *ctx, const struct cw_sock *sock), void *ctx)
{
    static const struct {
        const char *path;
        uint8_t family;
    } files[] = {{"/proc/thread-self/net/tcp", AF_INET}, {"/proc/thread-self/net/tcp6", AF_INET6}};
    for (unsigned i = 0; i < sizeof files / sizeof files[0]; i++) {
        int fd = cw_kernel_may(0) ? cw_fd_open(AT_FDCWD, files[i].path, O_RDONLY, 0) : -EPERM;
        int failed = fd < 0 ? fd : read_lines(fd, files[i].family, each, ctx);
        if (fd >= 0)
            cw_sys(SYS_close, fd);
        if (failed && !(i == 1 && failed == -ENOENT))
            return failed;
    }
    return 0;
}

int cw_kernel_each_fd(void (*each)(void *ctx, int fd), void *ctx)
{
    if (!cw_kernel_may(CW_MAY_READLINK))
        return -EPERM;
    /* Not /proc/self/fd: that is the main thread's, and empty once it has ended (pthread_exit). */
    int dir = cw_fd_open(AT_FDCWD, "/proc/thread-self/fd", O_RDONLY | O_DIRECTORY, 0);
    if (dir < 0)
        return dir;
    char buf[4096] __attribute__((aligned(8)));
    long got;
    while ((got = cw_sys(SYS_getdents64, dir, buf, sizeof buf)) > 0) {
        for (long at = 0; at < got;) {
            struct {
                uint64_t ino;
                int64_t off;
                uint16_t len;
                uint8_t type;
            } entry;
            memcpy(&entry, buf + at, sizeof entry);
            const char *name = buf + at + 19; /* linux_dirent64: the name follows the type byte */
            long fd = 0;
            for (const char *c = name; *c >= '0' && *c <= '9'; c++)
                fd = fd * 10 + (*c - '0');
            if (*name >= '0' && *name <= '9' && fd != dir)
                each(ctx, (int)fd);
            at += entry.len;
        }
    }
    cw_sys(SYS_close, dir);
    return (int)got;
}

/* --- everything at once --- */

/* An open socket of this process, and (queue and state) the kernel's word on it. */
struct owned {
    uint32_t inode;
    int fd;
};

/* The dump goes through all sockets of the machine, which may be milliseconds: not for a child that ends because its client
 * has gone. */
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

/* What has to be asked because of this socket: nothing unless its peer has closed or (a listener) somebody waits in its queue,
 * who may have; little if it cannot have leaked, whichever of the ages counts. */
static enum need need_of(int fd, uint32_t grace_ms)
{
    struct pollfd ask = {.fd = fd, .events = POLLIN | POLLRDHUP};
    struct cw_sock sock = {0};
    int listens = 0;
    if (!cw_kernel_may(CW_MAY_POLL | CW_MAY_GETSOCKOPT))
        return NEED_DUMP;
    if (cw_sys(SYS_poll, &ask, 1, 0) != 1 || !cw_kernel_is_tcp(fd, &sock.family, &sock.protocol))
        return NEED_NOTHING;
    if (!(ask.revents & ~POLLIN) && get_int(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens) && !listens)
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
            check->need = check->n > EACH_MAX ? NEED_DUMP : need;
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
    with_options.keepalive = sock->keepalive || (get_int(fds[0], SOL_SOCKET, SO_KEEPALIVE, &keepalive) && keepalive);
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
        if (cw_kernel_is_tcp(fds[0], &family, &protocol) && (protocol == 255 || !mptcp_only) && cw_kernel_sock(fds[0], &sock)) {
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
    sort_owned(check.owned, check.n);
    cw_truth_begin(&check.truth);
    failed = check.need == NEED_DUMP ? cw_kernel_dump_close_wait(0, diagnosed, &check) : 0;
    if (failed) {
        cw_truth_begin(&check.truth);
        CW_OR(CW_P->view.header->flags, CW_HEADER_NO_NETLINK);
        if (cw_kernel_may(CW_MAY_GETSOCKOPT))
            ask_each(&check, false);
        else if ((failed = read_close_wait(diagnosed, &check)) != 0) {
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
