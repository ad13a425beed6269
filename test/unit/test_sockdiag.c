/* sock_diag answers: well-formed, short, lying; and requests against the kernel of this machine. */
#include "core/sockdiag.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct datagram {
    char bytes[1024];
    size_t n;
};

struct seen {
    unsigned count;
    struct cw_sock last;
    int answer;
};

static int remember(void *ctx, const struct cw_sock *sock)
{
    struct seen *seen = ctx;
    seen->count++;
    seen->last = *sock;
    return seen->answer;
}

static void add_message(struct datagram *to, uint16_t type, const void *payload, size_t n)
{
    struct nlmsghdr header = {.nlmsg_len = (uint32_t)NLMSG_LENGTH(n), .nlmsg_type = type};
    memcpy(to->bytes + to->n, &header, sizeof header);
    memcpy(to->bytes + to->n + NLMSG_HDRLEN, payload, n);
    to->n += NLMSG_SPACE(n);
}

/* A CLOSE_WAIT socket 10.0.0.1:8080 <- 10.0.0.2:51344 with info_bytes of struct tcp_info. */
static void add_socket(struct datagram *to, size_t info_bytes, uint8_t timer)
{
    char payload[512] = {0};
    struct inet_diag_msg msg = {.idiag_family = AF_INET, .idiag_state = TCP_CLOSE_WAIT, .idiag_timer = timer};
    struct tcp_info info = {.tcpi_last_ack_recv = 93000, .tcpi_last_data_sent = 94000, .tcpi_unacked = 3};
    struct rtattr other = {.rta_len = RTA_LENGTH(1), .rta_type = INET_DIAG_SHUTDOWN};
    struct rtattr attribute = {.rta_len = (unsigned short)RTA_LENGTH(info_bytes), .rta_type = INET_DIAG_INFO};
    size_t n = sizeof msg;

    msg.id.idiag_sport = htons(8080);
    msg.id.idiag_dport = htons(51344);
    msg.id.idiag_src[0] = htonl(0x0a000001);
    msg.id.idiag_src[1] = 0xffffffff; /* the kernel leaves these words alone for IPv4 */
    msg.id.idiag_dst[0] = htonl(0x0a000002);
    msg.idiag_inode = 4711;
    msg.idiag_rqueue = 513;
    msg.idiag_wqueue = 7;
    memcpy(payload, &msg, sizeof msg);
    memcpy(payload + n, &other, sizeof other);
    n += RTA_SPACE(1);
    memcpy(payload + n, &attribute, sizeof attribute);
    memcpy(payload + n + RTA_LENGTH(0), &info, info_bytes < sizeof info ? info_bytes : sizeof info);
    n += RTA_SPACE(info_bytes);
    add_message(to, SOCK_DIAG_BY_FAMILY, payload, n);
}

static void reads_a_socket(void **state)
{
    struct datagram datagram = {.n = 0};
    struct seen seen = {0};
    const uint8_t local[16] = {10, 0, 0, 1}, peer[16] = {10, 0, 0, 2};
    int zero = 0;

    (void)state;
    add_socket(&datagram, sizeof(struct tcp_info), 0);
    assert_int_equal(cw_diag_parse(datagram.bytes, datagram.n, remember, &seen), 0);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.last.family, AF_INET);
    assert_int_equal(seen.last.state, TCP_CLOSE_WAIT);
    assert_int_equal(seen.last.protocol, IPPROTO_TCP);
    assert_memory_equal(seen.last.local, local, 16);
    assert_memory_equal(seen.last.peer, peer, 16);
    assert_int_equal(seen.last.local_port, 8080);
    assert_int_equal(seen.last.peer_port, 51344);
    assert_int_equal(seen.last.inode, 4711);
    assert_int_equal(seen.last.recv_q, 513);
    assert_int_equal(seen.last.send_q, 7);
    assert_true(seen.last.has_queues && seen.last.has_info && !seen.last.keepalive);
    assert_int_equal(seen.last.last_ack_recv_ms, 93000);
    assert_int_equal(seen.last.last_data_sent_ms, 94000);
    assert_int_equal(seen.last.unacked, 3);

    add_socket(&datagram, sizeof(struct tcp_info), 2);
    add_message(&datagram, NLMSG_DONE, &zero, sizeof zero);
    add_socket(&datagram, sizeof(struct tcp_info), 0); /* after the end: not for us */
    assert_int_equal(cw_diag_parse(datagram.bytes, datagram.n, remember, &seen), 1);
    assert_int_equal(seen.count, 3);
    assert_true(seen.last.keepalive);
}

