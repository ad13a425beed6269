/* What epoll sets hold, by /proc/self/fdinfo. */
#define _GNU_SOURCE
#include "preload/kernel.h"

#include "core/fdinfo.h"
#include "preload/ledger_parts.h"
#include "preload/record.h"
#include "preload/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#define SETS_MAX 65536u /* as many as a record can name */

/* An fd that means the set, -1 if none is known. */
static int fd_of(uint32_t index)
{
    int fd = CW_GET(CW_P->view.sets[index].fd);
    uint32_t ready = CW_GET(CW_P->slots_ready);
    for (uint32_t i = 0; i <= ready; i++) { /* first the one it was made as */
        uint64_t slot = cw_table_slot(&cw_table, fd);
        if (CW_SLOT_KIND(slot) == CW_SLOT_SET && CW_SLOT_INDEX(slot) == index)
            return fd;
        fd = (int)i;
    }
    return -1;
}

static int open_fdinfo(int fd)
{
    static const char before[] = "/proc/thread-self/fdinfo/";
    char path[sizeof before + 12], digits[12];
    unsigned n = 0, at = sizeof before - 1;
    memcpy(path, before, at);
    for (unsigned rest = (unsigned)fd; rest || !n; rest /= 10)
        digits[n++] = (char)('0' + rest % 10);
    while (n)
        path[at++] = digits[--n];
    path[at] = 0;
    return cw_fd_open(AT_FDCWD, path, O_RDONLY, 0);
}

/* Reads all lines: enters up to `room` registrations, returns how many there are, or negative errno. */
static long read_watches(int fd, struct cw_watch *watches, size_t room)
{
    char buf[4096 + CW_FDINFO_LINE_BYTES];
    size_t held = 0;
    long got, n = 0;
    while ((got = cw_sys(SYS_read, fd, buf + held, sizeof buf - held)) > 0) {
        size_t end = held + (size_t)got, at = 0;
        for (const char *newline; at < end && (newline = memchr(buf + at, '\n', end - at));
             at = (size_t)(newline - buf) + 1) {
            struct cw_watch watch;
            if (!cw_fdinfo_watch(buf + at, (size_t)(newline - buf) - at, &watch))
                continue;
            if ((size_t)n < room)
                watches[n] = watch;
            n++;
        }
        held = end - at;
        if (held >= sizeof buf)
            return -EMSGSIZE;
        memmove(buf, buf + at, held);
    }
    return got < 0 ? got : n;
}

static long count_watches(int set_fd)
{
    int fd = open_fdinfo(set_fd);
    if (fd < 0)
        return fd;
    long n = read_watches(fd, NULL, 0);
    cw_sys(SYS_close, fd);
    return n;
}

/* Twice: to count, then to keep. What was added in between, by another thread, is left out. */
void cw_kernel_check_set(uint32_t index)
{
    int set_fd = fd_of(index);
    long n = set_fd < 0 ? -ENOENT : count_watches(set_fd);
    if (n < 0) {
        cw_fdinfo_refused(&CW_P->view, index, (int)-n);
        return;
    }
    size_t room = (size_t)n + 64, bytes = room * sizeof(struct cw_watch);
    long memory = cw_sys(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory < 0 && memory > -4096) {
        cw_fdinfo_refused(&CW_P->view, index, (int)-memory);
        return;
    }
    struct cw_watch *watches = (struct cw_watch *)memory;
    int fd = open_fdinfo(set_fd);
    n = fd < 0 ? fd : read_watches(fd, watches, room);
    if (fd >= 0)
        cw_sys(SYS_close, fd);
    if (n >= 0)
        cw_fdinfo_enter(&CW_P->view, index, watches, (size_t)n < room ? (size_t)n : room);
    else
        cw_fdinfo_refused(&CW_P->view, index, (int)-n);
    cw_sys(SYS_munmap, memory, bytes);
}

void cw_kernel_check_sets(void)
{
    uint32_t conns = cw_table_used(&cw_table, CW_SECTION_CONNS), sets = cw_table_used(&cw_table, CW_SECTION_SETS);
    if (!cw_kernel_may(0) || sets <= 1)
        return;
    /* One bit per set. */
    long memory = cw_sys(SYS_mmap, 0, SETS_MAX / 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory < 0 && memory > -4096)
        return;
    unsigned char *wanted = (unsigned char *)memory;
    for (uint32_t i = 1; i < conns; i++) {
        const struct cw_conn *conn = &CW_P->view.conns[i];
        uint16_t set = CW_GET(conn->epoll_set);
        if (set && (CW_GET(conn->flags) & CW_CONN_WATCHED) && cw_fdinfo_wanted(conn))
            wanted[set / 8] |= (unsigned char)(1u << set % 8);
    }
    for (uint32_t set = 1; set < sets && set < SETS_MAX; set++)
        if (wanted[set / 8] & 1u << set % 8)
            cw_kernel_check_set(set);
    cw_sys(SYS_munmap, memory, SETS_MAX / 8);
}
