/* The real functions behind the hooks, with libc's own types. The list is hooks.inc. */
#ifndef PRELOAD_HOOKS_H
#define PRELOAD_HOOKS_H

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* glibc declares the fortified names only to programs that are built with _FORTIFY_SOURCE. */
ssize_t __read_chk(int fd, void *buf, size_t n, size_t room);
ssize_t __recv_chk(int fd, void *buf, size_t n, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t room, int flags, struct sockaddr *from, socklen_t *len);
int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room);
int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask, size_t room);

/* sigset is marked as deprecated; it is interposed all the same. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

struct cw_real {
#define CW_HOOK(need, type, name, parameters, arguments, after) __typeof__(name) *name;
#define CW_WRAP(need, type, name, parameters, arguments) __typeof__(name) *name;
#define CW_HAND(need, name) __typeof__(name) *name;
#define CW_ALIAS(alias, name)
#include "preload/hooks.inc"
#undef CW_HOOK
#undef CW_WRAP
#undef CW_HAND
#undef CW_ALIAS
};

/* Filled once by cw_hooks_resolve; constant afterwards. */
extern struct cw_real cw_real __attribute__((visibility("hidden")));

/* Finds the real functions (any thread, early: before the constructor if another library calls first). Returns the name of
 * a required one that is missing, or NULL. */
const char *cw_hooks_resolve(void);

/* The real function of a row, resolved if that has not happened yet. */
#define CW_REAL(name) (__builtin_expect(cw_real.name != NULL, 1) ? cw_real.name : (cw_hooks_resolve(), cw_real.name))

#endif