static void a_short_tcp_info_of_an_old_kernel(void **state)
{
    struct datagram datagram = {.n = 0};
    struct seen seen = {0};

    (void)state;
    add_socket(&datagram, offsetof(struct tcp_info, tcpi_last_ack_recv) + 4, 0);
    assert_int_equal(cw_diag_parse(datagram.bytes, datagram.n, remember, &seen), 0);
    assert_true(seen.last.has_info);
    assert_int_equal(seen.last.last_ack_recv_ms, 93000);

    datagram.n = 0;
    add_socket(&datagram, offsetof(struct tcp_info, tcpi_last_ack_recv), 0);
    assert_int_equal(cw_diag_parse(datagram.bytes, datagram.n, remember, &seen), 0);
    assert_false(seen.last.has_info);
    assert_int_equal(seen.last.recv_q, 513);
}

static void a_longer_tcp_info_of_a_new_kernel(void **state)
{
    struct datagram datagram = {.n = 0};
    struct seen seen = {0};

    (void)state;
    add_socket(&datagram, 300, 0);
    assert_int_equal(cw_diag_parse(datagram.bytes, datagram.n, remember, &seen), 0);
    assert_true(seen.last.has_info);
    assert_int_equal(seen.last.last_data_sent_ms, 94000);
}

static void refusals(void **state)
{
    struct datagram datagram = {.n = 0};
    struct seen seen = {0};
    struct nlmsgerr error = {.error = -EPERM};
    int done_error = -EACCES;

    (void)state;
    add_message(&datagram, NLMSG_ERROR, &error, sizeof error);
    assert_int_equal(cw_diag_parse(datagram.bytes, datagram.n, remember, &seen), -EPERM);
    datagram.n = 0;
    add_message(&datagram, NLMSG_ERROR, &error, 2);
    assert_int_equal(cw_diag_parse(datagram.bytes, datagram.n, remember, &seen), -EBADMSG);
    datagram.n = 0;
    add_message(&datagram, NLMSG_DONE, &done_error, sizeof done_error);
    assert_int_equal(cw_diag_parse(datagram.bytes, datagram.n, remember, &seen), -EACCES);
    datagram.n = 0;
    add_message(&datagram, NLMSG_DONE, "", 0);
    assert_int_equal(cw_diag_parse(datagram.bytes, datagram.n, remember, &seen), 1);
    assert_int_equal(cw_diag_parse(datagram.bytes, 0, remember, &seen), -EBADMSG);
    assert_int_equal(seen.count, 0);
}

static void the_callback_can_stop(void **state)
{
    struct datagram datagram = {.n = 0};
    struct seen seen = {.answer = -ENOSPC};

    (void)state;
    add_socket(&datagram, 100, 0);
    add_socket(&datagram, 100, 0);
    assert_int_equal(cw_diag_parse(datagram.bytes, datagram.n, remember, &seen), -ENOSPC);
    assert_int_equal(seen.count, 1);
}

/* Every cut and every single changed byte: an answer or -EBADMSG, never a read outside (copied to its exact size, so
 * that a sanitizer would see one). */
static void cut_and_damaged_messages(void **state)
{
    struct datagram datagram = {.n = 0};
    struct seen seen = {0};
    unsigned refused = 0;

    (void)state;
    add_socket(&datagram, sizeof(struct tcp_info), 0);
    for (size_t n = 0; n < datagram.n; n++) {
        char *copy = malloc(n ? n : 1);
        memcpy(copy, datagram.bytes, n);
        assert_int_equal(cw_diag_parse(copy, n, remember, &seen), -EBADMSG);
        free(copy);
    }
    assert_int_equal(seen.count, 0);
    for (size_t i = 0; i < datagram.n; i++) {
        for (unsigned byte = 0; byte < 256; byte += 5) {
            char *copy = malloc(datagram.n);
            memcpy(copy, datagram.bytes, datagram.n);
            copy[i] = (char)byte;
            refused += cw_diag_parse(copy, datagram.n, remember, &seen) == -EBADMSG;
            free(copy);
        }
    }
    assert_true(refused > 100);
}

