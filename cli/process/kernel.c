#include "cli/process/kernel.h"

#include "cli/ledger/find.h"
#include "cli/process/sets.h"
#include "cli/process/sock_dump.h"
#include "core/names.h"
#include "core/truth.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* IPPROTO_MPTCP as struct cw_conn has it. */
enum { MPTCP_IN_RECORDS = 255 };

/* The first of the fds on this inode in the sorted list, and how many there are. */
static size_t find_inode(const struct cw_proc_socket *sockets, size_t count, uint32_t inode, size_t *ret_first)
{
    size_t low = 0, high = count, n = 0;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (sockets[middle].inode < inode)
            low = middle + 1;
        else
            high = middle;
    }
    while (low + n < count && sockets[low + n].inode == inode)
        n++;
    *ret_first = low;
    return n;
}

enum { FDS_MAX = 64 };

/* The fds of an inode, lowest first: how many, at most FDS_MAX. */
static unsigned fds_of(const struct cw_proc_socket *sockets, size_t count, uint32_t inode, int fds[FDS_MAX])
{
    size_t first, n = find_inode(sockets, count, inode, &first);

    if (n > FDS_MAX)
        n = FDS_MAX;
    for (size_t i = 0; i < n; i++)
        fds[i] = sockets[first + i].fd;
    return (unsigned)n;
}

static void correct(struct cw_truth_check *check, const struct cw_sock_dump *dump, const struct cw_proc_socket *sockets,
                    size_t count)
{
    int fds[FDS_MAX];

    cw_truth_begin(check);
    /* A listener's Recv-Q and Send-Q are the length and the limit of its accept queue. */
    for (size_t i = 0; i < dump->count; i++)
        if (dump->socks[i].state == TCP_LISTEN && dump->socks[i].inode)
            for (unsigned n = fds_of(sockets, count, dump->socks[i].inode, fds); n--;)
                cw_truth_listener(check, fds[n], &dump->socks[i]);
    for (size_t i = 0; i < dump->count; i++) {
        const struct cw_sock *sock = &dump->socks[i];
        if (sock->state != TCP_CLOSE_WAIT)
            continue;
        unsigned n = sock->inode ? fds_of(sockets, count, sock->inode, fds) : 0;
        if (!sock->inode)
            cw_truth_queued(check, sock, 0);
        else if (n)
            cw_truth_socket(check, fds, n, sock);
    }
}

/* --- connections that have failed: the kernel lists no socket in state CLOSE --- */

static int by_inode(const void *a, const void *b)
{
    const struct cw_sock *x = a, *y = b;
    return (x->inode > y->inode) - (x->inode < y->inode);
}

/* Whether this is a connection by its record, and none of the states found so far is its. No dump has MPTCP sockets. */
static bool is_stateless(const struct cw_view *view, const struct cw_proc_socket *socket)
{
    const uint32_t yes = CW_CONN_IN_USE | CW_CONN_CONNECTED, no = CW_CONN_LISTENER | CW_CONN_LATE | CW_CONN_GONE;
    uint64_t slot = (uint32_t)socket->fd < view->n_slots ? view->slots[socket->fd] : 0;
    const struct cw_conn *conn = CW_SLOT_KIND(slot) == CW_SLOT_CONN ? cw_view_conn(view, CW_SLOT_INDEX(slot)) : NULL;

    return conn && !(slot & CW_SLOT_CLOSING) && (conn->flags & (yes | no)) == yes && !conn->k_state &&
           conn->protocol != MPTCP_IN_RECORDS;
}

static bool still_open(pid_t pid, const struct cw_proc_socket *socket)
{
    char path[64], target[64], expected[64];
    ssize_t n;

    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, socket->fd);
    snprintf(expected, sizeof expected, "socket:[%u]", socket->inode);
    n = readlink(path, target, sizeof target - 1);
    if (n <= 0)
        return false;
    target[n] = 0;
    return !strcmp(target, expected);
}

/* Asks again, for all states, after the fds were listed: a socket that was open then, is open still and is not in this
 * dump has failed. */
static int enter_failed(struct cw_truth_check *check, pid_t pid, const struct cw_proc_socket *sockets, size_t count)
{
    struct cw_sock_dump dump = {0};
    bool any = false;
    int error = 0, fds[FDS_MAX];

    for (size_t i = 0; i < count && !any; i++)
        any = is_stateless(check->view, &sockets[i]);
    if (any)
        error = cw_sock_dump(&dump, pid, CW_SOCK_STATES_ANY);
    if (dump.count)
        qsort(dump.socks, dump.count, sizeof *dump.socks, by_inode);
    for (size_t i = 0; any && !error && i < count; i++) {
        const struct cw_sock wanted = {.inode = sockets[i].inode};
        if (!is_stateless(check->view, &sockets[i]) ||
            (dump.count && bsearch(&wanted, dump.socks, dump.count, sizeof wanted, by_inode)) ||
            !still_open(pid, &sockets[i]))
            continue;
        unsigned n = fds_of(sockets, count, wanted.inode, fds);
        cw_truth_failed(check, fds, n, wanted.inode, 0);
    }
    free(dump.socks);
    return error;
}

