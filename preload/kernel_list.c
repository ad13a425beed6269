/* Asking the kernel for all its sockets in CLOSE_WAIT: sock_diag, or /proc/self/net. */
#define _GNU_SOURCE
#include "preload/kernel.h"

#include "core/proctcp.h"
#include "preload/ledger_parts.h"
#include "preload/probe.h"
#include "preload/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/mman.h>

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
        for (const char *newline; at < n && (newline = memchr(buf + at, '\n', n - at));
             at = (size_t)(newline - buf) + 1) {
            struct cw_sock sock;
            if (cw_proctcp_line(buf + at, (size_t)(newline - buf) - at, family, &sock) &&
                sock.state == TCP_CLOSE_WAIT && each(ctx, &sock))
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
int cw_kernel_read_close_wait(int (*each)(void *ctx, const struct cw_sock *sock), void *ctx)
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

void cw_kernel_note_refusal(int failed)
{
    CW_SET(CW_P->view.header->netlink_errno, -failed);
    CW_OR(CW_P->view.header->flags, CW_HEADER_NO_NETLINK);
}
