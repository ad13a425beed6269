/* Wrappers of calls that close. */
#define _GNU_SOURCE
#include "preload/sys.h"
#include "preload/wraps.h"

int cw_wrap_close(const struct cw_site *site, int fd)
{
    if (__builtin_expect(cw_tls.guard != 0, 0) && cw_stack_guarded())
        return cw_fence_close(fd);
    struct cw_closing closing;
    cw_close_begin(&closing, fd);
    int r = CW_REAL(close)(fd);
    if (closing.marked) {
        int saved = errno;
        cw_close_end(site, CW_CALL_close, &closing, cw_close_freed(r, saved));
        errno = saved;
    }
    return r;
}

int cw_wrap_close_range(const struct cw_site *site, unsigned first, unsigned last, int flags)
{
    if (!CW_REAL(close_range)) {
        errno = ENOSYS;
        return -1;
    }
    struct cw_closing_range range = {.n = 0};
    bool closes = !(flags & 4 /* CLOSE_RANGE_CLOEXEC */);
    if (closes)
        cw_close_range_begin(&range, first, last);
    int r = cw_real.close_range(first, last, flags);
    int saved = errno;
    if (closes)
        cw_close_range_end(site, CW_CALL_close_range, &range, r == 0);
    errno = saved;
    return r;
}

void cw_wrap_closefrom(const struct cw_site *site, int first)
{
    struct cw_closing_range range;
    int saved = errno;
    cw_close_range_begin(&range, first < 0 ? 0 : (unsigned)first, ~0u);
    if (CW_REAL(closefrom)) {
        errno = saved;
        cw_real.closefrom(first);
        saved = errno;
    } else {
        cw_sys(SYS_close_range, first, ~0u, 0);
    }
    cw_close_range_end(site, CW_CALL_closefrom, &range, true);
    errno = saved;
}

int cw_wrap_shutdown(const struct cw_site *site, int fd, int how)
{
    struct cw_conn *conn = cw_known_conn(fd);
    bool listener = conn && (CW_GET(conn->flags) & CW_CONN_LISTENER) && how != SHUT_WR;
    if (listener)
        cw_listener_stock(conn, fd);
    int r = CW_REAL(shutdown)(fd, how);
    cw_on_shutdown(site, fd, how, r);
    if (listener && r == 0 && (CW_AND(conn->flags, ~(uint32_t)CW_CONN_LISTENER) & CW_CONN_LISTENER))
        cw_listener_closed(cw_now_ms());
    return r;
}

/* fileno, which sets errno for a stream without an fd. */
static int fd_of(FILE *stream)
{
    int saved = errno, fd = stream ? fileno(stream) : -1;
    errno = saved;
    return fd;
}

int cw_wrap_fclose(const struct cw_site *site, FILE *stream)
{
    struct cw_closing closing = {.marked = 0};
    if (CW_GET(CW_P->live))
        cw_close_begin(&closing, fd_of(stream));
    int r = CW_REAL(fclose)(stream);
    int saved = errno;
    cw_close_end(site, CW_CALL_fclose, &closing, true);
    errno = saved;
    return r;
}

/* freopen closes the stream's fd whether it then succeeds or not, and may give the new file the same number. */
static FILE *reopened(const struct cw_site *site, const struct cw_closing *closing, int old_fd, FILE *r)
{
    int saved = errno, fd = r ? fd_of(r) : -1;
    cw_close_end(site, CW_CALL_freopen, closing, true);
    if (fd == 2 && old_fd == 2 && !cw_vforked())
        CW_SET(cw_static.fd2_replaced, 1);
    errno = saved;
    return r;
}

FILE *cw_wrap_freopen(const struct cw_site *site, const char *path, const char *mode, FILE *stream)
{
    struct cw_closing closing;
    int fd = fd_of(stream);
    cw_close_begin(&closing, fd);
    return reopened(site, &closing, fd, CW_REAL(freopen)(path, mode, stream));
}

FILE *cw_wrap_freopen64(const struct cw_site *site, const char *path, const char *mode, FILE *stream)
{
    struct cw_closing closing;
    int fd = fd_of(stream);
    cw_close_begin(&closing, fd);
    return reopened(site, &closing, fd, CW_REAL(freopen64)(path, mode, stream));
}
