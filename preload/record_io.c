/* Recording: transfers, and interest in them. Waits: record_wait.c. */
#define _GNU_SOURCE
#include "preload/record.h"

#include "preload/close.h"
#include "preload/stack.h"
#include "preload/sweep.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

static int32_t saturated(long result)
{
    if (result < 0)
        return -errno;
    return result > INT32_MAX ? INT32_MAX : (int32_t)result;
}

/* The stack of a touch is taken when it comes from another place than the last one of this connection. */
static void note_place(const struct cw_site *site, struct cw_conn *conn)
{
    if (!cw_conn_same_place(conn, site->ra, site->ra_at))
        cw_conn_moved(conn, site->ra, site->ra_at, cw_stack_capture(site));
}

void cw_record_in(const struct cw_site *site, enum cw_call call, struct cw_conn *conn, long result, unsigned transfer)
{
    uint32_t now_ms = cw_now_ms();
    struct cw_touch touch = {
        .call = (uint8_t)call,
        .transfer = (uint8_t)transfer,
        .result = saturated(result),
        .now_ms = now_ms,
        .thread = cw_thread_active(now_ms),
    };
    note_place(site, conn);
    if (cw_conn_in(conn, &touch)) {
        cw_conn_eof_stack(conn, CW_GET(conn->touch_stack));
        cw_sweep_maybe(now_ms);
    }
}

void cw_record_out(const struct cw_site *site, enum cw_call call, struct cw_conn *conn, long result)
{
    uint32_t now_ms = cw_now_ms();
    struct cw_touch touch = {
        .call = (uint8_t)call, .result = saturated(result), .now_ms = now_ms, .thread = cw_thread_active(now_ms)};
    note_place(site, conn);
    cw_conn_out(conn, &touch);
}

/* Looked at only when the result is 0: then the kernel has read the vector, so it can be read here. */
unsigned cw_transfer_iov(const struct iovec *iov, int n, long result)
{
    if (result != 0)
        return CW_TRANSFER_PLAIN;
    for (int i = 0; i < n; i++)
        if (iov[i].iov_len)
            return CW_TRANSFER_PLAIN;
    return CW_TRANSFER_EMPTY;
}

/* --- messages, and the fds in them --- */

/* Lengths are checked here: some protocols (MPTCP, vsock) send a message without looking at its control data. */
static const struct cmsghdr *rights_of(const struct msghdr *msg, const struct cmsghdr *cmsg)
{
    uintptr_t end = (uintptr_t)msg->msg_control + msg->msg_controllen;
    for (; cmsg; cmsg = CMSG_NXTHDR((struct msghdr *)(uintptr_t)msg, (struct cmsghdr *)(uintptr_t)cmsg)) {
        if (cmsg->cmsg_len < CMSG_LEN(0) || cmsg->cmsg_len > end - (uintptr_t)cmsg)
            return NULL;
        if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS)
            return cmsg;
    }
    return NULL;
}

/* Calls each for every fd in the message's SCM_RIGHTS. */
static void each_right(const struct cw_site *site, const struct msghdr *msg, void (*each)(const struct cw_site *, int))
{
    if (!msg->msg_control || msg->msg_controllen < sizeof(struct cmsghdr))
        return;
    const struct cmsghdr *cmsg = rights_of(msg, CMSG_FIRSTHDR(msg));
    while (cmsg) {
        /* No more than the buffer holds: a socket that knows no control messages has not checked what it was sent. */
        size_t room = msg->msg_controllen - (size_t)((const char *)cmsg - (const char *)msg->msg_control);
        size_t bytes = cmsg->cmsg_len < room ? cmsg->cmsg_len : room;
        size_t n = bytes < CMSG_LEN(0) ? 0 : (bytes - CMSG_LEN(0)) / sizeof(int);
        const unsigned char *data = CMSG_DATA(cmsg);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, data + i * sizeof fd, sizeof fd);
            each(site, fd);
        }
        cmsg = rights_of(msg, CMSG_NXTHDR((struct msghdr *)(uintptr_t)msg, (struct cmsghdr *)(uintptr_t)cmsg));
    }
}

static void received(const struct cw_site *site, int fd)
{
    int saved = errno;
    cw_on_found(site, CW_ORIGIN_RECEIVED, CW_CALL_recvmsg, fd);
    errno = saved;
}

static void sent(const struct cw_site *site, int fd)
{
    struct cw_conn *conn = cw_known_conn(fd);
    if (!conn)
        return;
    cw_conn_passed_on(conn, cw_stack_capture(site), cw_now_ms());
}

