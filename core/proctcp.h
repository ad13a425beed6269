/* /proc/net/tcp and tcp6: the kernel's list of TCP sockets as text, for where sock_diag may not be used.
 *
 * Slower than sock_diag and without the times of struct tcp_info. Pure: any thread, a signal handler, a forked child.
 * Source: proc(5); get_tcp4_sock and get_tcp6_sock in the kernel's net/ipv4/tcp_ipv4.c and net/ipv6/tcp_ipv6.c. */
#ifndef CORE_PROCTCP_H
#define CORE_PROCTCP_H

#include "core/sockdiag.h"

/* Longest line worth reading, in bytes. */
#define CW_PROCTCP_LINE_BYTES 256

/* Reads one line (n bytes, without its newline) of tcp (AF_INET) or tcp6 (AF_INET6) into *ret: true if it describes a socket,
 * false (with *ret undefined) for the heading and for anything else. */
bool cw_proctcp_line(const char *line, size_t n, uint8_t family, struct cw_sock *ret);

#endif
