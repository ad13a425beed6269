/* Wrappers of transfers and waits that do more than one thing after the real call. */
#define _GNU_SOURCE
#include "preload/wraps.h"

ssize_t cw_wrap_read(const struct cw_site *site, int fd, void *buf, size_t n)
{
    if (__builtin_expect(cw_tls.guard != 0, 0) && cw_stack_guarded())
        return cw_fence_read(fd, buf, n);
    ssize_t r = CW_REAL(read)(fd, buf, n);
    cw_on_in(site, CW_CALL_read, fd, r, cw_transfer(n, 0));
    return r;
}

ssize_t cw_wrap_write(const struct cw_site *site, int fd, const void *buf, size_t n)
{
    if (__builtin_expect(cw_tls.guard != 0, 0) && cw_stack_guarded())
        return cw_fence_write(fd, buf, n);
    ssize_t r = CW_REAL(write)(fd, buf, n);
    cw_on_out(site, CW_CALL_write, fd, r);
    return r;
}

int cw_wrap_epoll_wait(const struct cw_site *site, int set, struct epoll_event *events, int n, int timeout)
{
    uint32_t index = cw_on_wait_begin(set);
    int r = CW_REAL(epoll_wait)(set, events, n, timeout);
    cw_on_wait_end(site, CW_CALL_epoll_wait, index, r);
    return r;
}

int cw_wrap_epoll_pwait(const struct cw_site *site, int set, struct epoll_event *events, int n, int timeout,
                        const sigset_t *mask)
{
    uint32_t index = cw_on_wait_begin(set);
    int r = CW_REAL(epoll_pwait)(set, events, n, timeout, mask);
    cw_on_wait_end(site, CW_CALL_epoll_pwait, index, r);
    return r;
}

int cw_wrap_epoll_pwait2(const struct cw_site *site, int set, struct epoll_event *events, int n,
                         const struct timespec *timeout, const sigset_t *mask)
{
    if (!CW_REAL(epoll_pwait2)) {
        errno = ENOSYS;
        return -1;
    }
    uint32_t index = cw_on_wait_begin(set);
    int r = cw_real.epoll_pwait2(set, events, n, timeout, mask);
    cw_on_wait_end(site, CW_CALL_epoll_pwait2, index, r);
    return r;
}

static int after_poll(const struct cw_site *site, enum cw_call call, const struct pollfd *fds, nfds_t n, int r)
{
    cw_on_wait_end(site, call, 0, r);
    cw_on_poll(site, call, fds, n, r);
    return r;
}

int cw_wrap_poll(const struct cw_site *site, struct pollfd *fds, nfds_t n, int timeout)
{
    cw_on_wait_begin(-1);
    return after_poll(site, CW_CALL_poll, fds, n, CW_REAL(poll)(fds, n, timeout));
}

int cw_wrap_ppoll(const struct cw_site *site, struct pollfd *fds, nfds_t n, const struct timespec *timeout,
                  const sigset_t *mask)
{
    cw_on_wait_begin(-1);
    return after_poll(site, CW_CALL_ppoll, fds, n, CW_REAL(ppoll)(fds, n, timeout, mask));
}

int cw_wrap___poll_chk(const struct cw_site *site, struct pollfd *fds, nfds_t n, int timeout, size_t room)
{
    cw_on_wait_begin(-1);
    return after_poll(site, CW_CALL_poll, fds, n, CW_REAL(__poll_chk)(fds, n, timeout, room));
}

int cw_wrap___ppoll_chk(const struct cw_site *site, struct pollfd *fds, nfds_t n, const struct timespec *timeout,
                        const sigset_t *mask, size_t room)
{
    cw_on_wait_begin(-1);
    return after_poll(site, CW_CALL_ppoll, fds, n, CW_REAL(__ppoll_chk)(fds, n, timeout, mask, room));
}

int cw_wrap_select(const struct cw_site *site, int n, fd_set *in, fd_set *out, fd_set *except, struct timeval *timeout)
{
    struct cw_selecting selecting;
    cw_on_select_begin(&selecting, n, in, out, except);
    cw_on_wait_begin(-1);
    int r = CW_REAL(select)(n, in, out, except, timeout);
    cw_on_wait_end(site, CW_CALL_select, 0, r);
    cw_on_select_end(site, CW_CALL_select, &selecting, r);
    return r;
}

int cw_wrap_pselect(const struct cw_site *site, int n, fd_set *in, fd_set *out, fd_set *except,
                    const struct timespec *timeout, const sigset_t *mask)
{
    struct cw_selecting selecting;
    cw_on_select_begin(&selecting, n, in, out, except);
    cw_on_wait_begin(-1);
    int r = CW_REAL(pselect)(n, in, out, except, timeout, mask);
    cw_on_wait_end(site, CW_CALL_pselect, 0, r);
    cw_on_select_end(site, CW_CALL_pselect, &selecting, r);
    return r;
}
