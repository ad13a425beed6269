/* The names of system calls in which threads are found, and which of them take an fd first. Pure. */
#ifndef CORE_SYSCALLS_H
#define CORE_SYSCALLS_H

#include <stdbool.h>

/* The name by number (x86-64), NULL if it is not one of those that block. */
const char *cw_syscall_name(int nr);

/* Whether its first argument is the fd that it works on. */
bool cw_syscall_takes_fd(int nr);

#endif
