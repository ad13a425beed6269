/* Dead ledgers: processes that were killed leave theirs behind for `cwguard report --dead`; those reported and the
 * oldest have to go. */
#define _GNU_SOURCE
#include "preload/ledger_parts.h"
#include "preload/sys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define MAX_FILES 256u   /* looked at in one go: more are left to the next start */
#define NAME_BYTES 96u   /* the longest name that we give is shorter */
#define BLOCK_BYTES 512u /* unit of st_blocks */

struct dirent64_raw {
    uint64_t ino;
    int64_t off;
    uint16_t reclen;
    uint8_t type;
    char name[];
};

struct file {
    uint64_t modified_ns;
    uint64_t bytes;
    struct cw_identity of;
    bool reported; /* known of dead ones only */
    char name[NAME_BYTES];
};

/* Kept off the stack: hooks run on small ones too. */
struct work {
    unsigned count;
    bool earlier; /* one of our own is among them */
    struct file files[MAX_FILES];
    char entries[16384];
};

static const char *parse_number(const char *at, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (*at < '0' || *at > '9')
        return NULL;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (value > UINT64_MAX / 10 - 1)
            return NULL;
        value = value * 10 + (uint64_t)(*at - '0');
    }
    *ret_value = value;
    return *at == '.' ? at + 1 : NULL;
}

/* PIDNS.PID.STARTTICKS.RANDOM.cwg */
static bool parse_name(const char *name, struct cw_identity *ret)
{
    uint64_t pid = 0;
    const char *at = parse_number(name, &ret->pid_ns);
    at = at ? parse_number(at, &pid) : NULL;
    at = at ? parse_number(at, &ret->start_ticks) : NULL;
    if (!at || pid == 0 || pid > INT32_MAX)
        return false;
    ret->pid = (int32_t)pid;
    size_t digits = strspn(at, "0123456789abcdef");
    return digits > 0 && !strcmp(at + digits, ".cwg");
}

static bool is_same(const struct cw_identity *a, const struct cw_identity *b)
{
    return a->pid == b->pid && a->start_ticks == b->start_ticks && a->pid_ns == b->pid_ns && a->pid_ns != 0;
}

