/* sock_diag(7): builds requests and reads answers, without making a system call itself.
 *
 * Pure: any thread, a signal handler, a forked child. Source: sock_diag(7), the kernel's net/ipv4/inet_diag.c. */
#ifndef CORE_SOCKDIAG_H
#define CORE_SOCKDIAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the kernel says of one TCP socket. Addresses as in struct cw_conn: IPv4 in the first four bytes, ports in host
 * order, an IPv4-mapped address of an AF_INET6 socket stays AF_INET6. */
struct cw_sock {
    uint8_t family, state, protocol; /* state: TCP_* of <netinet/tcp.h>; protocol as in struct cw_conn */
    bool has_queues, has_info, keepalive;
    uint8_t local[16], peer[16];
    uint16_t local_port, peer_port;
    uint32_t inode;          /* 0: belongs to no fd (waiting in an accept queue) or not known */
    uint32_t recv_q, send_q; /* bytes, as ss shows them (listener: waiting, limit) */
    uint32_t last_ack_recv_ms, last_data_sent_ms, unacked; /* has_info: struct tcp_info */
    bool connected_once; /* TCP_INFO of an fd: its peer has acknowledged something of it, or sent something */
};

#define CW_DIAG_REQUEST_BYTES 128

/* Writes a dump request for TCP sockets of family whose state is in the set `states` (1u << TCP_CLOSE_WAIT …), with
 * INET_DIAG_INFO; returns its length. local_port 0: all, else only that local port (filtered by the kernel's bytecode
 * where possible; the reader checks again). family AF_UNSPEC, with local_port 0: both at once, which takes the kernel half of
 * the time. */
size_t cw_diag_request(void *buf, uint8_t family, uint32_t states, uint16_t local_port);

/* Reads one datagram of the answer, calling `each` per socket; returns 1 when the dump is complete, 0 if more follows,
 * negative errno if the kernel refused or the datagram makes no sense. `each` returns non-zero to stop: that is returned. */
int cw_diag_parse(const void *buf, size_t n, int (*each)(void *ctx, const struct cw_sock *sock), void *ctx);

#endif