struct open_fds {
    const struct cw_proc_socket *sockets;
    size_t count;
};

static bool is_socket(void *ctx, int fd)
{
    const struct open_fds *open_fds = ctx;

    /* Asked only for records without a state, that is seldom for many. */
    for (size_t i = 0; i < open_fds->count; i++)
        if (open_fds->sockets[i].fd == fd)
            return true;
    return false;
}

/* Whether the process that it was forked from is still its parent, and reports: one that has not touched a socket since its own
 * fork, as daemons are made, has no ledger. */
static bool parent_lives(const struct cw_ledger *header, const struct cw_proc *proc)
{
    struct cw_proc parent;
    struct cw_found found;

    if (!(header->flags & CW_HEADER_FORKED) || proc->ppid <= 1 || cw_proc_inner_pid(proc->ppid) != header->ppid ||
        cw_proc_read(&parent, proc->ppid) < 0)
        return false;
    int refused = cw_find_mapped(&parent, &found);
    if (refused == 0)
        close(found.fd);
    return refused == 0;
}

int cw_kernel_check(struct cw_load *load, const struct cw_proc *proc, uint32_t now_ms, char *why, size_t why_bytes)
{
    struct cw_ledger *header = load->view.header;
    struct cw_truth_check check = {.view = &load->view,
                                   .now_ms = now_ms,
                                   .new_conn = cw_load_new_conn,
                                   .ctx = load,
                                   .parent_lives = parent_lives(header, proc)};
    struct cw_proc_socket *sockets = NULL;
    struct cw_sock_dump dump = {0};
    size_t count = 0;
    int error;

    /* The dump comes first: a socket that is opened in between then has no state, instead of a state without an fd. */
    error = cw_sock_dump(&dump, proc->pid, CW_SOCK_STATES_REPORTED);
    if (error) {
        snprintf(why, why_bytes, "the kernel does not list the sockets of pid %d (%s%s)", (int)proc->pid,
                 strerror(-error),
                 error == -EPERM || error == -EACCES ? ": run as root, in its network namespace" : "");
        goto done;
    }
    error = cw_proc_sockets(proc->pid, &sockets, &count);
    if (error) {
        snprintf(why, why_bytes, "/proc/%d/fd cannot be read (%s): %s", (int)proc->pid, strerror(-error),
                 error == -EACCES || error == -EPERM
                     ? "that takes the same user id and a dumpable process, or CAP_SYS_PTRACE: run as root"
                     : "has it just ended?");
        goto done;
    }
    correct(&check, &dump, sockets, count);
    error = enter_failed(&check, proc->pid, sockets, count);
    if (error) /* the rest stands */
        snprintf(load->remark, sizeof load->remark, "failed connections are left out: %s", strerror(-error));
    error = 0;
    cw_sets_check(&load->view, proc);
    cw_truth_gone(&check, is_socket, &(struct open_fds){.sockets = sockets, .count = count});
    header->counters[CW_COUNTER_closes_unseen] += check.closes_unseen;
    header->truth = CW_TRUTH_KERNEL;
    header->truth_ms = now_ms;
    header->flags &= ~(uint32_t)CW_HEADER_NO_NETLINK;
    if (dump.refused) {
        header->flags |= CW_HEADER_NO_NETLINK;
        header->netlink_errno = -dump.refused;
    }
    if (dump.refused && !load->remark[0])
        snprintf(load->remark, sizeof load->remark,
                 "no sock_diag (%s): /proc/%d/net/tcp was read instead, which does not say since when%s",
                 cw_errno_name(-dump.refused) ? cw_errno_name(-dump.refused) : strerror(-dump.refused), (int)proc->pid,
                 dump.refused == -EPERM ? " (its network namespace takes CAP_SYS_ADMIN)" : "");
    if (check.no_room)
        snprintf(load->remark, sizeof load->remark, "%u sockets that no hook saw are left out: too many",
                 check.no_room);
done:
    free(dump.socks);
    free(sockets);
    return error ? -1 : 0;
}

int cw_kernel_list_close_wait(pid_t pid, struct cw_sock **ret, size_t *ret_count)
{
    return cw_kernel_list(pid, 1u << TCP_CLOSE_WAIT, ret, ret_count);
}

int cw_kernel_list(pid_t pid, uint32_t states, struct cw_sock **ret, size_t *ret_count)
{
    struct cw_sock_dump dump = {0};
    int error = cw_sock_dump(&dump, pid, states);

    if (error) {
        free(dump.socks);
        return error;
    }
    *ret = dump.socks;
    *ret_count = dump.count;
    return 0;
}
