/* Finding out what a seccomp filter kills on, without dying of it.
 *
 * The trouble is the child in which a call would be tried: if the filter kills on clone, making it kills us. Nothing
 * can show that without a risk, so clone counts as survived only on evidence: filters are inherited and only ever
 * added, therefore
 *   - a parent under as many filters as we are has made us under just these (supposing that it has not added one since,
 * in the same number as we did), and
 *   - a process that has itself forked or made a thread has survived it.
 * A filter that lets one member of the family (clone, clone3, fork, vfork) pass and kills on another is not provided
 * for. */
#define _GNU_SOURCE
#include "preload/probe.h"

#include "preload/ledger_parts.h"
#include "preload/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

/* What is tried, in this order: the bit that goes when the filter kills, and the call, with arguments that do no harm.
 * The first three make the child safe to lose: no handler of the program's runs in it, and no core is dumped. */
#define CW_STEPS(X)                                                                                                    \
    X(SIGNALS, cw_sys(SYS_rt_sigprocmask, SIG_SETMASK, &all, 0L, 8L))                                                  \
    X(CLONE, cw_sys(SYS_prctl, PR_SET_DUMPABLE, 0L, 0L, 0L, 0L))                                                       \
    X(SIGNALS, cw_sys(SYS_rt_sigaction, SIGSYS, &by_default, 0L, 8L))                                                  \
    X(CLONE, cw_sys(SYS_wait4, -1, 0L, WNOHANG | __WCLONE, 0L))                                                        \
    X(CLONE, cw_sys(SYS_close_range, ~0u, ~0u, 0L))                                                                    \
    X(CLONE, cw_sys(SYS_execveat, -1, "", 0L, 0L, AT_EMPTY_PATH))                                                      \
    X(CLONE, cw_sys(SYS_pidfd_open, -1, 0L))                                                                           \
    X(CLONE, cw_sys(SYS_ppoll, 0L, 0L, &no_time, 0L, 8L))                                                              \
    X(CLONE, cw_sys(SYS_dup3, -1, -1, 0L))                                                                             \
    X(CLONE, cw_sys(SYS_kill, cw_sys(SYS_getpid), 0L))                                                                 \
    X(GETSOCKOPT, cw_sys(SYS_getsockopt, -1, 0L, 0L, 0L, 0L))                                                          \
    X(GETSOCKOPT, cw_sys(SYS_getsockname, -1, 0L, 0L))                                                                 \
    X(GETSOCKOPT, cw_sys(SYS_getpeername, -1, 0L, 0L))                                                                 \
    X(NETLINK, fd = (int)cw_sys(SYS_socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG))                   \
    X(NETLINK, cw_sys(SYS_sendto, fd, "", 0L, 0L, 0L, 0L))                                                             \
    X(NETLINK, cw_sys(SYS_recvfrom, fd, &word, sizeof word, MSG_DONTWAIT, 0L, 0L))                                     \
    X(NETLINK, cw_sys(SYS_recvmsg, -1, 0L, 0L))                                                                        \
    X(VM_READV, cw_sys(SYS_process_vm_readv, cw_sys(SYS_getpid), &here, 1L, &here, 1L, 0L))                            \
    X(FILES, cw_sys(SYS_mkdirat, -1, "", 0L))                                                                          \
    X(FILES, cw_sys(SYS_openat, -1, "", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600L))                    \
    X(FILES, cw_sys(SYS_fcntl, -1, F_DUPFD_CLOEXEC, 0L))                                                               \
    X(FILES, cw_sys(SYS_fchmod, -1, 0600L))                                                                            \
    X(FILES, cw_sys(SYS_ftruncate, -1, 0L))                                                                            \
    X(FILES, cw_sys(SYS_fstatfs, -1, 0L))                                                                              \
    X(FILES, cw_sys(SYS_fallocate, -1, 0L, 0L, 0L))                                                                    \
    X(FILES, cw_sys(SYS_madvise, 0L, 0L, 0L))                                                                          \
    X(FILES, cw_sys(SYS_lseek, -1, 0L, 0L))                                                                            \
    X(FILES, cw_sys(SYS_unlinkat, -1, "", 0L))                                                                         \
    X(FILES, cw_sys(SYS_renameat, -1, "", -1, ""))                                                                     \
    X(FILES, cw_sys(SYS_uname, 0L))                                                                                    \
    X(FILES, cw_sys(SYS_geteuid) + cw_sys(SYS_getuid) + cw_sys(SYS_getppid))                                           \
    X(READLINK, cw_sys(SYS_readlinkat, -1, "", 0L, 0L))                                                                \
    X(READLINK, cw_sys(SYS_getdents64, -1, 0L, 0L))                                                                    \
    X(POLL, cw_sys(SYS_poll, 0L, 0L, 0L))                                                                              \
    X(SIGNALS, cw_sys(SYS_rt_sigtimedwait, &all, 0L, &no_time, 8L))                                                    \
    X(SIGNALS, cw_sys(SYS_rt_sigpending, &word, 8L))                                                                   \
    X(SIGNALS, cw_sys(SYS_sigaltstack, 0L, 0L))                                                                        \
    X(SIGNALS, cw_sys(SYS_tgkill, -1, -1, 0L))                                                                         \
    X(SIGNALS, cw_sys(SYS_mincore, 0L, 0L, 0L)) /* libunwind's */                                                      \
    X(POLL, cw_sys(SYS_ioctl, -1, 0L, 0L))                                                                             \
    X(FILES, cw_sys(SYS_faccessat, -1, "", 0L))                                                                        \
    X(FILES, cw_sys(SYS_renameat2, -1, "", -1, "", 0L))                                                                \
    X(MEMFD, cw_sys(SYS_memfd_create, "cwguard", MFD_CLOEXEC))                                                         \
    X(MEMFD, cw_sys(SYS_pwrite64, -1, 0L, 0L, 0L))

