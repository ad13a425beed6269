#define _GNU_SOURCE /* process_vm_readv */
#include "cli/process/snapshot.h"

#include "cli/process/tasks.h"
#include "core/syscalls.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE_BYTES = 4096, RED_ZONE_BYTES = 128, ATTEMPTS = 20 };

struct cw_snapshot *cw_snapshot_new(void)
{
    /* Shared: the process that stops the thread writes into it. */
    void *memory = mmap(NULL, sizeof(struct cw_snapshot), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void cw_snapshot_free(struct cw_snapshot *snapshot)
{
    if (snapshot)
        munmap(snapshot, sizeof *snapshot);
}

int cw_snapshot_peek(pid_t pid, uint64_t address, void *to, size_t n)
{
    struct iovec local = {.iov_base = to, .iov_len = n};
    struct iovec remote = {.iov_base = (void *)(uintptr_t)address, .iov_len = n};
    ssize_t got = process_vm_readv(pid, &local, 1, &remote, 1, 0);

    if (got < 0)
        return -errno;
    return (size_t)got == n ? 0 : -EFAULT;
}

/* Copies the stack from its innermost word outwards, page by page, as far as there is memory. */
static int copy_stack(struct cw_snapshot *snapshot, pid_t pid)
{
    enum { PIECES = CW_SNAPSHOT_STACK_BYTES / PAGE_BYTES };
    struct iovec local = {.iov_base = snapshot->stack, .iov_len = CW_SNAPSHOT_STACK_BYTES}, remote[PIECES];
    uint64_t at = snapshot->registers[CW_SNAPSHOT_SP] - RED_ZONE_BYTES;

    snapshot->stack_at = at;
    for (unsigned i = 0; i < PIECES; i++) {
        uint64_t next = i + 1 < PIECES ? (at | (PAGE_BYTES - 1)) + 1 : snapshot->stack_at + CW_SNAPSHOT_STACK_BYTES;
        remote[i] = (struct iovec){.iov_base = (void *)(uintptr_t)at, .iov_len = (size_t)(next - at)};
        at = next;
    }
    ssize_t got = process_vm_readv(pid, &local, 1, remote, PIECES, 0);
    if (got < 0)
        return -errno;
    snapshot->stack_bytes = (uint32_t)got;
    return 0;
}

/* --- without a stop --- */

/* Calls that go on after a stop as if nothing had been: the kernel restarts them where no handler runs (signal(7), "Interruption
 * of system calls by stop signals"; ptrace(2)). Others fail with EINTR, or, what the program may be prepared for even less,
 * return what they have transferred so far: a blocking send, or a recv with MSG_WAITALL. */
static bool goes_on_after_a_stop(int nr)
{
    switch (nr) {
    case SYS_futex:
    case SYS_nanosleep:
    case SYS_clock_nanosleep:
    case SYS_poll:
    case SYS_ppoll:
    case SYS_select:
    case SYS_pselect6:
    case SYS_wait4:
    case SYS_waitid:
    case SYS_pause:
    case SYS_rt_sigsuspend:
    case SYS_sched_yield:
        return true;
    default:
        return nr == CW_SYSCALL_NONE;
    }
}

static bool same_call(const struct cw_task_call *a, const struct cw_task_call *b)
{
    return a->nr == b->nr && a->sp == b->sp && a->pc == b->pc && a->args[0] == b->args[0];
}

static int take_asleep(struct cw_snapshot *snapshot, pid_t pid, pid_t tid, const struct cw_task_call *call)
{
    struct cw_task_call again;
    int error;

    snapshot->registers[CW_SNAPSHOT_SP] = call->sp;
    snapshot->registers[CW_SNAPSHOT_PC] = call->pc;
    snapshot->known = 1u << CW_SNAPSHOT_SP | 1u << CW_SNAPSHOT_PC;
    error = copy_stack(snapshot, pid);
    if (!error)
        error = cw_task_call(pid, tid, &again);
    return error ? error : same_call(call, &again) ? 0 : -EAGAIN;
}

/* --- with a stop, in a process of our own --- */

static void keep_registers(struct cw_snapshot *snapshot, const struct user_regs_struct *regs)
{
    const uint64_t by_number[CW_SNAPSHOT_REGISTERS] = {regs->rax, regs->rdx, regs->rcx, regs->rbx, regs->rsi, regs->rdi,
                                                       regs->rbp, regs->rsp, regs->r8,  regs->r9,  regs->r10, regs->r11,
                                                       regs->r12, regs->r13, regs->r14, regs->r15, regs->rip};

    memcpy(snapshot->registers, by_number, sizeof by_number);
    snapshot->known = (1u << CW_SNAPSHOT_REGISTERS) - 1;
}

/* From when it has stopped to the end of the caller the thread stands still. It is not reaped (WNOWAIT): if we die now, the kernel
 * still knows which signal it was about to take. */
static int copy_stopped(struct cw_snapshot *snapshot, pid_t pid, pid_t tid)
{
    struct user_regs_struct regs;
    struct iovec into = {.iov_base = &regs, .iov_len = sizeof regs};
    siginfo_t info = {0};
    int error;

    if (waitid(P_PID, (id_t)tid, &info, WSTOPPED | WEXITED | __WALL | WNOWAIT) < 0)
        return -errno;
    if (info.si_code != CLD_TRAPPED && info.si_code != CLD_STOPPED)
        return -ESRCH;
    if (ptrace(PTRACE_GETREGSET, tid, (void *)NT_PRSTATUS, &into) < 0) {
        error = -errno;
    } else {
        keep_registers(snapshot, &regs);
        error = copy_stack(snapshot, pid);
    }
    /* Stopped by our interruption or by job control: no signal. Stopped on its way to a signal: that goes on. */
    bool by_event = info.si_status >> 8 != 0;
    ptrace(PTRACE_DETACH, tid, 0, (void *)(uintptr_t)(by_event ? 0 : (unsigned)info.si_status & 0x7f));
    return error;
}

/* call NULL: job control has stopped it already. Then it is not interrupted: seizing it alone makes its stop one that registers
 * can be read in, and the kernel puts it back into that stop when it is let go (ptrace(2), "Group-stop"), of which its parent
 * hears nothing. */
static int stop_and_copy(struct cw_snapshot *snapshot, pid_t pid, pid_t tid, const struct cw_task_call *call)
{
    struct cw_task_call again;
    int error;

    if (ptrace(PTRACE_SEIZE, tid, 0, 0) < 0)
        return -errno;
    if (!call)
        return copy_stopped(snapshot, pid, tid);
    /* Not where it has moved into a call meanwhile that a stop would end. */
    error = cw_task_call(pid, tid, &again);
    if (error)
        return error;
    if (again.nr >= 0 && !same_call(call, &again))
        return -EAGAIN;
    if (ptrace(PTRACE_INTERRUPT, tid, 0, 0) < 0)
        return -errno;
    return copy_stopped(snapshot, pid, tid);
}

/* All that this process does. Whichever way it ends, the thread is released. */
static _Noreturn void run_stopper(struct cw_snapshot *snapshot, pid_t parent, pid_t pid, pid_t tid,
                                  const struct cw_task_call *call)
{
    const struct itimerval limit = {.it_value = {.tv_usec = CW_SNAPSHOT_STOP_MS * 1000}};
    sigset_t none;

    sigemptyset(&none);
    signal(SIGALRM, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (setitimer(ITIMER_REAL, &limit, NULL) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        snapshot->error = errno;
    else if (getppid() == parent)
        snapshot->error = -stop_and_copy(snapshot, pid, tid, call);
    _exit(0);
}

static int take_stopped(struct cw_snapshot *snapshot, pid_t pid, pid_t tid, const struct cw_task_call *call)
{
    pid_t parent = getpid(), child;

    snapshot->error = ETIMEDOUT; /* unless it lives to say otherwise */
    child = fork();
    if (child < 0)
        return -errno;
    if (child == 0)
        run_stopper(snapshot, parent, pid, tid, call);
    /* ECHILD where whoever started us has SIGCHLD ignored: it has ended then, too. */
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    return -snapshot->error;
}

static int take_once(struct cw_snapshot *snapshot, pid_t pid, pid_t tid)
{
    struct cw_task_stat stat;
    struct cw_task_call call;
    int error = cw_task_stat(pid, tid, &stat);

    if (!error)
        error = cw_task_call(pid, tid, &call);
    if (error)
        return error;
    if (stat.state == 't')
        return -EPERM;
    if (stat.state == 'Z' || stat.state == 'X')
        return -ESRCH;
    memset(snapshot, 0, offsetof(struct cw_snapshot, stack));
    if (stat.state == 'T')
        return take_stopped(snapshot, pid, tid, NULL);
    if (stat.state == 'D' || !goes_on_after_a_stop(call.nr))
        return call.sp ? take_asleep(snapshot, pid, tid, &call) : -EINTR;
    return take_stopped(snapshot, pid, tid, &call);
}

/* One that waits for a processor stops only when it gets one: it is tried for so many times CW_SNAPSHOT_STOP_MS. */
int cw_snapshot_take(struct cw_snapshot *snapshot, pid_t pid, pid_t tid)
{
    int error = -EAGAIN;

    for (int i = 0; i < ATTEMPTS && (error == -EAGAIN || error == -ETIMEDOUT); i++)
        error = take_once(snapshot, pid, tid);
    return error == -EAGAIN ? -EINTR : error;
}
