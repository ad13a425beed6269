/* The raw door: syscall(), by which libuv and others make calls that libc has functions for. A number that is not watched
 * goes straight on; a watched one is recorded as its libc function would be. */
#define _GNU_SOURCE
#include "preload/end.h"
#include "preload/kernel.h"
#include "preload/signals.h"
#include "preload/sys.h"
#include "preload/wraps.h"

#include <linux/seccomp.h>
#include <sched.h>
#include <sys/syscall.h>

struct raw {
    long nr, a, b, c, d, e, f;
};

static long real(const struct raw *raw)
{
    return CW_REAL(syscall)(raw->nr, raw->a, raw->b, raw->c, raw->d, raw->e, raw->f);
}

#define PTR(type, value) ((type)(uintptr_t)(value))
#define FD(value) ((int)(value))

/* Transfers: recorded after the call. */
static void after_transfer(const struct cw_site *site, const struct raw *raw, long r)
{
    switch (raw->nr) {
    case SYS_read:
        cw_on_in(site, CW_CALL_read, FD(raw->a), r, cw_transfer((size_t)raw->c, 0));
        break;
    case SYS_readv:
        cw_on_in(site, CW_CALL_readv, FD(raw->a), r, cw_transfer_iov(PTR(const struct iovec *, raw->b), FD(raw->c), r));
        break;
    case SYS_recvfrom:
        cw_on_in(site, CW_CALL_recvfrom, FD(raw->a), r, cw_transfer((size_t)raw->c, FD(raw->d)));
        break;
    case SYS_recvmsg:
        cw_on_recvmsg(site, CW_CALL_recvmsg, FD(raw->a), r, PTR(const struct msghdr *, raw->b), FD(raw->c));
        break;
    case SYS_recvmmsg:
        cw_on_recvmmsg(site, FD(raw->a), PTR(const struct mmsghdr *, raw->b), (unsigned)raw->c, FD(r), FD(raw->d));
        break;
    case SYS_write:
        cw_on_out(site, CW_CALL_write, FD(raw->a), r);
        break;
    case SYS_writev:
        cw_on_out(site, CW_CALL_writev, FD(raw->a), r);
        break;
    case SYS_sendto:
        cw_on_sendto(site, FD(raw->a), r, FD(raw->d), PTR(const struct sockaddr *, raw->e), (uint32_t)raw->f);
        break;
    case SYS_sendmsg:
        cw_on_sendmsg(site, CW_CALL_sendmsg, FD(raw->a), r, PTR(const struct msghdr *, raw->b));
        break;
    case SYS_sendmmsg:
        cw_on_sendmmsg(site, FD(raw->a), PTR(const struct mmsghdr *, raw->b), FD(r));
        break;
    case SYS_sendfile:
        cw_on_out(site, CW_CALL_sendfile, FD(raw->a), r);
        break;
    case SYS_splice:
        cw_on_splice(site, FD(raw->a), FD(raw->c), (size_t)raw->e, r);
        break;
    default:
        break;
    }
}

/* Openings and copies: likewise. */
static void after_open(const struct cw_site *site, const struct raw *raw, long r)
{
    switch (raw->nr) {
    case SYS_socket:
        cw_on_socket(site, CW_CALL_socket, FD(r), FD(raw->a), FD(raw->b), FD(raw->c));
        break;
    case SYS_socketpair:
        cw_on_other_fds(PTR(const int *, raw->d), r == 0 ? 2 : 0);
        break;
    case SYS_connect:
        cw_on_connect(site, FD(raw->a), PTR(const struct sockaddr *, raw->b), (uint32_t)raw->c, FD(r));
        break;
    case SYS_bind:
        cw_on_bind(FD(raw->a), PTR(const struct sockaddr *, raw->b), (uint32_t)raw->c, FD(r));
        break;
    case SYS_listen:
        cw_on_listen(site, FD(raw->a), FD(r));
        break;
    case SYS_dup:
        cw_on_dup(site, CW_CALL_dup, FD(raw->a), FD(r));
        break;
    case SYS_fcntl:
        if (FD(raw->b) == F_DUPFD || FD(raw->b) == F_DUPFD_CLOEXEC)
            cw_on_dup(site, CW_CALL_fcntl, FD(raw->a), FD(r));
        break;
    case SYS_epoll_create:
    case SYS_epoll_create1:
        cw_on_epoll_create(FD(r));
        break;
    case SYS_epoll_ctl:
        cw_on_epoll_ctl(site, FD(raw->a), FD(raw->b), FD(raw->c), PTR(const struct epoll_event *, raw->d), FD(r));
        break;
    default:
        break;
    }
}

/* A function of its own: the sets take 400 bytes of stack, which no other call should need. */
static __attribute__((noinline)) long selects(const struct cw_site *site, const struct raw *raw, enum cw_call call)
{
    struct cw_selecting selecting;
    cw_on_select_begin(&selecting, FD(raw->a), PTR(fd_set *, raw->b), PTR(fd_set *, raw->c), PTR(fd_set *, raw->d));
    cw_on_wait_begin(-1);
    long r = real(raw);
    cw_on_wait_end(site, call, 0, r);
    cw_on_select_end(site, call, &selecting, FD(r));
    return r;
}