#define SAFETY_STEPS 3u
#define STEP_WAIT4 3u /* its place in the list: until a child has survived it, none is reaped */

static const uint16_t step_bits[] = {
#define CW_X(bit, call) CW_MAY_##bit,
    CW_STEPS(CW_X)
#undef CW_X
};
#define STEP_COUNT ((unsigned)(sizeof step_bits / sizeof step_bits[0]))

/* Shared with the child: the step it is at, STEP_COUNT when it is through. */
struct progress {
    volatile unsigned at;
    bool deadly[SAFETY_STEPS];
};

/* In the child: the steps from `first` on, after those that make it safe to lose. */
static void take_steps(struct progress *progress, unsigned first)
{
    uint64_t all = ~UINT64_C(0), word = 0;
    struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        uint64_t mask;
    } by_default = {0};
    struct timespec no_time = {0};
    struct iovec here = {&word, sizeof word};
    int fd = -1;
    unsigned step = 0;

#define CW_X(bit, call)                                                                                                \
    if (step >= first || (step < SAFETY_STEPS && !progress->deadly[step])) {                                           \
        progress->at = step < first ? first : step;                                                                    \
        (void)(call);                                                                                                  \
    }                                                                                                                  \
    step++;
    CW_STEPS(CW_X)
#undef CW_X
    progress->at = STEP_COUNT;
}

/* Runs the steps in children, a new one after each death. Exit signal 0: no waitpid(-1) sees them, no SIGCHLD comes.
 * CLONE_VFORK without CLONE_VM: we sleep until the child is gone, and a core dump of it would not be ours. */
static int try_in_children(struct progress *progress)
{
    int may = CW_MAY_ALL;
    bool may_wait = false;
    for (unsigned first = 0; first < STEP_COUNT;) {
        progress->at = first;
        long child = cw_sys(SYS_clone, CLONE_VFORK, 0L, 0L, 0L, 0L);
        if (child == 0) {
            take_steps(progress, first);
            cw_sys(SYS_exit_group, 0);
            __builtin_unreachable();
        }
        if (child < 0)
            return 0; /* nothing could be found out */
        if (progress->at > STEP_WAIT4)
            may_wait = may_wait || first <= STEP_WAIT4;
        if (may_wait)
            while (cw_sys(SYS_wait4, child, 0L, __WCLONE, 0L) == -EINTR)
                ;
        if (progress->at < SAFETY_STEPS)
            progress->deadly[progress->at] = true;
        if (progress->at < STEP_COUNT)
            may &= ~(int)step_bits[progress->at];
        first = progress->at + 1;
    }
    return may;
}

static int try_all(void)
{
    long page = cw_sys(SYS_mmap, 0L, 4096L, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0L);
    if (page < 0 && page > -4096)
        return 0;
    int may = try_in_children((struct progress *)page);
    cw_sys(SYS_munmap, page, 4096L);
    return may;
}

/* The number behind "\nKEY:\t" in a /proc/PID/status text; -1 if there is no such line. */
static long status_number(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    if (!at)
        return -1;
    long value = 0;
    at += strlen(key);
    while (*at == '\t' || *at == ' ')
        at++;
    while (*at >= '0' && *at <= '9')
        value = value * 10 + (*at++ - '0');
    return value;
}

static bool parent_is_under_the_same(long parent, long filters, char *text, size_t size)
{
    char path[40] = "/proc/", digits[24], *d = digits + sizeof digits;
    if (parent <= 0 || filters <= 0)
        return false;
    memcpy(d -= 8, "/status", 8);
    for (; parent; parent /= 10)
        *--d = (char)('0' + parent % 10);
    memcpy(path + 6, d, (size_t)(digits + sizeof digits - d));
    return cw_file_read(path, text, size) > 0 && status_number(text, "\nSeccomp_filters:") == filters;
}

int cw_probe_syscalls(void)
{
    char text[4096];
    if (cw_file_read("/proc/thread-self/status", text, sizeof text) <= 0) {
        /* No /proc: ask in the one way that is left; few filters mind a prctl. Refused: no seccomp in the kernel. */
        return cw_sys(SYS_prctl, PR_GET_SECCOMP, 0L, 0L, 0L, 0L) <= 0 ? CW_MAY_ALL : 0;
    }
    if (status_number(text, "\nSeccomp:") <= 0)
        return CW_MAY_ALL;
    long filters = status_number(text, "\nSeccomp_filters:"), parent = status_number(text, "\nPPid:");
    return parent_is_under_the_same(parent, filters, text, sizeof text) ? try_all() : 0;
}

int cw_probe_again(bool cloned)
{
    return cloned ? try_all() : cw_probe_syscalls();
}
