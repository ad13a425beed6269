/* Where a ledger may lie: its directory, its name. */
#define _GNU_SOURCE
#include "preload/ledger_parts.h"
#include "preload/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

int cw_place_open_dir(const char *path)
{
    if (path[0] != '/')
        return -EINVAL; /* the path must still lead there after a chdir */
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
    int fd = cw_fd_open(AT_FDCWD, path, flags, 0);
    if (fd == -ENOENT) {
        cw_sys(SYS_mkdirat, AT_FDCWD, path, 0700);
        fd = cw_fd_open(AT_FDCWD, path, flags, 0);
    }
    if (fd < 0)
        return fd;
    struct stat st;
    struct statfs fs;
    int failed = (int)cw_sys(SYS_fstat, fd, &st);
    if (!failed && (st.st_uid != (uid_t)cw_sys(SYS_geteuid) || (st.st_mode & 0777) != 0700))
        failed = -EPERM;
    if (!failed)
        failed = (int)cw_sys(SYS_fstatfs, fd, &fs);
    if (!failed && fs.f_type != TMPFS_MAGIC)
        failed = -EMEDIUMTYPE; /* on a disk every store would be written back */
    if (!failed)
        return fd;
    cw_sys(SYS_close, fd);
    return failed;
}

static char *append_text(char *at, char *end, const char *text)
{
    while (*text && at < end)
        *at++ = *text++;
    return at;
}

static char *append_number(char *at, char *end, uint64_t value, unsigned base)
{
    char digits[24], *d = digits + sizeof digits - 1;
    *d = 0;
    do
        *--d = "0123456789abcdef"[value % base];
    while (value /= base);
    return append_text(at, end, d);
}

int cw_place_create_file(int dirfd, const char *dir, const struct cw_identity *self)
{
    char *path = CW_P->ledger_path, *end = path + sizeof CW_P->ledger_path - 1;
    for (int attempt = 0; attempt < 8; attempt++) {
        uint64_t random = 0;
        if (cw_sys(SYS_getrandom, &random, sizeof random, 1 /* GRND_NONBLOCK */) != sizeof random)
            random = (uintptr_t)&random ^ cw_now_ms() * UINT64_C(0x9E3779B97F4A7C15);
        char *at = append_text(path, end, dir);
        at = append_text(at, end, "/");
        const char *name = at;
        at = append_number(at, end, self->pid_ns, 10);
        at = append_text(at, end, ".");
        at = append_number(at, end, (uint64_t)self->pid, 10);
        at = append_text(at, end, ".");
        at = append_number(at, end, self->start_ticks, 10);
        at = append_text(at, end, ".");
        at = append_number(at, end, random, 16);
        at = append_text(at, end, ".cwg");
        if (at == end)
            return -ENAMETOOLONG;
        *at = 0;
        int fd = cw_fd_open(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
        if (fd != -EEXIST)
            return fd;
    }
    return -EEXIST;
}

void cw_place_default(char ret_dir[CW_PLACE_DEFAULT_BYTES])
{
    char *end = ret_dir + CW_PLACE_DEFAULT_BYTES - 1;
    char *at = append_text(ret_dir, end, "/dev/shm/cwguard-");
    *append_number(at, end, (uint64_t)cw_sys(SYS_geteuid), 10) = 0;
}
