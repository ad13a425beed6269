/* Truth: holds the ledger's records against what the kernel says of a process's sockets, and corrects the records.
 *
 * Used by the dying process on its live ledger and by the tool on a private copy. The caller asks the kernel; this decides
 * what each answer means. Pure; one thread at a time per view. */
#ifndef CORE_TRUTH_H
#define CORE_TRUTH_H

#include "core/atomic.h"
#include "core/sockdiag.h"
#include "core/view.h"

enum { CW_TRUTH_LISTENERS = 64 };

struct cw_truth_check {
    struct cw_view *view;
    uint32_t now_ms;
    /* A fresh zeroed record for a socket that no hook saw: its index, or 0 when there is no room. */
    uint32_t (*new_conn)(void *ctx);
    void *ctx;
    bool parent_lives; /* the process that this one was forked from: what waits at inherited listeners it reports */
    uint32_t closes_unseen; /* found by this check */
    uint32_t no_room;       /* sockets that could not be entered */
    bool gathered;          /* the rest: the listeners, gathered at the first queued socket */
    uint32_t n_listeners, listeners[CW_TRUTH_LISTENERS];
    uint32_t entered[CW_TRUTH_LISTENERS]; /* sockets put into the queue of each */
};

/* Forgets the state that earlier checks left in every record (LATE ones apart). */
void cw_truth_begin(struct cw_truth_check *check);

/* The process has this TCP socket open under n fds (n > 0, lowest first). Once per socket of interest. */
void cw_truth_socket(struct cw_truth_check *check, const int *fds, unsigned n, const struct cw_sock *sock);
static inline void cw_truth_fd(struct cw_truth_check *check, int fd, const struct cw_sock *sock)
{
    cw_truth_socket(check, &fd, 1, sock);
}

/* The process has this socket, which was connected and is in state CLOSE now, open under n fds; it has no remote address any
 * more. local_port 0: not known. Whether a record could be its own and did not say otherwise yet. */
bool cw_truth_failed(struct cw_truth_check *check, const int *fds, unsigned n, uint32_t inode, uint16_t local_port);

/* Whether state CLOSE is the orderly end of shutdown() and no failure. */
static inline bool cw_truth_shut_down(const struct cw_conn *conn)
{
    const uint32_t failed = CW_CONN_IN_FAILED | CW_CONN_OUT_FAILED;
    return (CW_GET(conn->flags) & (CW_CONN_SHUT_WR | failed)) == CW_CONN_SHUT_WR;
}

/* Without sock_diag: the queues of a socket that cw_truth_socket was told of without them, by its inode. */
void cw_truth_queues(struct cw_truth_check *check, int fd, const struct cw_sock *sock);

/* What the kernel says of a listener at fd: its queue. Before the first cw_truth_queued. */
void cw_truth_listener(struct cw_truth_check *check, int fd, const struct cw_sock *sock);

/* Last: the records whose fd is closed, or no socket any more, as is_socket says: their close was not seen. */
void cw_truth_gone(struct cw_truth_check *check, bool (*is_socket)(void *ctx, int fd), void *ctx);

/* For a process that was killed, where the kernel cannot be asked any more: a connection whose end of stream was read after
 * the last check (or that was never checked), and that no hook saw closed or shut down, was in CLOSE_WAIT by what is known. */
void cw_truth_by_hooks(struct cw_view *view);

/* A socket without an fd: if it can be in the queue of one of the ledger's listeners, it is entered as QUEUED. Whose
 * queue it is in is not told when others listen on the port too (SO_REUSEPORT): no more are entered than the queues
 * hold, and where there are more the listeners are marked with CW_K_PORT_SHARED. Queues are filled in the order of
 * the records. late: the listener is about to be closed or shut down, which destroys it; all that can be in its
 * queue are entered. Returns whether it was entered. */
int cw_truth_queued(struct cw_truth_check *check, const struct cw_sock *sock, int late);

#endif
