/* Faults on the way from the listener to the loop or the pool. */
#include "faults.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A second listener: listen() is called, and that is all. */
NOINLINE int open_listener_nobody_serves(void)
{
    int fd = open_listener();
    return fd;
}

/* One client at a time is allowed; the listener would have to come back when that one has left. */
NOINLINE int stop_accepting_at_limit(int listener)
{
    int fd = accept_client(listener);
    if (fd < 0)
        return fd;
    if (server.style == STYLE_POLL || server.style == STYLE_SELECT)
        loop_pause(&server.loop, listener);
    else
        loop_forget(&server.loop, listener);
    server.listener = -1;
    parked();
    return fd;
}

/* As if other files had used up what RLIMIT_NOFILE allows. */
NOINLINE int open_listener_and_use_up_fds(void)
{
    struct rlimit limit;
    int next = dup(0);

    MUST(next >= 0 && close(next) == 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = (rlim_t)next;
    MUST(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    return server.listener;
}

/* Goes on when accept fails, as it should, and makes no room. */
NOINLINE int accept_without_room(int listener)
{
    int fd = accept_client(listener);
    MUST(fd < 0);
    if (errno == EMFILE) {
        parked();
        breathe();
    }
    return CLIENT_NONE;
}

/* The thread that accepts does other work as well. */
NOINLINE int accept_and_wait_for_lock(int listener)
{
    int fd = accept_client(listener);
    if (fd >= 0) {
        parked();
        wait_for_lock();
    }
    return fd;
}

/* Too many clients: this one is told so, and forgotten. */
NOINLINE int accept_and_refuse(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return CLIENT_NONE;
    answer(fd);
    parked();
    return CLIENT_TAKEN;
}

/* As a language runtime with system calls of its own does it. */
NOINLINE int accept_unseen(int listener)
{
    long fd;
    register long flags __asm__("r10") = SOCK_CLOEXEC;
    __asm__ volatile("syscall"
                     : "=a"(fd)
                     : "a"(SYS_accept4), "D"((long)listener), "S"(0L), "d"(0L), "r"(flags)
                     : "rcx", "r11", "memory");
    if (fd < 0)
        return CLIENT_NONE;
    parked();
    return CLIENT_TAKEN;
}
