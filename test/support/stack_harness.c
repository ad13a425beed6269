/* See stack_harness.h. */
#define _GNU_SOURCE
#undef _FORTIFY_SOURCE /* its inline read() would be a second one */
#include "test/support/stack_harness.h"

#include "preload/ledger_file.h"
#include "preload/probe.h"
#include "preload/sys.h"

#include <errno.h>
#include <link.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))

struct harness_counts harness_counts;
bool harness_full;

static const uint32_t capacities[CW_SECTION_COUNT] = {
    [CW_SECTION_SLOTS] = 64,    [CW_SECTION_CONNS] = 64,          [CW_SECTION_THREADS] = 64,
    [CW_SECTION_SETS] = 64,     [CW_SECTION_STACK_INDEX] = 65536, [CW_SECTION_STACKS] = 1 << 20,
    [CW_SECTION_MODULES] = 512, [CW_SECTION_STRINGS] = 1 << 18,
};
static const uint32_t strides[CW_SECTION_COUNT] = {
#define CW_X(name, type) sizeof(type),
    CW_SECTIONS(CW_X)
#undef CW_X
};

void harness_new_ledger(void)
{
    size_t total = CW_LEDGER_HEADER_BYTES;
    for (unsigned i = 0; i < CW_SECTION_COUNT; i++)
        total += ((size_t)capacities[i] * strides[i] + 4095) & ~(size_t)4095;
    char *base = mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED || mprotect(base, CW_LEDGER_HEADER_BYTES, PROT_READ | PROT_WRITE) != 0)
        abort();
    struct cw_ledger *header = (struct cw_ledger *)(void *)base;
    size_t offset = CW_LEDGER_HEADER_BYTES;
    for (unsigned i = 0; i < CW_SECTION_COUNT; i++) {
        header->sections[i] =
            (struct cw_section){.offset = offset, .stride = strides[i], .capacity = capacities[i], .used = 1};
        offset += ((size_t)capacities[i] * strides[i] + 4095) & ~(size_t)4095;
    }
    ssize_t got = readlink("/proc/self/exe", header->exe, sizeof header->exe - 1);
    (void)got;
    static uint32_t epoch;
    CW_P->epoch = ++epoch;
    CW_P->view = (struct cw_view){
        .header = header,
        .stacks = (void *)(base + header->sections[CW_SECTION_STACKS].offset),
        .modules = (void *)(base + header->sections[CW_SECTION_MODULES].offset),
        .strings = base + header->sections[CW_SECTION_STRINGS].offset,
        .n_stacks = capacities[CW_SECTION_STACKS],
        .n_modules = capacities[CW_SECTION_MODULES],
        .n_strings = capacities[CW_SECTION_STRINGS],
    };
    CW_P->live = 1;
}

int cw_ledger_reserve(enum cw_section_id section, uint32_t first, uint32_t n)
{
    const struct cw_section *s = &CW_P->view.header->sections[section];
    if (CW_GET(harness_full))
        return -ENOMEM;
    if (first >= s->capacity || n > s->capacity - first)
        return -EINVAL;
    uintptr_t at = (uintptr_t)CW_P->view.header + s->offset;
    uintptr_t low = (at + (uintptr_t)first * s->stride) & ~(uintptr_t)4095;
    uintptr_t high = (at + (uintptr_t)(first + n) * s->stride + 4095) & ~(uintptr_t)4095;
    return (int)cw_sys(SYS_mprotect, low, high - low, PROT_READ | PROT_WRITE);
}

void harness_begin(unsigned depth, unsigned unwinder)
{
    cw_options_default(&cw_static.options);
    cw_static.may = CW_MAY_ALL;
    cw_static.options.depth = depth;
    cw_static.options.unwinder = unwinder;
    cw_static.main_stack_end = getauxval(AT_RANDOM);
    harness_new_ledger();
    cw_stack_init();
}

unsigned harness_frames(uint32_t id, uintptr_t *ret_ip, unsigned *ret_flags)
{
    const uint64_t *frames;
    unsigned flags, n = cw_view_stack(&CW_P->view, id, &frames, &flags);
    for (unsigned i = 0; i < n; i++) {
        uint32_t module = CW_FRAME_MODULE(frames[i]);
        ret_ip[i] = CW_FRAME_OFFSET(frames[i]) + (module ? CW_P->view.modules[module].load : 0);
    }
    if (ret_flags)
        *ret_flags = flags;
    return n;
}

#if !HARNESS_SANITIZED

/* --- the rows --- */

static bool fenced(void)
{
    bool yes = cw_stack_guarded();
    __atomic_fetch_add(yes ? &harness_counts.fenced : &harness_counts.bare, 1, __ATOMIC_RELAXED);
    return yes;
}

static long settle(long result)
{
    if (result < 0 && result > -4096) {
        errno = (int)-result;
        return -1;
    }
    return result;
}

EXPORTED int pipe2(int fds[2], int flags)
{
    return fenced() ? cw_fence_pipe2(fds, flags) : (int)settle(cw_sys(SYS_pipe2, fds, flags));
}

EXPORTED ssize_t read(int fd, void *buf, size_t n)
{
    return fenced() ? cw_fence_read(fd, buf, n) : settle(cw_sys(SYS_read, fd, buf, n));
}

EXPORTED ssize_t write(int fd, const void *buf, size_t n)
{
    return fenced() ? cw_fence_write(fd, buf, n) : settle(cw_sys(SYS_write, fd, buf, n));
}

EXPORTED int close(int fd)
{
    return fenced() ? cw_fence_close(fd) : (int)settle(cw_sys(SYS_close, fd));
}

EXPORTED long syscall(long nr, ...)
{
    long a[6];
    va_list list;
    va_start(list, nr);
    for (unsigned i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    if (fenced())
        return cw_fence_syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    return settle(cw_sys6(nr, a[0], a[1], a[2], a[3], a[4], a[5]));
}

/* The program's own look-ups (a C++ exception, libgcc before version 12) go to the loader. */
EXPORTED int dl_iterate_phdr(int (*callback)(struct dl_phdr_info *, size_t, void *), void *data)
{
    int result;
    if (fenced() && cw_fence_dl_iterate_phdr(callback, data, &result))
        return result;
    static int (*real)(int (*)(struct dl_phdr_info *, size_t, void *), void *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "dl_iterate_phdr");
    return real(callback, data);
}

#endif
