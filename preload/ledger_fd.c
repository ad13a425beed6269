/* Transient fds: opened, used and closed inside one hook, where the program cannot stumble on them. */
#define _GNU_SOURCE
#include "preload/ledger_parts.h"

#include "preload/probe.h"
#include "preload/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

/* Above what programs count on, yet below 64: a higher number would make the kernel enlarge the fd table, which in a
 * process with threads waits for a grace period of RCU. */
#define HIGH_FD 40

int cw_fd_lift(int fd)
{
    if (fd < 0 || fd >= HIGH_FD || !(cw_static.may & CW_MAY_FILES)) /* fcntl was tried with the calls for files */
        return fd;
    long high = cw_sys(SYS_fcntl, fd, F_DUPFD_CLOEXEC, HIGH_FD);
    if (high < 0) /* RLIMIT_NOFILE is low, or all are taken */
        high = fd > 2 ? fd : cw_sys(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
    if (high != fd)
        cw_sys(SYS_close, fd);
    return (int)high;
}

int cw_fd_open(int dirfd, const char *path, int flags, unsigned mode)
{
    return cw_fd_lift((int)cw_sys(SYS_openat, dirfd, path, flags | O_CLOEXEC, mode));
}

ssize_t cw_file_read(const char *path, char *buf, size_t size)
{
    /* Not lifted: one fd for microseconds, and only calls that the loader makes too, because of filters. */
    int fd = (int)cw_sys(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
    if (fd < 0)
        return fd;
    size_t used = 0;
    ssize_t got = 0;
    while (used + 1 < size) {
        got = cw_sys(SYS_read, fd, buf + used, size - 1 - used);
        if (got == -EINTR)
            continue;
        if (got <= 0)
            break;
        used += (size_t)got;
    }
    cw_sys(SYS_close, fd);
    buf[used] = 0;
    return got < 0 ? got : (ssize_t)used;
}

uint64_t cw_limit_soft(int resource)
{
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    cw_sys(SYS_prlimit64, 0, resource, 0L, &limit);
    return limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
}
