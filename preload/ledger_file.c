/* Creating and mapping the ledger, and making its chunks real memory before anybody touches them. */
#define _GNU_SOURCE
#include "preload/ledger_file.h"

#include "core/atomic.h"
#include "preload/ledger_parts.h"
#include "preload/probe.h"
#include "preload/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define CHUNK_SHIFT 14u
#define CHUNK_BYTES (UINT64_C(1) << CHUNK_SHIFT)
#define MAX_CHUNKS 32768u /* 512 MiB: the largest geometry takes about 300 */

/* A kernel that cannot populate (before 5.14) must have the whole file allocated at once: geometries up to this size. */
#define ALLOCATE_AT_ONCE_MAX_BYTES (UINT64_C(24) << 20)

/* A program under RLIMIT_AS gives up at most this part of its address space. */
#define ADDRESS_SPACE_PART 32u

/* What a report and its document take: see cw_report_scratch_bytes, preload/self_report.c. */
#define SPARE_MIN_BYTES (UINT64_C(512) << 10)
#define SPARE_PER_CONN_BYTES 256u /* half of it for the document */

/* What this process knows of its mapping. Not in the ledger: that is a file others might write to. In a forked child it
 * still tells of the parent's until the child creates its own. */
static struct {
    uint8_t *base;
    struct cw_ledger_shape shape;
    bool in_memory; /* anonymous */
    bool all_real;  /* nothing needs to be made real */
    int dir_error;
    uint8_t real[MAX_CHUNKS];
} map;

/* --- chunks --- */

/* What is not real is not accessible either: else mlockall, in the program, would make all of the sparse file real. */
static int populate(uint64_t offset, uint64_t n)
{
    long ret = cw_sys(SYS_mprotect, map.base + offset, n, PROT_READ | PROT_WRITE);
    if (ret < 0)
        return (int)ret;
    do
        ret = cw_sys(SYS_madvise, map.base + offset, n, MADV_POPULATE_WRITE);
    while (ret == -EINTR || ret == -EAGAIN);
    return (int)ret;
}

static int chunk_make_real(uint64_t chunk)
{
    uint64_t offset = chunk << CHUNK_SHIFT;
    uint64_t left = map.shape.total_bytes - offset;
    int failed = populate(offset, left < CHUNK_BYTES ? left : CHUNK_BYTES);
    if (!failed)
        __atomic_store_n(&map.real[chunk], 1, __ATOMIC_RELEASE);
    return failed;
}

static int range_make_real(uint64_t from, uint64_t to)
{
    for (uint64_t chunk = from >> CHUNK_SHIFT; chunk <= (to - 1) >> CHUNK_SHIFT; chunk++) {
        if (__builtin_expect(__atomic_load_n(&map.real[chunk], __ATOMIC_ACQUIRE), 1))
            continue;
        int failed = chunk_make_real(chunk);
        if (failed)
            return failed;
    }
    return 0;
}

int cw_ledger_reserve(enum cw_section_id section, uint32_t first, uint32_t n)
{
    uint32_t capacity = map.shape.capacity[section];
    if (first > capacity || n > capacity - first)
        return -ENOSPC;
    if (map.all_real || n == 0)
        return 0;
    uint64_t from = map.shape.offset[section] + (uint64_t)first * cw_section_strides[section];
    return range_make_real(from, from + (uint64_t)n * cw_section_strides[section]);
}

bool cw_ledger_is_real(uint64_t offset)
{
    if (!map.base || offset >= map.shape.total_bytes)
        return false;
    return map.all_real || __atomic_load_n(&map.real[offset >> CHUNK_SHIFT], __ATOMIC_ACQUIRE);
}

int cw_ledger_dir_error(void)
{
    return map.dir_error;
}

/* --- the file --- */

/* Gives back a mapping that cannot be used after all. */
static void map_drop(void)
{
    cw_sys(SYS_munmap, map.base, map.shape.total_bytes);
    map.base = NULL;
    map.all_real = false;
    memset(map.real, 0, sizeof map.real); /* what was real there says nothing of the next attempt */
}

static int map_fd(int fd)
{
    if (map.shape.total_bytes > cw_limit_soft(RLIMIT_FSIZE))
        return -EFBIG; /* ftruncate would raise SIGXFSZ */
    long ret = cw_sys(SYS_ftruncate, fd, map.shape.total_bytes);
    if (ret == 0)
        ret = cw_sys(SYS_mmap, 0L, map.shape.total_bytes, PROT_NONE, MAP_SHARED | MAP_NORESERVE, fd, 0L);
    if (ret < 0 && ret > -4096)
        return (int)ret;
    map.base = (uint8_t *)ret;
    return 0;
}

