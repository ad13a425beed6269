/* Recording: how sockets come and multiply. Transfers and waits: record_io.c; threads: thread.c. */
#define _GNU_SOURCE
#include "preload/record.h"

#include "preload/close.h"
#include "preload/fork.h"
#include "preload/kernel.h"
#include "preload/ledger_file.h"
#include "preload/signals.h"
#include "preload/stack.h"
#include "preload/start.h"
#include "preload/sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* The view is the process's: it reads zero, that is empty, in a forked child. */
const struct cw_table cw_table = {
    .view = &cw_process_page.process.view,
    .slots_ready = &cw_process_page.process.slots_ready,
    .reserve = cw_ledger_reserve,
};

bool cw_recording_late(int fd)
{
    return cw_fork_knows(fd) && !cw_vforked() && cw_start();
}

bool cw_may_open(void)
{
    if (!CW_GET(CW_P->live))
        return false;
    return !cw_vforked();
}

void cw_count(enum cw_counter counter)
{
    struct cw_ledger *header = CW_P->view.header;
    if (header)
        CW_ADD(header->counters[counter], 1);
}

/* --- opening --- */

static uint32_t forks_so_far(void)
{
    return (uint32_t)CW_GET(CW_P->view.header->counters[CW_COUNTER_forks]);
}

/* What stood in a slot when something else was put there: its reference is ours unless a closer has it. */
static void displaced(uint64_t old)
{
    if (old && !(old & CW_SLOT_CLOSING))
        cw_close_unseen(old);
}

/* A new record, not yet anybody's: fill it in, then give fd to it. NULL when there is no room. */
static struct cw_conn *new_conn(void)
{
    uint32_t index = cw_table_new_conn(&cw_table);
    if (!index)
        cw_count(CW_COUNTER_table_full);
    return index ? &CW_P->view.conns[index] : NULL;
}

/* Last: from here on other threads may find the record, and one that closes the number by mistake may give it back. */
static bool publish(struct cw_conn *conn, int fd)
{
    uint32_t index = (uint32_t)(conn - CW_P->view.conns);
    uint64_t old;
    if (cw_table_store(&cw_table, fd, CW_SLOT_CONN, index, &old)) {
        cw_table_free_conn(&cw_table, index);
        cw_count(CW_COUNTER_table_full);
        return false;
    }
    CW_ADD(CW_P->conns_open, 1);
    displaced(old);
    return true;
}

void cw_on_other_fd(int fd)
{
    if (fd < 0 || !cw_may_open())
        return;
    uint64_t slot = cw_table_slot(&cw_table, fd);
    if (slot && !(slot & CW_SLOT_CLOSING)) {
        uint64_t marked = cw_table_mark_closing(&cw_table, fd);
        if (marked) {
            cw_table_clear(&cw_table, fd, marked);
            cw_close_unseen(marked);
        }
    }
}

void cw_on_other_fds(const int *fds, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        cw_on_other_fd(fds[i]);
}

void cw_on_socket(const struct cw_site *site, enum cw_call call, int fd, int domain, int type, int protocol)
{
    if (fd < 0)
        return;
    bool tcp = (domain == AF_INET || domain == AF_INET6) && (type & 0xF) == SOCK_STREAM &&
               (protocol == 0 || protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP);
    if (!tcp) {
        cw_on_other_fd(fd);
        return;
    }
    if (cw_vforked() || !cw_start())
        return;
    struct cw_conn *conn = new_conn();
    if (!conn)
        return;
    uint32_t now_ms = cw_now_ms();
    CW_SET(conn->family, (uint8_t)domain);
    CW_SET(conn->protocol, protocol == IPPROTO_MPTCP ? 255 : IPPROTO_TCP);
    cw_conn_open(conn, CW_ORIGIN_SOCKET, call, fd, cw_stack_capture(site), cw_thread_active(now_ms), forks_so_far(),
                 now_ms);
    publish(conn, fd);
}

