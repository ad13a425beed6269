/* Truth: holds the ledger's records against what the kernel says of a process's sockets, and corrects the records.
 *
 * Used by the dying process on its live ledger and by the tool on a private copy. The caller asks the kernel; this decides
 * what each answer means. Pure; one thread at a time per view. */
#ifndef CORE_TRUTH_H
#define CORE_TRUTH_H

#include "core/sockdiag.h"
#include "core/view.h"

struct cw_truth_check {
    struct cw_view *view;
    uint32_t now_ms;
    /* A fresh zeroed record for a socket that no hook saw: its index, or 0 when there is no room. */
    uint32_t (*new_conn)(void *ctx);
    void *ctx;
    uint32_t closes_unseen; /* found by this check */
    uint32_t no_room;       /* sockets that could not be entered */
};

/* Forgets the state that earlier checks left in every record (LATE ones apart). */
void cw_truth_begin(struct cw_truth_check *check);

/* The process has this TCP socket open under n fds (n > 0, lowest first). Once per socket of interest. */
void cw_truth_socket(struct cw_truth_check *check, const int *fds, unsigned n, const struct cw_sock *sock);
static inline void cw_truth_fd(struct cw_truth_check *check, int fd, const struct cw_sock *sock)
{
    cw_truth_socket(check, &fd, 1, sock);
}

/* Last: the records whose fd is closed, or no socket any more, as is_socket says: their close was not seen. */
void cw_truth_gone(struct cw_truth_check *check, bool (*is_socket)(void *ctx, int fd), void *ctx);

/* For a process that was killed, where the kernel cannot be asked any more: a connection whose end of stream was read after
 * the last check (or that was never checked), and that no hook saw closed or shut down, was in CLOSE_WAIT by what is known. */
void cw_truth_by_hooks(struct cw_view *view);

/* A socket without an fd: if one of the ledger's listeners has its local port, it is entered as QUEUED.
 * late: the listener is about to be closed or shut down, which destroys it. Returns whether it was entered. */
int cw_truth_queued(struct cw_truth_check *check, const struct cw_sock *sock, int late);

#endif
