#include "core/syscalls.h"

#include <stddef.h>
#include <sys/syscall.h>

struct row {
    const char *name;
    int nr;
    bool takes_fd;
};

/* Calls that block. */
#define FD(call)                                                                                                       \
    {                                                                                                                  \
#call, SYS_##call, true                                                                                        \
    }
#define CALL(call)                                                                                                     \
    {                                                                                                                  \
#call, SYS_##call, false                                                                                       \
    }
static const struct row rows[] = {
    FD(read),
    FD(write),
    FD(readv),
    FD(writev),
    FD(pread64),
    FD(pwrite64),
    FD(recvfrom),
    FD(recvmsg),
    FD(recvmmsg),
    FD(sendto),
    FD(sendmsg),
    FD(sendmmsg),
    FD(splice),
    FD(connect),
    FD(accept),
    FD(accept4),
    FD(close),
    FD(flock),
    FD(fcntl),
    FD(fsync),
    FD(fdatasync),
    FD(ioctl),
    FD(epoll_wait),
    FD(epoll_pwait),
    FD(epoll_pwait2),
    CALL(sendfile),
    CALL(poll),
    CALL(ppoll),
    CALL(select),
    CALL(pselect6),
    CALL(futex),
    CALL(nanosleep),
    CALL(clock_nanosleep),
    CALL(pause),
    CALL(wait4),
    CALL(waitid),
    CALL(rt_sigsuspend),
    CALL(rt_sigtimedwait),
    CALL(restart_syscall),
    CALL(io_uring_enter),
    CALL(io_getevents),
    CALL(msgrcv),
    CALL(msgsnd),
    CALL(semop),
    CALL(semtimedop),
    CALL(mq_timedreceive),
    CALL(mq_timedsend),
    CALL(openat),
    CALL(open),
    CALL(unlink),
    CALL(rename),
    CALL(sched_yield),
    CALL(getrandom),
    CALL(exit_group),
};
#undef FD
#undef CALL

static const struct row *row_of(int nr)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].nr == nr)
            return &rows[i];
    return NULL;
}

const char *cw_syscall_name(int nr)
{
    const struct row *row = row_of(nr);
    return row ? row->name : NULL;
}

bool cw_syscall_takes_fd(int nr)
{
    const struct row *row = row_of(nr);
    return row && row->takes_fd;
}
