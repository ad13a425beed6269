/* Processes of our own. See spawn.h. */
#define _GNU_SOURCE
#include "preload/spawn.h"

#include "preload/clock.h"
#include "preload/ledger_parts.h"
#include "preload/sys.h"

#include <errno.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#define SECOND_NS UINT64_C(1000000000)
#define POLL_STEP_NS (2 * UINT64_C(1000000)) /* where there is no pidfd (before Linux 5.3) */
#define FDS_WANTED 256u
#define CLOSE_ONE_BY_ONE_MAX 65536u /* where there is no close_range (before Linux 5.9) */

void *cw_spawn_map(size_t n)
{
    long ret = cw_sys(SYS_mmap, 0L, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0L);
    return ret < 0 && ret > -4096 ? NULL : (void *)ret;
}

_Noreturn void cw_spawn_exit(int status)
{
    cw_sys(SYS_exit_group, status);
    __builtin_unreachable();
}

/* The child comes out of the system call on a stack of its own, with nothing above it to return to. */
long cw_spawn(unsigned long flags, void *stack, void (*fn)(void *), void *arg)
{
#ifdef __SANITIZE_ADDRESS__
    /* Who had the stack before has run another program: its shadow still speaks of that one's frames. */
    __asan_unpoison_memory_region(stack, CW_SPAWN_STACK_BYTES);
#endif
    long ret = SYS_clone;
    uintptr_t top = ((uintptr_t)stack + CW_SPAWN_STACK_BYTES) & ~(uintptr_t)15;
    register long parent_tid __asm__("rdx") = 0;
    register long child_tid __asm__("r10") = 0;
    register long tls __asm__("r8") = 0;
    __asm__ volatile("syscall\n\t"
                     "testq %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "movq %[arg], %%rdi\n\t"
                     "callq *%[fn]\n\t"
                     "xorl %%edi, %%edi\n\t"
                     "movl %[exit_group], %%eax\n\t"
                     "syscall\n\t"
                     "ud2\n"
                     "1:"
                     : "+a"(ret)
                     : "D"(flags | CLONE_VM), "S"(top), "r"(parent_tid), "r"(child_tid),
                       "r"(tls), [fn] "r"(fn), [arg] "r"(arg), [exit_group] "i"(SYS_exit_group)
                     : "rcx", "r11", "memory");
    return ret;
}

uint64_t cw_spawn_now_ns(void)
{
    return cw_clock_ns(CLOCK_MONOTONIC);
}

static struct timespec in_timespec(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / SECOND_NS), .tv_nsec = (long)(ns % SECOND_NS)};
}

/* Sleeps until the process has probably ended, for at most left_ns. */
static void sleep_for(int pidfd, uint64_t left_ns)
{
    if (pidfd >= 0) {
        struct pollfd waiting = {.fd = pidfd, .events = POLLIN};
        struct timespec left = in_timespec(left_ns);
        cw_sys(SYS_ppoll, &waiting, 1L, &left, 0L, 8L);
    } else {
        struct timespec step = in_timespec(left_ns < POLL_STEP_NS ? left_ns : POLL_STEP_NS);
        cw_sys(SYS_nanosleep, &step, 0L);
    }
}

static long reap(long pid, int *ret_status, int options)
{
    long got;
    do
        got = cw_sys(SYS_wait4, pid, ret_status, options | __WALL, 0L);
    while (got == -EINTR);
    return got;
}

int cw_spawn_wait(long pid, uint64_t deadline_ns)
{
    int status = 0;
    if (deadline_ns == 0) {
        long got = reap(pid, &status, 0);
        return got < 0 ? (int)got : status;
    }
    int pidfd = (int)cw_sys(SYS_pidfd_open, pid, 0L);
    long got;
    while ((got = reap(pid, &status, WNOHANG)) == 0) {
        uint64_t now_ns = cw_spawn_now_ns();
        if (now_ns >= deadline_ns) {
            cw_sys(SYS_kill, pid, SIGKILL);
            got = reap(pid, &status, 0);
            break;
        }
        sleep_for(pidfd, deadline_ns - now_ns);
    }
    if (pidfd >= 0)
        cw_sys(SYS_close, pidfd);
    return got < 0 ? (int)got : status;
}

/* The limits of a new process are its own: the program may have put its soft one below what a report needs. */
static void take_room_for_fds(void)
{
    struct rlimit files;
    if (cw_sys(SYS_prlimit64, 0, RLIMIT_NOFILE, 0L, &files) != 0 || files.rlim_cur >= FDS_WANTED)
        return;
    files.rlim_cur = files.rlim_max < FDS_WANTED ? files.rlim_max : FDS_WANTED;
    cw_sys(SYS_prlimit64, 0, RLIMIT_NOFILE, &files, 0L);
}

void cw_spawn_take_fds(int out_fd)
{
    take_room_for_fds();
    if (out_fd >= 0)
        out_fd = (int)cw_sys(SYS_dup2, out_fd, 1);
    if (out_fd >= 0)
        cw_sys(SYS_dup2, 1, 2);
    if (cw_sys(SYS_close_range, out_fd >= 0 ? 3 : 0, ~0u, 0L) != 0) {
        uint64_t limit = cw_limit_soft(RLIMIT_NOFILE);
        for (unsigned fd = out_fd >= 0 ? 3 : 0; fd < limit && fd < CLOSE_ONE_BY_ONE_MAX; fd++)
            cw_sys(SYS_close, fd);
    }
    if (out_fd >= 0)
        cw_sys(SYS_close, 0);
    /* In a chroot without /dev the numbers stay free; what is opened later must then not land on 1 or 2. */
    long null = cw_sys(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR, 0);
    if (null == 0 && out_fd < 0) {
        cw_sys(SYS_dup2, 0, 1);
        cw_sys(SYS_dup2, 0, 2);
    }
}

struct kernel_sigaction {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};

void cw_spawn_reset_signals(uint64_t mask)
{
    const struct kernel_sigaction by_default = {0};
    for (int signal = 1; signal <= 64; signal++)
        cw_sys(SYS_rt_sigaction, signal, &by_default, 0L, 8L);
    cw_sys(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0L, 8L);
}
