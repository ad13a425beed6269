/* What a seccomp filter leaves us: which system calls of our own the process survives.
 *
 * A filter that was there before exec (container runtimes, systemd) is seen by no hook, and a call that it kills on
 * cannot be tried twice. Without a filter everything is allowed. With one, calls are tried in a child, if it is known
 * that making a child is survived; else only what the loader and libc's start have already done under the same filter
 * is allowed. */
#ifndef PRELOAD_PROBE_H
#define PRELOAD_PROBE_H

#include <stdbool.h>
#include <stdint.h>

/* Groups of calls that are needed together. mmap, munmap, openat for reading, read, close, fstat and newfstatat,
 * prlimit64 and getrandom are always allowed: the loader and libc's start make them. A bit says that making the calls
 * is survived, not that they succeed: a filter may still answer with an error. */
#define CW_MAYS(X)                                                                                                     \
    X(CLONE)      /* clone, wait4, close_range, execveat, …: a process of ours */                                    \
    X(GETSOCKOPT) /* getsockopt, getsockname, getpeername */                                                           \
    X(NETLINK)    /* socket(AF_NETLINK), sendto and recvfrom on it */                                                  \
    X(VM_READV)   /* process_vm_readv on ourselves */                                                                  \
    X(FILES)      /* a ledger in a file: mkdirat, ftruncate, fstatfs, madvise, unlinkat, … */                        \
    X(READLINK)   /* readlinkat and getdents64: /proc/self/fd, /proc/self/exe */                                       \
    X(POLL)       /* poll, ioctl */                                                                                    \
    X(SIGNALS)    /* rt_sigprocmask, rt_sigaction, rt_sigtimedwait, sigaltstack, tgkill; mincore */                    \
    X(MEMFD)      /* memfd_create, pwrite64 */

enum cw_may_bit {
#define CW_X(name) CW_MAY_BIT_##name,
    CW_MAYS(CW_X)
#undef CW_X
        CW_MAY_BIT_COUNT
};
enum cw_may {
#define CW_X(name) CW_MAY_##name = 1 << CW_MAY_BIT_##name,
    CW_MAYS(CW_X)
#undef CW_X
        CW_MAY_ALL = (1 << CW_MAY_BIT_COUNT) - 1
};

/* The set (enum cw_may) that the filter present now allows; CW_MAY_ALL when there is none. Reads
 * /proc/thread-self/status; may start children that no waitpid(-1) sees. At load (one thread), before the program can
 * have installed a filter of its own. */
int cw_probe_syscalls(void);

/* For the end of the process, when cw_probe_syscalls() did not include CW_MAY_CLONE: asks again, with what the process
 * has done since as evidence (`cloned`: it has forked, or more than one thread has been seen). Not once the program has
 * installed a filter. Any thread; may start children. */
int cw_probe_again(bool cloned);

#endif
