/* Looking at the ledger a second time: reopened, copied into a memfd, copied into private memory, removed. */
#define _GNU_SOURCE
#include "preload/ledger_file.h"

#include "core/atomic.h"
#include "preload/ledger_parts.h"
#include "preload/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif

static bool is_ours(const struct stat *st)
{
    return st->st_dev == CW_P->ledger_dev && st->st_ino == CW_P->ledger_ino;
}

static int piece_to_fd(void *ctx, uint64_t offset, const void *bytes, size_t n)
{
    int fd = *(const int *)ctx;
    for (size_t done = 0; done < n;) {
        long put = cw_sys(SYS_pwrite64, fd, (const char *)bytes + done, n - done, offset + done);
        if (put == -EINTR)
            continue;
        if (put <= 0)
            return put ? (int)put : -EIO;
        done += (size_t)put;
    }
    return 0;
}

static int copy_to_memfd(void)
{
    uint64_t total_bytes = CW_P->view.header->total_bytes;
    if (total_bytes > cw_limit_soft(RLIMIT_FSIZE))
        return -EFBIG; /* SIGXFSZ */
    int fd = cw_fd_lift((int)cw_sys(SYS_memfd_create, "cwguard", MFD_CLOEXEC | MFD_NOEXEC_SEAL));
    if (fd == -EINVAL) /* before Linux 6.3 */
        fd = cw_fd_lift((int)cw_sys(SYS_memfd_create, "cwguard", MFD_CLOEXEC));
    if (fd < 0)
        return fd;
    int failed = (int)cw_sys(SYS_ftruncate, fd, total_bytes);
    if (!failed)
        failed = cw_ledger_each_piece(piece_to_fd, &fd);
    if (!failed)
        return fd;
    cw_sys(SYS_close, fd);
    return failed;
}

int cw_ledger_open_again(void)
{
    struct stat st;
    if (!CW_P->view.header)
        return -ENOENT;
    if (CW_P->path_known) {
        int fd = cw_fd_open(AT_FDCWD, CW_P->ledger_path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
        if (fd >= 0 && cw_sys(SYS_fstat, fd, &st) == 0 && is_ours(&st))
            return fd;
        if (fd >= 0)
            cw_sys(SYS_close, fd);
    }
    return copy_to_memfd();
}

/* What this process has left before an exec, for the report that is now out. */
static void remove_earlier(void)
{
    const struct cw_ledger *header = CW_P->view.header;
    const struct cw_identity self = {.pid_ns = header->pid_ns, .start_ticks = header->start_ticks, .pid = header->pid};
    char dir[sizeof CW_P->ledger_path];
    strcpy(dir, CW_P->ledger_path);
    char *slash = strrchr(dir, '/');
    if (!slash)
        return;
    *slash = 0;
    int dirfd = cw_fd_open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (dirfd < 0)
        return;
    cw_ledger_remove_earlier(dirfd, &self, slash + 1);
    cw_sys(SYS_close, dirfd);
}

void cw_ledger_remove(void)
{
    struct stat st;
    if (!CW_P->path_known || CW_GET(cw_static.seccomp)) /* a filter might punish it: a later start removes the file */
        return;
    if (cw_sys(SYS_newfstatat, AT_FDCWD, CW_P->ledger_path, &st, AT_SYMLINK_NOFOLLOW) == 0 && is_ours(&st))
        cw_sys(SYS_unlinkat, AT_FDCWD, CW_P->ledger_path, 0);
    if (CW_P->earlier)
        remove_earlier();
    CW_P->earlier = 0;
    CW_P->path_known = 0;
}

/* --- the snapshot --- */

struct snapshot {
    uint8_t *base;
    const struct cw_ledger *header;
    uint64_t at[CW_SECTION_COUNT + 1]; /* where a section's copy begins; the last one: the end */
};

static int piece_to_snapshot(void *ctx, uint64_t offset, const void *bytes, size_t n)
{
    const struct snapshot *snapshot = ctx;
    if (offset == 0) {
        memcpy(snapshot->base, bytes, n);
        return 0;
    }
    for (unsigned i = 0; i < CW_SECTION_COUNT; i++) {
        uint64_t start = snapshot->header->sections[i].offset;
        uint64_t room = snapshot->at[i + 1] - snapshot->at[i];
        /* More may be in use by now than when the copy was measured. */
        if (offset >= start && offset - start < room) {
            uint64_t into = offset - start;
            memcpy(snapshot->base + snapshot->at[i] + into, bytes, n < room - into ? n : room - into);
            return 0;
        }
    }
    return 0;
}

int cw_ledger_snapshot(struct cw_view *ret_view)
{
    struct snapshot snapshot = {.header = CW_P->view.header};
    uint32_t used[CW_SECTION_COUNT];
    uint64_t at = CW_LEDGER_HEADER_BYTES;

    if (!snapshot.header)
        return -ENOENT;
    for (unsigned i = 0; i < CW_SECTION_COUNT; i++) {
        uint64_t bytes = i == CW_SECTION_STACK_INDEX ? 0 : cw_ledger_used_bytes(i);
        used[i] = (uint32_t)(bytes / cw_section_strides[i]);
        snapshot.at[i] = at;
        at += (bytes + 63) & ~UINT64_C(63);
    }
    snapshot.at[CW_SECTION_COUNT] = at;

    struct cw_view view = CW_P->view;
    if (!(snapshot.header->flags & CW_HEADER_ANONYMOUS)) {
        long ret =
            cw_sys(SYS_mmap, 0L, at, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0L);
        if (ret < 0 && ret > -4096)
            return (int)ret;
        snapshot.base = (uint8_t *)ret;
        cw_ledger_each_piece(piece_to_snapshot, &snapshot);
        view.header = (struct cw_ledger *)(void *)snapshot.base;
#define CW_X(section, type, field) view.field = (type *)(void *)(snapshot.base + snapshot.at[CW_SECTION_##section]);
        CW_VIEW_SECTIONS(CW_X)
#undef CW_X
    }
#define CW_X(section, type, field) view.n_##field = used[CW_SECTION_##section];
    CW_VIEW_SECTIONS(CW_X)
#undef CW_X
    *ret_view = view;
    return 0;
}
