/* Asking the kernel about this process's own sockets. Raw system calls; none where a seccomp filter might punish them
 * (cw_kernel_may). Any thread, a signal handler; a forked child. */
#ifndef PRELOAD_KERNEL_H
#define PRELOAD_KERNEL_H

#include "core/sockdiag.h"
#include "preload/state.h"

#include <sys/socket.h>

/* Whether calls beyond the program's own may be made: the program has installed no filter, and the one that was there at
 * start, if any, lets `what` (enum cw_may, 0: only what libc's start makes too) pass. */
bool cw_kernel_may(unsigned what);

/* An int option by getsockopt; false if refused. */
bool cw_kernel_option(int fd, int level, int option, int *ret);

/* fd is a TCP or MPTCP socket of IPv4 or IPv6: its family and protocol (as in struct cw_conn). */
bool cw_kernel_is_tcp(int fd, uint8_t *ret_family, uint8_t *ret_protocol);

/* State and times of fd by TCP_INFO into *ret (state, has_info, last_*, unacked, keepalive); false if refused. For a
 * listener, recv_q and send_q are the connections waiting and the limit. */
bool cw_kernel_tcp_info(int fd, struct cw_sock *ret);

/* The whole of it: tcp_info, addresses and inode. */
bool cw_kernel_sock(int fd, struct cw_sock *ret);

/* The fd's local (peer: remote) address; returns its length, 0 if there is none. */
uint32_t cw_kernel_name(int fd, bool peer, struct sockaddr_storage *ret);

/* The fd's local port, 0 if it has none. */
uint16_t cw_kernel_local_port(int fd);

/* Dumps the TCP sockets of this network namespace that are in CLOSE_WAIT (local_port 0: all ports). 0, or negative errno:
 * then nothing can be said. `each` returns non-zero to stop. */
int cw_kernel_dump_close_wait(uint16_t local_port, int (*each)(void *ctx, const struct cw_sock *sock), void *ctx);

/* Likewise, for all ports, from /proc/self/net/tcp and tcp6: slower and without times, but by calls that no filter minds. */
int cw_kernel_read_close_wait(int (*each)(void *ctx, const struct cw_sock *sock), void *ctx);

/* Writes down that sock_diag answered with this negative errno. */
void cw_kernel_note_refusal(int failed);

/* Calls `each` for every open fd of this process, in ascending order; negative errno if that cannot be read. */
int cw_kernel_each_fd(void (*each)(void *ctx, int fd), void *ctx);

/* The inode of fd if it is a socket, else 0. */
uint32_t cw_kernel_socket_inode(int fd);

/* Copies n bytes of this process's memory that may not be there: false instead of a fault (or if the kernel may not be
 * asked). About 1 µs. */
bool cw_kernel_peek(void *to, const void *from, size_t n);

/* Holds every socket of this process against the kernel (core/truth.h) and judges it with this grace period. Sockets that
 * no hook saw get a record. Where some are in CLOSE_WAIT, what threads and epoll sets are doing is asked as well; at: where
 * a signal has interrupted the calling thread, or NULL. 0, or negative errno when the kernel may not be asked. One thread at
 * a time. */
struct cw_interrupted;
int cw_kernel_check_all(uint32_t grace_ms, const struct cw_interrupted *at);

/* --- parts of that --- */

/* Whether the process has used up its fds: then not even /proc can be opened, and nobody in it can ask who waits in the queues
 * of its listeners. (Its limit is not ours to raise, not even for a moment: another thread's fd would land where a select set
 * ends.) */
bool cw_kernel_no_fds(void);

/* Enters what every thread is doing (k_* of its record), and k_live of the connections in CLOSE_WAIT. */
void cw_kernel_check_threads(uint32_t now_ms, const struct cw_interrupted *at);

/* Enters what epoll sets hold of the sockets that matter (core/fdinfo.h). */
void cw_kernel_check_sets(void);

/* Likewise, of this one alone (an index in SETS). Where cw_kernel_may(0). */
void cw_kernel_check_set(uint32_t index);

#endif