static void connection_opened(enum cw_counter how)
{
    cw_count(CW_COUNTER_connections);
    cw_count(how);
}

void cw_on_accept(const struct cw_site *site, enum cw_call call, int listener_fd, int fd, const struct sockaddr *peer,
                  uint32_t len)
{
    struct cw_conn *listener = cw_known_conn(listener_fd);
    if (!listener) {
        /* A listener that no hook saw being opened, or no TCP one. */
        int saved = errno;
        bool unix_peer = len >= sizeof(sa_family_t) && peer->sa_family != AF_INET && peer->sa_family != AF_INET6;
        if (fd >= 0 && !unix_peer)
            cw_on_found(site, CW_ORIGIN_ACCEPT, call, fd);
        else
            cw_on_other_fd(fd);
        errno = saved;
        return;
    }
    uint32_t now_ms = cw_now_ms(), thread = cw_thread_active(now_ms);
    int32_t result = fd >= 0 ? fd : -errno;
    uint32_t stack = fd >= 0 || cw_conn_accept_fails(listener, result) ? cw_stack_capture(site) : 0;
    struct cw_touch touch = {.call = (uint8_t)call, .result = result, .now_ms = now_ms, .thread = thread};
    cw_conn_accepted(listener, &touch, stack);
    if (fd < 0)
        return;
    struct cw_conn *conn = new_conn();
    if (!conn)
        return;
    CW_SET(conn->protocol, CW_GET(listener->protocol));
    CW_SET(conn->family, CW_GET(listener->family));
    __builtin_memcpy(conn->local, listener->local, sizeof conn->local);
    CW_SET(conn->local_port, CW_GET(listener->local_port));
    struct sockaddr_storage name;
    if (len == 0) { /* cut off by the caller's buffer, or not asked for */
        len = cw_kernel_name(fd, true, &name);
        peer = (const struct sockaddr *)&name;
    }
    cw_conn_set_peer(conn, peer, len);
    cw_conn_open(conn, CW_ORIGIN_ACCEPT, call, fd, stack, thread, forks_so_far(), now_ms);
    if (publish(conn, fd))
        connection_opened(CW_COUNTER_accepted);
    cw_tls.accepted = (uint32_t)(conn - CW_P->view.conns);
    cw_sweep_maybe(now_ms);
}

static void set_local(struct cw_conn *conn, int fd)
{
    struct sockaddr_storage local;
    uint32_t len = cw_kernel_name(fd, false, &local);
    if (len)
        cw_conn_set_local(conn, (const struct sockaddr *)&local, len);
}

void cw_on_connect(const struct cw_site *site, int fd, const struct sockaddr *peer, uint32_t len, int result)
{
    struct cw_conn *conn = cw_known_conn(fd);
    if (!conn || (CW_GET(conn->flags) & (CW_CONN_LISTENER | CW_CONN_CONNECTED)))
        return;
    /* EINTR: the connection goes on being made (connect(2)). */
    if (result != 0 && errno != EINPROGRESS && errno != EINTR)
        return;
    uint32_t now_ms = cw_now_ms();
    cw_conn_set_peer(conn, peer, len);
    set_local(conn, fd);
    cw_conn_connected(conn, cw_stack_capture(site), cw_thread_active(now_ms), forks_so_far(), now_ms);
    connection_opened(CW_COUNTER_connected);
}

void cw_on_bind(int fd, const struct sockaddr *local, uint32_t len, int result)
{
    struct cw_conn *conn = result == 0 ? cw_known_conn(fd) : NULL;
    if (conn)
        cw_conn_set_local(conn, local, len);
}

void cw_on_listen(const struct cw_site *site, int fd, int result)
{
    struct cw_conn *conn = result == 0 ? cw_known_conn(fd) : NULL;
    if (!conn || (CW_GET(conn->flags) & CW_CONN_LISTENER))
        return;
    set_local(conn, fd);
    CW_SET(conn->open_call, CW_CALL_listen);
    CW_SET(conn->open_stack, cw_stack_capture(site));
    CW_OR(conn->flags, CW_CONN_LISTENER);
    CW_ADD(CW_P->view.header->listeners, 1);
    CW_SET(CW_P->view.header->listeners_closed_ms, 0);
}