/* Calls that wait: also recorded before. */
static bool waits(const struct cw_site *site, const struct raw *raw, long *ret)
{
    enum cw_call call;
    int set = -1;
    switch (raw->nr) {
    case SYS_epoll_wait:
        call = CW_CALL_epoll_wait;
        set = FD(raw->a);
        break;
    case SYS_epoll_pwait:
        call = CW_CALL_epoll_pwait;
        set = FD(raw->a);
        break;
#ifdef SYS_epoll_pwait2
    case SYS_epoll_pwait2:
        call = CW_CALL_epoll_pwait2;
        set = FD(raw->a);
        break;
#endif
    case SYS_poll:
        call = CW_CALL_poll;
        break;
    case SYS_ppoll:
        call = CW_CALL_ppoll;
        break;
    case SYS_select:
        *ret = selects(site, raw, CW_CALL_select);
        return true;
    case SYS_pselect6:
        *ret = selects(site, raw, CW_CALL_pselect);
        return true;
    case SYS_accept:
    case SYS_accept4:
        cw_on_accept_begin();
        *ret = real(raw);
        call = raw->nr == SYS_accept ? CW_CALL_accept : CW_CALL_accept4;
        cw_on_accept(site, call, FD(raw->a), FD(*ret), NULL, 0);
        cw_on_accept_end(site, call, FD(raw->a), FD(*ret));
        return true;
    default:
        return false;
    }
    uint32_t index = cw_on_wait_begin(set);
    long r = real(raw);
    cw_on_wait_end(site, call, index, r);
    if (call == CW_CALL_poll || call == CW_CALL_ppoll)
        cw_on_poll(site, call, PTR(const struct pollfd *, raw->a), (nfds_t)raw->b, FD(r));
    *ret = r;
    return true;
}

/* Calls that close: marked before. */
static bool closes(const struct cw_site *site, const struct raw *raw, long *ret)
{
    struct cw_closing closing = {.fd = -1};
    int saved;
    switch (raw->nr) {
    case SYS_close:
        cw_close_begin(&closing, FD(raw->a));
        *ret = real(raw);
        saved = errno;
        cw_close_end(site, CW_CALL_close, &closing, cw_close_freed(FD(*ret), saved));
        errno = saved;
        return true;
    case SYS_dup2:
        *ret = cw_wrap_dup2(site, FD(raw->a), FD(raw->b));
        return true;
    case SYS_dup3:
        *ret = cw_wrap_dup3(site, FD(raw->a), FD(raw->b), FD(raw->c));
        return true;
    case SYS_shutdown:
        *ret = cw_wrap_shutdown(site, FD(raw->a), FD(raw->b));
        return true;
#ifdef SYS_close_range
    case SYS_close_range: {
        struct cw_closing_range range = {.n = 0};
        bool really = !(raw->c & 4); /* CLOSE_RANGE_CLOEXEC */
        if (really)
            cw_close_range_begin(&range, (unsigned)raw->a, (unsigned)raw->b);
        *ret = real(raw);
        saved = errno;
        if (really)
            cw_close_range_end(site, CW_CALL_close_range, &range, *ret == 0);
        errno = saved;
        return true;
    }
#endif
    default:
        return false;
    }
}

/* Calls about the process. A raw vfork, or a clone that shares memory without being a thread, returns in the child first:
 * the mark makes every hook there ask whose process this is. */
static bool process(const struct raw *raw, long *ret)
{
    bool filters = raw->nr == SYS_seccomp && (raw->a == SECCOMP_SET_MODE_STRICT || raw->a == SECCOMP_SET_MODE_FILTER);
    switch (raw->nr) {
    case SYS_exit_group:
        cw_end(CW_END_EXIT, FD(raw->a));
        break;
    case SYS_clone:
        cw_vfork_expect((unsigned long)raw->a);
        break;
    case SYS_vfork:
        cw_vfork_expect(CLONE_VM | CLONE_VFORK);
        break;
    case SYS_prctl:
        filters = raw->a == PR_SET_SECCOMP;
        break;
    case SYS_execve:
    case SYS_execveat:
        cw_end_exec_begin(raw->nr == SYS_execve ? PTR(const char *, raw->a) : NULL);
        *ret = real(raw);
        cw_end_exec_failed();
        return true;
    default:
        break;
    }
    if (!filters)
        return false;
    bool before = cw_end_filter_before();
    *ret = real(raw);
    cw_end_filter_after(before, *ret >= 0);
    return true;
}

long cw_wrap_syscall(const struct cw_site *site, long nr, long a, long b, long c, long d, long e, long f)
{
    struct raw raw = {nr, a, b, c, d, e, f};
    long r;
    if (__builtin_expect(cw_tls.guard != 0, 0) && cw_stack_guarded())
        return cw_fence_syscall(nr, a, b, c, d, e, f);
    if (process(&raw, &r) || closes(site, &raw, &r) || waits(site, &raw, &r))
        return r;
    r = real(&raw);
    after_transfer(site, &raw, r);
    after_open(site, &raw, r);
    return r;
}