struct wanted {
    uint16_t local_port, peer_port;
    unsigned hits, others;
    struct cw_sock sock;
};

static int look_for(void *ctx, const struct cw_sock *sock)
{
    struct wanted *wanted = ctx;
    if (sock->local_port == wanted->local_port && sock->peer_port == wanted->peer_port) {
        wanted->hits++;
        wanted->sock = *sock;
    } else {
        wanted->others++;
    }
    return 0;
}

static void dump(uint8_t family, uint32_t states, uint16_t local_port, struct wanted *wanted)
{
    char request[CW_DIAG_REQUEST_BYTES];
    static char answer[65536];
    size_t n = cw_diag_request(request, family, states, local_port);
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG), result = 0;

    assert_true(fd >= 0);
    assert_int_equal(send(fd, request, n, 0), (ssize_t)n);
    while (!result) {
        ssize_t got = recv(fd, answer, sizeof answer, 0);
        assert_true(got > 0);
        result = cw_diag_parse(answer, (size_t)got, look_for, wanted);
    }
    close(fd);
    assert_int_equal(result, 1);
}

/* A socket of our own whose peer has closed with 10 bytes unread, asked for in each of the three ways. */
static void the_kernel_understands_us(void **state)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    socklen_t length = sizeof address;
    struct wanted wanted = {0}, none = {0};
    int on = 1, fd, client, listener = socket(AF_INET6, SOCK_STREAM, 0);
    struct tcp_info info;

    (void)state;
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 4), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    wanted.local_port = ntohs(address.sin6_port);
    client = socket(AF_INET6, SOCK_STREAM, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(client, (struct sockaddr *)&address, &length), 0);
    wanted.peer_port = ntohs(address.sin6_port);
    fd = accept(listener, NULL, NULL);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on), 0);
    assert_int_equal(send(client, "0123456789", 10, 0), 10);
    close(client);
    do {
        length = sizeof info;
        assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length), 0);
    } while (info.tcpi_state != TCP_CLOSE_WAIT);

    dump(AF_INET6, 1u << TCP_CLOSE_WAIT, wanted.local_port, &wanted);
    assert_int_equal(wanted.hits, 1);
    assert_int_equal(wanted.others, 0);
    assert_int_equal(wanted.sock.recv_q, 11);
    assert_int_equal(wanted.sock.state, TCP_CLOSE_WAIT);
    assert_memory_equal(wanted.sock.local, &in6addr_loopback, 16);
    assert_true(wanted.sock.has_info && wanted.sock.keepalive && wanted.sock.inode != 0);
    assert_true(wanted.sock.last_ack_recv_ms < 60000);

    dump(AF_INET6, 1u << TCP_CLOSE_WAIT, 0, &wanted);
    assert_int_equal(wanted.hits, 2);
    dump(AF_UNSPEC, 1u << TCP_CLOSE_WAIT, 0, &wanted); /* both families at once */
    assert_int_equal(wanted.hits, 3);
    assert_int_equal(wanted.sock.family, AF_INET6);
    assert_true(wanted.sock.has_info && wanted.sock.recv_q == 11);
    none.local_port = wanted.local_port;
    dump(AF_INET6, 1u << TCP_CLOSE_WAIT, (uint16_t)(wanted.local_port ^ 1), &none);
    assert_int_equal(none.hits, 0);
    close(fd);
    close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_socket),
        cmocka_unit_test(a_short_tcp_info_of_an_old_kernel),
        cmocka_unit_test(a_longer_tcp_info_of_a_new_kernel),
        cmocka_unit_test(refusals),
        cmocka_unit_test(the_callback_can_stop),
        cmocka_unit_test(cut_and_damaged_messages),
        cmocka_unit_test(the_kernel_understands_us),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
