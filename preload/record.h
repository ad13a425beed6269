/* Recording: from a call that returned to facts in the ledger.
 *
 * The wrappers call one cw_on_… after the real call; these know no libc name. They take the fd, the result (negative: the
 * error is in errno) and the caller's site, and do nothing unless this process is being recorded and the fd is known or
 * opens a TCP socket. None changes errno, allocates, locks or blocks. Any thread, a signal handler; in a vfork child they
 * do nothing. */
#ifndef PRELOAD_RECORD_H
#define PRELOAD_RECORD_H

#include "core/conn.h"
#include "core/table.h"
#include "preload/state.h"
#include "preload/thread.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>

extern const struct cw_table cw_table __attribute__((visibility("hidden")));

/* Out of line: the process is not recorded yet. Whether it is after all (a forked child touching a parent's socket). */
bool cw_recording_late(int fd);
/* What fd is known to be: the slot's word, 0 when nothing is to be recorded. */
static inline uint64_t cw_known(int fd)
{
    if (!CW_GET(CW_P->live) && !cw_recording_late(fd))
        return 0;
    uint64_t slot = cw_table_slot(&cw_table, fd);
    if (slot && cw_vforked())
        return 0;
    return slot;
}

static inline struct cw_conn *cw_known_conn(int fd)
{
    uint64_t slot = cw_known(fd);
    return CW_SLOT_KIND(slot) == CW_SLOT_CONN ? &CW_P->view.conns[CW_SLOT_INDEX(slot)] : NULL;
}

/* Whether this process is recorded and this is not a vfork child: for calls that open something. */
bool cw_may_open(void);

void cw_count(enum cw_counter counter);

/* --- opening --- */
void cw_on_socket(const struct cw_site *site, enum cw_call call, int fd, int domain, int type, int protocol);
void cw_on_other_fd(int fd); /* fd was opened as something that is not watched */
void cw_on_other_fds(const int *fds, unsigned n);
void cw_on_accept(const struct cw_site *site, enum cw_call call, int listener, int fd, const struct sockaddr *peer,
                  uint32_t len);
void cw_on_connect(const struct cw_site *site, int fd, const struct sockaddr *peer, uint32_t len, int result);
void cw_on_bind(int fd, const struct sockaddr *local, uint32_t len, int result);
void cw_on_listen(const struct cw_site *site, int fd, int result);
void cw_on_dup(const struct cw_site *site, enum cw_call call, int fd, int copy);
/* A TCP socket that came otherwise: CW_ORIGIN_INHERITED or RECEIVED. Asks the kernel what fd is. */
void cw_on_found(const struct cw_site *site, enum cw_origin origin, enum cw_call call, int fd);
void cw_on_fdopen(int fd, bool opened);

/* --- transfers --- */
static inline unsigned cw_transfer(size_t n, int flags)
{
    return (n == 0 || (flags & MSG_ERRQUEUE) ? CW_TRANSFER_EMPTY : 0u) | (flags & MSG_PEEK ? CW_TRANSFER_PEEK : 0u);
}
struct iovec;
unsigned cw_transfer_iov(const struct iovec *iov, int n, long result);

void cw_record_in(const struct cw_site *site, enum cw_call call, struct cw_conn *conn, long result, unsigned transfer);
void cw_record_out(const struct cw_site *site, enum cw_call call, struct cw_conn *conn, long result);

static inline void cw_on_in(const struct cw_site *site, enum cw_call call, int fd, long result, unsigned transfer)
{
    struct cw_conn *conn = cw_known_conn(fd);
    if (conn)
        cw_record_in(site, call, conn, result, transfer);
}
static inline void cw_on_out(const struct cw_site *site, enum cw_call call, int fd, long result)
{
    struct cw_conn *conn = cw_known_conn(fd);
    if (conn)
        cw_record_out(site, call, conn, result);
}
struct mmsghdr;
void cw_on_recvmsg(const struct cw_site *site, enum cw_call call, int fd, long result, const struct msghdr *msg,
                   int flags);
void cw_on_recvmmsg(const struct cw_site *site, int fd, const struct mmsghdr *msgs, unsigned n, int result, int flags);
void cw_on_sendmsg(const struct cw_site *site, enum cw_call call, int fd, long result, const struct msghdr *msg);
void cw_on_sendmmsg(const struct cw_site *site, int fd, const struct mmsghdr *msgs, int result);
void cw_on_sendto(const struct cw_site *site, int fd, long result, int flags, const struct sockaddr *to, uint32_t len);
void cw_on_splice(const struct cw_site *site, int in, int out, size_t n, long result);

/* --- waiting --- */
void cw_on_epoll_create(int fd);
void cw_on_epoll_ctl(const struct cw_site *site, int set, int op, int fd, const struct epoll_event *event, int result);
/* Around a wait: `begin` before the real call (set: epoll fd, or -1), `end` after it, with what it returned. */
uint32_t cw_on_wait_begin(int set);
void cw_on_wait_end(const struct cw_site *site, enum cw_call call, uint32_t set_index, long result);
/* Around accept, which waits if the listener blocks. */
void cw_on_accept_begin(void);
void cw_on_accept_end(const struct cw_site *site, enum cw_call call, int listener, int result);
void cw_on_poll(const struct cw_site *site, enum cw_call call, const struct pollfd *fds, nfds_t n, int result);

/* Around select: what it is asked to watch, before it overwrites the sets, and what they hold afterwards. */
enum cw_fd_sets { CW_FDS_IN, CW_FDS_OUT, CW_FDS_EXCEPT, CW_FDS_COUNT };
struct cw_selecting {
    int n; /* fds below this are in the sets; 0: nothing is to be recorded */
    fd_set *sets[CW_FDS_COUNT];
    fd_set asked[CW_FDS_COUNT];
};
void cw_on_select_begin(struct cw_selecting *selecting, int n, fd_set *in, fd_set *out, fd_set *except);
void cw_on_select_end(const struct cw_site *site, enum cw_call call, const struct cw_selecting *selecting, int result);

/* --- the rest --- */
void cw_on_shutdown(const struct cw_site *site, int fd, int how, int result);
void cw_on_dlclose(int result);

#endif