/* The header and the start of every section: a file system without room for that much is no place for a ledger. */
static int start_make_real(void)
{
    int failed = range_make_real(0, CW_LEDGER_HEADER_BYTES);
    for (unsigned i = 0; i < CW_SECTION_COUNT && !failed; i++)
        failed = range_make_real(map.shape.offset[i], map.shape.offset[i] + 1);
    return failed;
}

/* Makes what every ledger needs real; on a kernel that cannot do that chunk by chunk, everything. */
static int file_make_real(int fd)
{
    int failed = start_make_real();
    if (failed != -EINVAL && failed != -ENOSYS && failed != -EPERM && failed != -EACCES)
        return failed;
    if (map.shape.total_bytes > ALLOCATE_AT_ONCE_MAX_BYTES)
        return -EFBIG;
    for (int attempt = 0; attempt < 64; attempt++) {
        failed = (int)cw_sys(SYS_fallocate, fd, 0, 0L, map.shape.total_bytes);
        if (failed != -EINTR)
            break;
    }
    if (!failed)
        failed = (int)cw_sys(SYS_mprotect, map.base, map.shape.total_bytes, PROT_READ | PROT_WRITE);
    map.all_real = failed == 0;
    return failed;
}

/* First level whose mapping takes an acceptable part of the address space; tries smaller ones where one is refused. */
static unsigned first_level(uint32_t fd_limit)
{
    uint64_t room = cw_limit_soft(RLIMIT_AS) / ADDRESS_SPACE_PART;
    unsigned level = 0;
    for (; level + 1 < CW_SHAPE_LEVELS; level++) {
        cw_shape_make(&map.shape, fd_limit, level);
        if (map.shape.total_bytes <= room && map.shape.total_bytes >> CHUNK_SHIFT < MAX_CHUNKS)
            break;
    }
    return level;
}

static int create_in(const char *dir, uint32_t fd_limit, const struct cw_identity *self)
{
    int dirfd = cw_place_open_dir(dir);
    if (dirfd < 0)
        return dirfd;
    /* It looks at every file there: of a server's children, one for each connection, only some do it. */
    bool child = cw_static.last_view.header != NULL;
    CW_P->earlier = 0;
    if ((cw_static.may & CW_MAY_READLINK) && (!child || self->pid % 32 == 0))
        CW_P->earlier = cw_ledger_prune(dirfd, self);
    int fd = cw_place_create_file(dirfd, dir, self);
    cw_sys(SYS_close, dirfd);
    if (fd < 0)
        return fd;

    struct stat st;
    int failed = (int)cw_sys(SYS_fchmod, fd, 0600); /* whatever the umask took away */
    for (unsigned level = first_level(fd_limit); level < CW_SHAPE_LEVELS; level++) {
        cw_shape_make(&map.shape, fd_limit, level);
        failed = map_fd(fd);
        if (failed)
            continue;
        failed = file_make_real(fd);
        if (!failed)
            break;
        map_drop();
    }
    if (!failed && cw_sys(SYS_fstat, fd, &st) == 0) {
        CW_P->ledger_dev = st.st_dev;
        CW_P->ledger_ino = st.st_ino;
        CW_P->path_known = 1;
    } else {
        cw_sys(SYS_unlinkat, AT_FDCWD, CW_P->ledger_path, 0);
        if (!failed)
            map_drop(), failed = -EIO;
    }
    cw_sys(SYS_close, fd);
    return failed;
}

/* Room for a report, put behind an anonymous ledger: what a program's filter forbids later is then not needed. */
static uint64_t spare_bytes(void)
{
    return SPARE_MIN_BYTES + (uint64_t)map.shape.capacity[CW_SECTION_CONNS] * SPARE_PER_CONN_BYTES;
}

void *cw_ledger_spare(size_t *ret_bytes)
{
    if (!map.in_memory)
        return NULL;
    *ret_bytes = spare_bytes();
    return map.base + map.shape.total_bytes;
}

static int create_in_memory(uint32_t fd_limit)
{
    for (unsigned level = first_level(fd_limit); level < CW_SHAPE_LEVELS; level++) {
        cw_shape_make(&map.shape, fd_limit, level);
        long ret = cw_sys(SYS_mmap, 0L, map.shape.total_bytes + spare_bytes(), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0L);
        if (ret < 0 && ret > -4096)
            continue;
        map.base = (uint8_t *)ret;
        map.in_memory = map.all_real = true; /* touching it cannot raise SIGBUS */
        return 0;
    }
    return -ENOMEM;
}

