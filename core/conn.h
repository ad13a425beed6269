/* Connections: what each event does to a record. This is what is known of a socket; core/diagnose.c lives on it.
 *
 * Every function here takes one record and the time and only stores fields (relaxed atomics): any thread, a signal handler.
 * Who called, from where and on which fd is the recorder's business (preload/record.c). */
#ifndef CORE_CONN_H
#define CORE_CONN_H

#include "include/cwguard_ledger.h"

#include <stdbool.h>
#include <stdint.h>

/* How a transfer was asked for, as far as its result means something else because of it. */
enum cw_transfer {
    CW_TRANSFER_PLAIN = 0,
    CW_TRANSFER_PEEK = 1,  /* MSG_PEEK: a 0 has seen the end of stream, not consumed it */
    CW_TRANSFER_EMPTY = 2, /* asked for no bytes (or only for the error queue): a 0 says nothing */
};

/* A transfer and where it came from. */
struct cw_touch {
    uint8_t call;     /* enum cw_call */
    uint8_t transfer; /* enum cw_transfer */
    int32_t result;   /* bytes, saturated, or negative errno */
    uint32_t now_ms;
    uint32_t thread; /* thread reference */
};

/* Sets addresses from a sockaddr of len bytes; others than AF_INET and AF_INET6 are ignored. */
struct sockaddr;
void cw_conn_set_peer(struct cw_conn *conn, const struct sockaddr *address, uint32_t len);
void cw_conn_set_local(struct cw_conn *conn, const struct sockaddr *address, uint32_t len);

/* The record begins: it becomes visible to sweeps. Before a slot refers to it (cw_table_store): afterwards another thread
 * may free it at any moment, and a freed record must not come back into use. */
void cw_conn_open(struct cw_conn *conn, enum cw_origin origin, enum cw_call call, int fd, uint32_t stack,
                  uint32_t thread, uint32_t fork_seq, uint32_t now_ms);

/* The socket connects: connect succeeded or is under way. */
void cw_conn_connected(struct cw_conn *conn, uint32_t stack, uint32_t thread, uint32_t fork_seq, uint32_t now_ms);

/* Whether this touch comes from another place than the last one (then its stack is worth capturing). */
static inline bool cw_conn_same_place(const struct cw_conn *conn, uint64_t ra, uint64_t sp)
{
    return __atomic_load_n(&conn->touch_ra, __ATOMIC_RELAXED) == ra &&
           __atomic_load_n(&conn->touch_sp, __ATOMIC_RELAXED) == (uint32_t)sp;
}
void cw_conn_moved(struct cw_conn *conn, uint64_t ra, uint64_t sp, uint32_t stack);

/* A read returned. True when it is the first to have met the end of stream: then cw_conn_eof_stack should follow. */
bool cw_conn_in(struct cw_conn *conn, const struct cw_touch *touch);
void cw_conn_eof_stack(struct cw_conn *conn, uint32_t stack);

/* A write returned. */
void cw_conn_out(struct cw_conn *conn, const struct cw_touch *touch);

/* accept on a listener returned: kept where other sockets keep their reads. A failure for want of an fd or of memory stays
 * on record, with the stack of the first such call, until an accept succeeds: the tries in between that find an empty queue
 * say nothing. stack: 0 where none was taken; one is asked for after a success or when cw_conn_accept_fails is true. */
void cw_conn_accepted(struct cw_conn *listener, const struct cw_touch *touch, uint32_t stack);

/* Whether this result of accept (negative errno) is the first of a row of such failures. Before cw_conn_accepted. */
bool cw_conn_accept_fails(const struct cw_conn *listener, int32_t result);

/* epoll_ctl succeeded. op, mask: as in epoll_ctl(2); set: index in SETS. */
void cw_conn_ctl(struct cw_conn *conn, int op, uint32_t mask, int epoll_fd, uint32_t set, uint32_t stack,
                 uint32_t thread, uint32_t now_ms);

/* It was in a poll or select set of this thread. asked, revents: POLL* bits (for select those that its sets stand for);
 * revents 0 if nothing was delivered. True when this is the first delivery of the peer's end or of data that is not yet
 * followed by a read: then cw_conn_event_stack should follow. */
bool cw_conn_polled(struct cw_conn *conn, enum cw_call call, unsigned asked, unsigned revents, uint32_t thread,
                    uint32_t now_ms);
void cw_conn_event_stack(struct cw_conn *conn, uint32_t stack);

/* shutdown succeeded; how as in shutdown(2). */
void cw_conn_shutdown(struct cw_conn *conn, int how, uint32_t stack, uint32_t now_ms);

/* One of several fds for it was closed. */
void cw_conn_copy_closed(struct cw_conn *conn, uint32_t stack, uint32_t now_ms);

/* A message with SCM_RIGHTS passed it on to another process. */
void cw_conn_passed_on(struct cw_conn *conn, uint32_t stack, uint32_t now_ms);

/* Copied for a forked child: keeps what the socket is and where it was opened, forgets what the parent did with it. */
void cw_conn_forked(struct cw_conn *conn);

#endif