void cw_on_recvmsg(const struct cw_site *site, enum cw_call call, int fd, long result, const struct msghdr *msg,
                   int flags)
{
    if (result >= 0)
        each_right(site, msg, received);
    struct cw_conn *conn = cw_known_conn(fd);
    if (conn)
        cw_record_in(site, call, conn, result,
                     cw_transfer(1, flags) | cw_transfer_iov(result == 0 ? msg->msg_iov : NULL,
                                                             result == 0 ? (int)msg->msg_iovlen : 0, result));
}

void cw_on_recvmmsg(const struct cw_site *site, int fd, const struct mmsghdr *msgs, unsigned n, int result, int flags)
{
    for (int i = 0; i < result && (unsigned)i < n; i++)
        each_right(site, &msgs[i].msg_hdr, received);
    struct cw_conn *conn = cw_known_conn(fd);
    if (!conn)
        return;
    long bytes = result;
    unsigned transfer = cw_transfer(1, flags);
    if (result > 0) { /* the last message tells: a 0 there is the end of stream */
        const struct mmsghdr *last = &msgs[result - 1];
        bytes = last->msg_len;
        transfer |= cw_transfer_iov(last->msg_hdr.msg_iov, (int)last->msg_hdr.msg_iovlen, bytes);
    } else if (result == 0) {
        transfer |= CW_TRANSFER_EMPTY;
    }
    cw_record_in(site, CW_CALL_recvmmsg, conn, bytes, transfer);
}

void cw_on_sendmsg(const struct cw_site *site, enum cw_call call, int fd, long result, const struct msghdr *msg)
{
    if (result >= 0)
        each_right(site, msg, sent);
    cw_on_out(site, call, fd, result);
}

void cw_on_sendmmsg(const struct cw_site *site, int fd, const struct mmsghdr *msgs, int result)
{
    for (int i = 0; i < result; i++)
        each_right(site, &msgs[i].msg_hdr, sent);
    cw_on_out(site, CW_CALL_sendmmsg, fd, result);
}

void cw_on_sendto(const struct cw_site *site, int fd, long result, int flags, const struct sockaddr *to, uint32_t len)
{
    struct cw_conn *conn = cw_known_conn(fd);
    if (!conn)
        return;
    if ((flags & MSG_FASTOPEN) && to && !(CW_GET(conn->flags) & CW_CONN_CONNECTED))
        cw_on_connect(site, fd, to, len, result >= 0 ? 0 : -1);
    cw_record_out(site, CW_CALL_sendto, conn, result);
}

void cw_on_splice(const struct cw_site *site, int in, int out, size_t n, long result)
{
    struct cw_conn *conn = cw_known_conn(in);
    if (conn)
        cw_record_in(site, CW_CALL_splice, conn, result, cw_transfer(n, 0));
    conn = cw_known_conn(out);
    if (conn && result != 0)
        cw_record_out(site, CW_CALL_splice, conn, result);
}

/* --- epoll sets --- */

/* The set's index, its record made if this fd was not known to be one; 0 if it cannot be had. */
static uint32_t set_of(int fd)
{
    uint64_t slot = cw_known(fd), old;
    if (CW_SLOT_KIND(slot) == CW_SLOT_SET)
        return CW_SLOT_INDEX(slot);
    if (!cw_may_open() || fd < 0)
        return 0;
    uint32_t index = cw_table_new_set(&cw_table);
    if (!index) {
        cw_count(CW_COUNTER_table_full);
        return 0;
    }
    CW_SET(CW_P->view.sets[index].fd, fd);
    if (cw_table_store(&cw_table, fd, CW_SLOT_SET, index, &old)) {
        cw_table_unref_set(&cw_table, index);
        return 0;
    }
    if (old && !(old & CW_SLOT_CLOSING))
        cw_close_unseen(old);
    return index;
}

/* A set made before the process had a TCP socket gets its record at the first epoll_ctl. */
void cw_on_epoll_create(int fd)
{
    if (fd < 0 || !cw_may_open())
        return;
    cw_on_other_fd(fd);
    set_of(fd);
}

void cw_on_epoll_ctl(const struct cw_site *site, int set, int op, int fd, const struct epoll_event *event, int result)
{
    struct cw_conn *conn = result == 0 ? cw_known_conn(fd) : NULL;
    if (!conn)
        return;
    uint32_t now_ms = cw_now_ms();
    cw_conn_ctl(conn, op, op == EPOLL_CTL_DEL || !event ? 0 : event->events, set, set_of(set), cw_stack_capture(site),
                cw_thread_active(now_ms), now_ms);
}
