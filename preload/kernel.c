/* Asking the kernel about single sockets and fds of this process. */
#define _GNU_SOURCE
#include "preload/kernel.h"

#include "preload/ledger_parts.h"
#include "preload/probe.h"
#include "preload/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

bool cw_kernel_may(unsigned what)
{
    return !CW_GET(cw_static.seccomp) && (cw_static.may & what) == what;
}

bool cw_kernel_option(int fd, int level, int option, int *ret)
{
    socklen_t len = sizeof *ret;
    return cw_kernel_may(CW_MAY_GETSOCKOPT) && cw_sys(SYS_getsockopt, fd, level, option, ret, &len) == 0;
}

bool cw_kernel_is_tcp(int fd, uint8_t *ret_family, uint8_t *ret_protocol)
{
    int domain, protocol, type;
    if (!cw_kernel_option(fd, SOL_SOCKET, SO_DOMAIN, &domain) || (domain != AF_INET && domain != AF_INET6))
        return false;
    if (!cw_kernel_option(fd, SOL_SOCKET, SO_TYPE, &type) || type != SOCK_STREAM)
        return false;
    if (!cw_kernel_option(fd, SOL_SOCKET, SO_PROTOCOL, &protocol) ||
        (protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP))
        return false;
    *ret_family = (uint8_t)domain;
    *ret_protocol = protocol == IPPROTO_MPTCP ? 255 : IPPROTO_TCP;
    return true;
}

bool cw_kernel_tcp_info(int fd, struct cw_sock *ret)
{
    union {
        struct tcp_info known; /* libc's ends earlier */
        struct {
            unsigned char before[120];
            uint64_t bytes_acked, bytes_received; /* struct tcp_info in the kernel's <linux/tcp.h> */
        } more;
    } answer;
    socklen_t len = sizeof answer;
    memset(&answer, 0, sizeof answer);
    if (!cw_kernel_may(CW_MAY_GETSOCKOPT))
        return false;
    if (cw_sys(SYS_getsockopt, fd, IPPROTO_TCP, TCP_INFO, &answer, &len) != 0)
        return false;
    const struct tcp_info info = answer.known;
    ret->state = info.tcpi_state;
    ret->has_info = true;
    ret->last_ack_recv_ms = info.tcpi_last_ack_recv;
    ret->last_data_sent_ms = info.tcpi_last_data_sent;
    ret->unacked = info.tcpi_unacked;
    ret->connected_once = answer.more.bytes_acked || answer.more.bytes_received;
    ret->has_queues = info.tcpi_state == TCP_LISTEN;
    if (ret->has_queues) {
        ret->recv_q = info.tcpi_unacked;
        ret->send_q = info.tcpi_sacked;
    }
    int keepalive = 0;
    ret->keepalive = cw_kernel_option(fd, SOL_SOCKET, SO_KEEPALIVE, &keepalive) && keepalive;
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
    return cw_kernel_may(CW_MAY_VM_READV) &&
           cw_sys(SYS_process_vm_readv, CW_P->pid, &local, 1, &remote, 1, 0) == (long)n;
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

uint16_t cw_kernel_local_port(int fd)
{
    struct sockaddr_storage name;
    uint8_t address[16];
    uint16_t port = 0;
    name_to(&name, cw_kernel_name(fd, false, &name), address, &port);
    return port;
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

bool cw_kernel_no_fds(void)
{
    if (!cw_kernel_may(CW_MAY_FILES))
        return false;
    long probe = cw_sys(SYS_openat, AT_FDCWD, "/proc/self/stat", O_RDONLY | O_CLOEXEC, 0);
    if (probe >= 0)
        cw_sys(SYS_close, probe);
    return probe == -EMFILE || probe == -ENFILE;
}