void cw_on_found(const struct cw_site *site, enum cw_origin origin, enum cw_call call, int fd)
{
    struct cw_sock sock;
    uint8_t family, protocol;
    if (fd < 0 || cw_static.disabled || CW_GET(CW_P->off) || cw_vforked())
        return;
    if (!cw_kernel_is_tcp(fd, &family, &protocol)) {
        cw_on_other_fd(fd);
        return;
    }
    if (!cw_start() || !cw_kernel_sock(fd, &sock))
        return;
    struct cw_conn *conn = new_conn();
    if (!conn)
        return;
    uint32_t now_ms = cw_now_ms();
    CW_SET(conn->family, family);
    CW_SET(conn->protocol, protocol);
    __builtin_memcpy(conn->local, sock.local, sizeof conn->local);
    __builtin_memcpy(conn->peer, sock.peer, sizeof conn->peer);
    CW_SET(conn->local_port, sock.local_port);
    CW_SET(conn->peer_port, sock.peer_port);
    CW_SET(conn->inode, sock.inode);
    uint32_t stack = site ? cw_stack_capture(site) : 0;
    cw_conn_open(conn, origin, call, fd, stack, cw_thread_active(now_ms), forks_so_far(), now_ms);
    bool listens = sock.state == 10 /* TCP_LISTEN */;
    if (listens)
        CW_OR(conn->flags, CW_CONN_LISTENER);
    else if (sock.peer_port)
        CW_OR(conn->flags, CW_CONN_CONNECTED);
    if (!publish(conn, fd))
        return;
    if (listens) {
        CW_ADD(CW_P->view.header->listeners, 1);
    } else if (sock.peer_port) {
        /* One that came by exec or SCM_RIGHTS was accepted or connected elsewhere. */
        cw_count(CW_COUNTER_connections);
        if (origin == CW_ORIGIN_ACCEPT)
            cw_count(CW_COUNTER_accepted);
    }
}

/* --- copying --- */

void cw_on_dup(const struct cw_site *site, enum cw_call call, int fd, int copy)
{
    if (copy < 0 || copy == fd)
        return;
    uint64_t slot = cw_known(fd), old;
    if (!slot) {
        cw_on_other_fd(copy);
        return;
    }
    uint32_t index = CW_SLOT_INDEX(slot);
    if (CW_SLOT_KIND(slot) == CW_SLOT_SET) {
        CW_ADD(CW_P->view.sets[index].refs, 1);
        if (cw_table_store(&cw_table, copy, CW_SLOT_SET, index, &old))
            cw_table_unref_set(&cw_table, index);
        else
            displaced(old);
        return;
    }
    struct cw_conn *conn = &CW_P->view.conns[index];
    cw_table_ref_conn(&cw_table, index);
    if (cw_table_store(&cw_table, copy, CW_SLOT_CONN, index, &old)) {
        cw_table_unref_conn(&cw_table, index);
        cw_count(CW_COUNTER_table_full);
        return;
    }
    displaced(old);
    (void)call;
    CW_OR(conn->flags, CW_CONN_COPIED);
    CW_SET(conn->copy_stack, cw_stack_capture(site));
}

void cw_on_fdopen(int fd, bool opened)
{
    struct cw_conn *conn = opened ? cw_known_conn(fd) : NULL;
    if (conn)
        CW_OR(conn->flags, CW_CONN_STDIO);
}

void cw_on_shutdown(const struct cw_site *site, int fd, int how, int result)
{
    struct cw_conn *conn = result == 0 ? cw_known_conn(fd) : NULL;
    if (!conn)
        return;
    cw_conn_shutdown(conn, how, cw_stack_capture(site), cw_now_ms());
}

void cw_on_dlclose(int result)
{
    if (result == 0)
        cw_stack_code_unloaded();
}