static int create_somewhere(uint32_t fd_limit, const struct cw_identity *self)
{
    const char *wanted = cw_static.options.ledger_dir;
    int failed = -EPERM;
    if (cw_static.may & CW_MAY_FILES) {
        if (wanted[0])
            failed = map.dir_error = create_in(wanted, fd_limit, self);
        if (failed) {
            char dir[CW_PLACE_DEFAULT_BYTES];
            cw_place_default(dir);
            failed = create_in(dir, fd_limit, self);
        }
        if (failed && !map.dir_error)
            map.dir_error = failed;
    }
    if (!failed)
        return 0;
    CW_P->ledger_path[0] = 0;
    CW_P->path_known = 0;
    return create_in_memory(fd_limit);
}

/* --- filling it --- */

static void fill_sections(struct cw_ledger *header, struct cw_view *view)
{
    for (unsigned i = 0; i < CW_SECTION_COUNT; i++) {
        header->sections[i] = (struct cw_section){
            .offset = map.shape.offset[i],
            .stride = cw_section_strides[i],
            .capacity = map.shape.capacity[i],
            .used = i == CW_SECTION_SLOTS || i == CW_SECTION_STACK_INDEX ? 0 : 1, /* index 0 is nobody's */
        };
    }
    *view = (struct cw_view){.header = header};
#define CW_X(name, type, field)                                                                                        \
    view->field = (type *)(void *)(map.base + map.shape.offset[CW_SECTION_##name]);                                    \
    view->n_##field = map.shape.capacity[CW_SECTION_##name];
    CW_VIEW_SECTIONS(CW_X)
#undef CW_X
}

int cw_ledger_create(void)
{
    struct cw_identity self;
    struct rlimit files = {1024, 1024};

    if (CW_GET(cw_static.seccomp))
        return -EPERM;           /* nothing below is worth being killed for by the program's own filter */
    memset(&map, 0, sizeof map); /* in a forked child: what it inherited speaks of the parent's ledger */
    cw_sys(SYS_prlimit64, 0, RLIMIT_NOFILE, 0L, &files);
    uint32_t fd_limit = files.rlim_max > 1u << 20 ? 1u << 20 : (uint32_t)files.rlim_max;
    cw_identity_of_self(&self);
    CW_P->path_known = 0;

    int failed = create_somewhere(fd_limit, &self);
    if (failed)
        return failed;
    struct cw_ledger *header = (struct cw_ledger *)(void *)map.base;
    fill_sections(header, &CW_P->view);
    header->version = CW_LEDGER_VERSION;
    header->header_bytes = CW_LEDGER_HEADER_BYTES;
    header->total_bytes = map.shape.total_bytes;
    cw_identity_fill(header, &self);
    memcpy(header->magic, CW_LEDGER_MAGIC, sizeof header->magic);
    __atomic_store_n(&header->flags, CW_HEADER_READY | (map.in_memory ? CW_HEADER_ANONYMOUS : 0u), __ATOMIC_RELEASE);
    return 0;
}

/* --- looking at it, leaving it --- */

uint64_t cw_ledger_used_bytes(enum cw_section_id section)
{
    if (!map.base)
        return 0;
    /* The hash has no count of its own: all of it that is real is in use. */
    uint32_t used = map.shape.capacity[section];
    if (section != CW_SECTION_STACK_INDEX) {
        uint32_t seen = CW_GET(((struct cw_ledger *)(void *)map.base)->sections[section].used);
        used = seen < used ? seen : used;
    }
    return (uint64_t)used * cw_section_strides[section];
}

int cw_ledger_each_piece(int (*each)(void *ctx, uint64_t offset, const void *bytes, size_t n), void *ctx)
{
    if (!map.base)
        return -ENOENT;
    int ret = each(ctx, 0, map.base, CW_LEDGER_HEADER_BYTES);
    for (unsigned i = 0; i < CW_SECTION_COUNT && !ret; i++) {
        uint64_t at = map.shape.offset[i], end = at + cw_ledger_used_bytes(i);
        while (at < end && !ret) {
            uint64_t next = ((at >> CHUNK_SHIFT) + 1) << CHUNK_SHIFT;
            if (next > end)
                next = end;
            if (cw_ledger_is_real(at))
                ret = each(ctx, at, map.base + at, next - at);
            at = next;
        }
    }
    return ret;
}
