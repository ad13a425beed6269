/* The fence around libunwind: answers to the calls that it makes through our own hooks while it walks.
 *
 * libunwind checks an address by writing a byte from it into a pipe of its own. Bare, that pipe's two numbers are
 * remembered even after the program has closed and reused them. Here it gets numbers that never were fds; a read
 * finds the pipe empty, and a write says whether the byte could be read. Its search for unwind tables is answered
 * without the loader's lock. While the guard is up all signals but those of faults are blocked, so nobody else calls
 * these. */
#define _GNU_SOURCE
#include "preload/objects.h"
#include "preload/stack.h"
#include "preload/sys.h"
#include "preload/unwind.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <unistd.h>

#define FAKE_FD 0x7ffffff0

static uintptr_t expected; /* the walker's current return address; one thread at a time is inside */

void cw_fence_expect(uintptr_t ip)
{
    CW_SET(expected, ip);
}

/* libunwind's calls bind to the first definition in the global scope. Another library's (a sanitizer's, a second
 * preload's) may or may not pass them on to us. */
bool cw_fence_stands(const void *own)
{
    static const char *const names[] = {"pipe2", "read", "write", "close", "syscall", "dl_iterate_phdr"};
    Dl_info us, them;
    if (!dladdr(own, &us))
        return false;
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        const void *bound = dlsym(RTLD_DEFAULT, names[i]);
        if (!bound || !dladdr(bound, &them) || them.dli_fbase != us.dli_fbase)
            return false;
    }
    return true;
}

static long failed(int error)
{
    errno = error;
    return -1;
}

/* A result as libc gives it. */
static long settle(long result)
{
    return result < 0 && result > -4096 ? failed((int)-result) : result;
}

static bool is_fake(int fd)
{
    return fd == FAKE_FD || fd == FAKE_FD + 1;
}

int cw_fence_pipe2(int fds[2], int flags)
{
    (void)flags;
    fds[0] = FAKE_FD;
    fds[1] = FAKE_FD + 1;
    return 0;
}

/* One byte: libunwind's way of asking, also of a pipe that it opened while the program itself used it (fd not ours). */
ssize_t cw_fence_read(int fd, void *buf, size_t n)
{
    if (is_fake(fd) || n == 1)
        return failed(EAGAIN);
    return settle(cw_sys(SYS_read, fd, buf, n));
}

ssize_t cw_fence_write(int fd, const void *buf, size_t n)
{
    if (is_fake(fd) || n == 1)
        return cw_objects_readable((uintptr_t)buf) ? (ssize_t)n : failed(EFAULT);
    return settle(cw_sys(SYS_write, fd, buf, n));
}

/* It closes only the pipe that it believes to be its own: never a number that the program may have by now. */
int cw_fence_close(int fd)
{
    (void)fd;
    return 0;
}

long cw_fence_syscall(long nr, long a, long b, long c, long d, long e, long f)
{
    if (nr == SYS_write)
        return cw_fence_write((int)a, (const void *)b, (size_t)c);
    if (nr == SYS_read)
        return cw_fence_read((int)a, (void *)b, (size_t)c);
    if (nr == SYS_close)
        return cw_fence_close((int)a);
    if (nr == SYS_pipe2)
        return cw_fence_pipe2((int *)a, (int)b);
    return settle(cw_sys6(nr, a, b, c, d, e, f));
}

/* Made of what the loader said, not of the file's program headers: the whole mapped range as one segment, the unwind
 * tables, the dynamic section. An object without tables is not shown at all: libunwind would open its file. */
int cw_fence_dl_iterate_phdr(int (*callback)(struct dl_phdr_info *, size_t, void *), void *data, int *ret_result)
{
    uintptr_t ip = CW_GET(expected);
    struct cw_object object;
    *ret_result = 0;
    if ((!cw_objects_find(ip - 1, &object) && !cw_objects_find(ip, &object)) || !object.eh_frame_hdr)
        return 1;
    ElfW(Phdr) headers[3] = {
        {.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_vaddr = object.start - object.load},
        {.p_type = PT_GNU_EH_FRAME, .p_flags = PF_R, .p_vaddr = object.eh_frame_hdr - object.load},
        {.p_type = PT_DYNAMIC, .p_flags = PF_R, .p_vaddr = object.dynamic - object.load},
    };
    headers[0].p_memsz = headers[0].p_filesz = object.end - object.start;
    struct dl_phdr_info info = {
        .dlpi_addr = object.load,
        .dlpi_name = object.name,
        .dlpi_phdr = headers,
        .dlpi_phnum = object.dynamic ? 3 : 2,
    };
    *ret_result = callback(&info, sizeof info, data);
    return 1;
}