static void add_file(struct work *work, int dirfd, const char *name, const struct cw_identity *self)
{
    struct cw_identity of;
    struct stat st;
    if (strlen(name) >= NAME_BYTES || !parse_name(name, &of))
        return;
    work->earlier |= is_same(&of, self);
    if (work->count == MAX_FILES)
        return;
    struct file *file = &work->files[work->count];
    file->of = of;
    /* A pid of another namespace says nothing here, nor does any if ours is unknown. */
    if (file->of.pid_ns == 0 || file->of.pid_ns != self->pid_ns)
        return;
    if (cw_sys(SYS_newfstatat, dirfd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
        return;
    file->bytes = (uint64_t)st.st_blocks * BLOCK_BYTES;
    file->modified_ns = (uint64_t)st.st_mtim.tv_sec * UINT64_C(1000000000) + (uint64_t)st.st_mtim.tv_nsec;
    strcpy(file->name, name);
    work->count++;
}

static void read_dir(struct work *work, int dirfd, const struct cw_identity *self)
{
    cw_sys(SYS_lseek, dirfd, 0L, SEEK_SET);
    for (int round = 0; round < 16 && work->count < MAX_FILES; round++) {
        long n = cw_sys(SYS_getdents64, dirfd, work->entries, sizeof work->entries);
        if (n <= 0)
            return;
        for (long at = 0; at < n;) {
            const struct dirent64_raw *entry = (const void *)(work->entries + at);
            add_file(work, dirfd, entry->name, self);
            at += entry->reclen;
        }
    }
}

static bool is_dead(const struct cw_identity *of, const struct cw_identity *self)
{
    char path[32] = "/proc/", text[1024], digits[24], *d = digits + sizeof digits;
    if (of->pid == self->pid)
        return true; /* an earlier image of ours (exec), or an earlier process: ours is not created yet */
    if (cw_sys(SYS_kill, of->pid, 0) == -ESRCH)
        return true;
    /* Without a /proc to look at, or with one that hides it, a pid that exists is alive. */
    memcpy(d -= 6, "/stat", 6);
    for (int32_t pid = of->pid; pid; pid /= 10)
        *--d = (char)('0' + pid % 10);
    memcpy(path + 6, d, (size_t)(digits + sizeof digits - d));
    if (of->start_ticks == 0 || cw_file_read(path, text, sizeof text) <= 0)
        return false;
    uint64_t ticks = cw_identity_ticks(text);
    return ticks != 0 && ticks != of->start_ticks;
}

/* Whether a complete report is out, or there was nothing to report: nobody will ask for it. */
static bool is_reported(int dirfd, const char *name)
{
    unsigned char head[offsetof(struct cw_ledger, flags) + sizeof(uint32_t)];
    uint32_t version, flags;
    int fd = cw_fd_open(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
    if (fd < 0)
        return false;
    long n = cw_sys(SYS_read, fd, head, sizeof head);
    cw_sys(SYS_close, fd);
    memcpy(&version, head + offsetof(struct cw_ledger, version), sizeof version);
    memcpy(&flags, head + offsetof(struct cw_ledger, flags), sizeof flags);
    return n == (long)sizeof head && !memcmp(head, CW_LEDGER_MAGIC, sizeof CW_LEDGER_MAGIC - 1) &&
           version == CW_LEDGER_VERSION && (flags & CW_HEADER_REPORTED);
}

static bool goes_before(const struct file *a, const struct file *b)
{
    return a->reported != b->reported ? a->reported : a->modified_ns < b->modified_ns;
}

/* Reported ones first, then the oldest; a heap costs more code than 256 entries are worth. */
static void sort_by_worth(struct work *work)
{
    for (unsigned i = 1; i < work->count; i++) {
        struct file file = work->files[i];
        unsigned at = i;
        for (; at && goes_before(&file, &work->files[at - 1]); at--)
            work->files[at] = work->files[at - 1];
        work->files[at] = file;
    }
}

static uint64_t total_bytes(const struct work *work)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < work->count; i++)
        total += work->files[i].bytes;
    return total;
}

static void keep_dead_only(struct work *work, int dirfd, const struct cw_identity *self)
{
    unsigned dead = 0;
    for (unsigned i = 0; i < work->count; i++) {
        if (!is_dead(&work->files[i].of, self))
            continue;
        work->files[dead] = work->files[i];
        work->files[dead].reported = is_reported(dirfd, work->files[dead].name);
        dead++;
    }
    work->count = dead;
}

static void prune(struct work *work, int dirfd, const struct cw_identity *self)
{
    struct statfs fs;
    uint64_t limit = CW_PRUNE_MAX_BYTES;
    if (cw_sys(SYS_fstatfs, dirfd, &fs) == 0 && fs.f_blocks && (uint64_t)fs.f_blocks * (uint64_t)fs.f_bsize / 4 < limit)
        limit = (uint64_t)fs.f_blocks * (uint64_t)fs.f_bsize / 4;

    read_dir(work, dirfd, self);
    if (total_bytes(work) <= limit)
        return; /* the common case, without asking who lives */
    keep_dead_only(work, dirfd, self);
    sort_by_worth(work);
    uint64_t total = total_bytes(work);
    for (unsigned i = 0; i < work->count && total > limit; i++) {
        cw_sys(SYS_unlinkat, dirfd, work->files[i].name, 0);
        total -= work->files[i].bytes;
    }
}

static struct work *map_work(void)
{
    long ret = cw_sys(SYS_mmap, 0L, sizeof(struct work), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
    return ret < 0 && ret > -4096 ? NULL : (struct work *)ret;
}

bool cw_ledger_prune(int dirfd, const struct cw_identity *self)
{
    struct work *work = map_work();
    if (!work)
        return false;
    prune(work, dirfd, self);
    bool earlier = work->earlier;
    cw_sys(SYS_munmap, work, sizeof *work);
    return earlier;
}

void cw_ledger_remove_earlier(int dirfd, const struct cw_identity *self, const char *name)
{
    struct work *work = map_work();
    if (!work)
        return;
    read_dir(work, dirfd, self);
    for (unsigned i = 0; i < work->count; i++)
        if (is_same(&work->files[i].of, self) && strcmp(work->files[i].name, name) != 0)
            cw_sys(SYS_unlinkat, dirfd, work->files[i].name, 0);
    cw_sys(SYS_munmap, work, sizeof *work);
}
