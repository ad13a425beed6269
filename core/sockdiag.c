#include "core/sockdiag.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

/* "local port == N" for kernels of any age: at least N, then at most N. A jump past the end by 4 means no. */
struct port_filter {
    struct inet_diag_bc_op at_least, low;
    struct inet_diag_bc_op at_most, high;
};

struct request {
    struct nlmsghdr header;
    struct inet_diag_req_v2 body;
};

/* As kernels had it before families were apart: it answers for both in one walk over all sockets. */
struct old_request {
    struct nlmsghdr header;
    struct inet_diag_req body;
};

/* idiag_timer when what runs is the keep-alive timer; others (retransmit, zero-window probe) hide it. */
enum { TIMER_KEEPALIVE = 2 };

/* As much of struct tcp_info as is used here: old kernels send a shorter one. */
#define INFO_BYTES_NEEDED (offsetof(struct tcp_info, tcpi_last_ack_recv) + sizeof(uint32_t))

static size_t old_request(void *buf, uint32_t states)
{
    struct old_request request;

    memset(&request, 0, sizeof request);
    request.header.nlmsg_len = sizeof request;
    request.header.nlmsg_type = TCPDIAG_GETSOCK;
    request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    request.body.idiag_family = AF_UNSPEC;
    request.body.idiag_ext = 1u << (INET_DIAG_INFO - 1);
    request.body.idiag_states = states;
    request.body.id.idiag_cookie[0] = (uint32_t)INET_DIAG_NOCOOKIE;
    request.body.id.idiag_cookie[1] = (uint32_t)INET_DIAG_NOCOOKIE;
    memcpy(buf, &request, sizeof request);
    return sizeof request;
}

size_t cw_diag_request(void *buf, uint8_t family, uint32_t states, uint16_t local_port)
{
    struct request request;
    size_t n = sizeof request;

    if (family == AF_UNSPEC)
        return old_request(buf, states);
    memset(&request, 0, sizeof request);
    request.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
    request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    request.body.sdiag_family = family;
    request.body.sdiag_protocol = IPPROTO_TCP;
    request.body.idiag_ext = 1u << (INET_DIAG_INFO - 1);
    request.body.idiag_states = states;
    request.body.id.idiag_cookie[0] = (uint32_t)INET_DIAG_NOCOOKIE;
    request.body.id.idiag_cookie[1] = (uint32_t)INET_DIAG_NOCOOKIE;

    if (local_port) {
        const struct port_filter filter = {
            .at_least = {.code = INET_DIAG_BC_S_GE, .yes = 8, .no = sizeof filter + 4},
            .low = {.no = local_port},
            .at_most = {.code = INET_DIAG_BC_S_LE, .yes = 8, .no = sizeof filter / 2 + 4},
            .high = {.no = local_port},
        };
        const struct rtattr attribute = {.rta_len = (unsigned short)RTA_LENGTH(sizeof filter),
                                         .rta_type = INET_DIAG_REQ_BYTECODE};
        memcpy((char *)buf + n, &attribute, sizeof attribute);
        memcpy((char *)buf + n + sizeof attribute, &filter, sizeof filter);
        n += RTA_LENGTH(sizeof filter);
    }
    request.header.nlmsg_len = (uint32_t)n;
    memcpy(buf, &request, sizeof request);
    return n;
}

_Static_assert(sizeof(struct request) + RTA_LENGTH(sizeof(struct port_filter)) <= CW_DIAG_REQUEST_BYTES,
               "a request fits the caller's buffer");

static void take_info(struct cw_sock *sock, const char *bytes, size_t n)
{
    struct tcp_info info;

    if (n < INFO_BYTES_NEEDED)
        return;
    memset(&info, 0, sizeof info);
    memcpy(&info, bytes, n < sizeof info ? n : sizeof info);
    sock->has_info = true;
    sock->last_ack_recv_ms = info.tcpi_last_ack_recv;
    sock->last_data_sent_ms = info.tcpi_last_data_sent;
    sock->unacked = info.tcpi_unacked;
}

/* One socket's message without its netlink header; 0 or -EBADMSG. */
static int take_socket(struct cw_sock *sock, const char *bytes, size_t n)
{
    struct inet_diag_msg msg;
    size_t at = NLMSG_ALIGN(sizeof msg);

    if (n < sizeof msg)
        return -EBADMSG;
    memcpy(&msg, bytes, sizeof msg);
    memset(sock, 0, sizeof *sock);
    sock->family = msg.idiag_family;
    sock->state = msg.idiag_state;
    sock->protocol = IPPROTO_TCP;
    sock->keepalive = msg.idiag_timer == TIMER_KEEPALIVE;
    memcpy(sock->local, msg.id.idiag_src, msg.idiag_family == AF_INET ? 4 : 16);
    memcpy(sock->peer, msg.id.idiag_dst, msg.idiag_family == AF_INET ? 4 : 16);
    sock->local_port = ntohs(msg.id.idiag_sport);
    sock->peer_port = ntohs(msg.id.idiag_dport);
    sock->inode = msg.idiag_inode;
    sock->has_queues = true;
    sock->recv_q = msg.idiag_rqueue;
    sock->send_q = msg.idiag_wqueue;

    while (at < n && n - at >= sizeof(struct rtattr)) {
        struct rtattr attribute;
        memcpy(&attribute, bytes + at, sizeof attribute);
        if (attribute.rta_len < sizeof attribute || attribute.rta_len > n - at)
            return -EBADMSG;
        if (attribute.rta_type == INET_DIAG_INFO)
            take_info(sock, bytes + at + RTA_LENGTH(0), attribute.rta_len - RTA_LENGTH(0));
        at += RTA_ALIGN(attribute.rta_len);
    }
    return 0;
}

/* The error number that opens an NLMSG_ERROR, or ends a dump: negative errno, 0 where there is none. */
static int take_error(const char *bytes, size_t n)
{
    int error = 0;

    if (n >= sizeof error)
        memcpy(&error, bytes, sizeof error);
    return error < 0 ? error : 0;
}

int cw_diag_parse(const void *buf, size_t n, int (*each)(void *ctx, const struct cw_sock *sock), void *ctx)
{
    const char *bytes = buf;
    size_t at = 0;

    if (n < sizeof(struct nlmsghdr))
        return -EBADMSG;
    while (at < n && n - at >= sizeof(struct nlmsghdr)) {
        struct nlmsghdr header;
        memcpy(&header, bytes + at, sizeof header);
        if (header.nlmsg_len < sizeof header || header.nlmsg_len > n - at)
            return -EBADMSG;
        const char *payload = bytes + at + NLMSG_HDRLEN;
        size_t payload_bytes = header.nlmsg_len - NLMSG_HDRLEN;

        if (header.nlmsg_type == NLMSG_DONE) {
            int error = take_error(payload, payload_bytes);
            return error ? error : 1;
        }
        if (header.nlmsg_type == NLMSG_ERROR)
            return payload_bytes >= sizeof(int) ? take_error(payload, payload_bytes) : -EBADMSG;
        if (header.nlmsg_type == SOCK_DIAG_BY_FAMILY || header.nlmsg_type == TCPDIAG_GETSOCK) {
            struct cw_sock sock;
            int result = take_socket(&sock, payload, payload_bytes);
            if (!result)
                result = each(ctx, &sock);
            if (result)
                return result;
        }
        at += NLMSG_ALIGN(header.nlmsg_len);
    }
    return 0;
}
