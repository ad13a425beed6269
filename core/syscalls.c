#include "core/syscalls.h"

#include <stddef.h>
#include <sys/syscall.h>

/* Calls that block, by name; FD: the first argument is the fd. */
#define CALLS(X, FD)                                                                                                   \
    FD(read) FD(write) FD(readv) FD(writev) FD(pread64) FD(pwrite64) FD(recvfrom) FD(recvmsg) FD(recvmmsg)             \
    FD(sendto) FD(sendmsg) FD(sendmmsg) FD(splice) FD(connect) FD(accept) FD(accept4) FD(close) FD(flock) FD(fcntl)    \
    FD(fsync) FD(fdatasync) FD(ioctl) FD(epoll_wait) FD(epoll_pwait) FD(epoll_pwait2)                                  \
    X(sendfile) X(poll) X(ppoll) X(select) X(pselect6) X(futex) X(nanosleep) X(clock_nanosleep) X(pause) X(wait4)      \
    X(waitid) X(rt_sigsuspend) X(rt_sigtimedwait) X(restart_syscall) X(io_uring_enter) X(io_getevents) X(msgrcv)       \
    X(msgsnd) X(semop) X(semtimedop) X(mq_timedreceive) X(mq_timedsend) X(openat) X(open) X(unlink) X(rename)          \
    X(sched_yield) X(getrandom) X(exit_group)

const char *cw_syscall_name(int nr)
{
    switch (nr) {
#define X(name)                                                                                                        \
    case SYS_##name:                                                                                                   \
        return #name;
        CALLS(X, X)
#undef X
    default:
        return NULL;
    }
}

bool cw_syscall_takes_fd(int nr)
{
    switch (nr) {
#define SKIP(name)
#define FD(name) case SYS_##name:
        CALLS(SKIP, FD)
        return true;
#undef FD
#undef SKIP
    default:
        return false;
    }
}
