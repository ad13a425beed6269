/* Call stacks: from a hook's caller to a 32-bit id in the ledger's stack table.
 *
 * A repeated path costs a few compares (the verified memo, memo.c); a new one is walked by an unwinder (libunwind, fenced;
 * libgcc's where that may not be entered; else the caller's address alone). Nothing here mallocs, locks, opens an fd or
 * changes errno. Any thread, a signal handler, a forked child; not a vfork child. */
#ifndef PRELOAD_STACK_H
#define PRELOAD_STACK_H

#include "preload/state.h"

#include <stddef.h>
#include <sys/types.h>

/* At load, before any hook records: loads the unwinder that options.unwinder asks for and gives the memo its memory. */
void cw_stack_init(void);

/* The id of the stack that leads to `site`, 0 when none could be taken (ledger full). Rationed stacks are counted in the
 * header and return the id of a stack that holds the caller's address alone. */
uint32_t cw_stack_capture(const struct cw_site *site);

/* The process forked (called once in the child before it records): `threaded` if the parent had threads. Memo entries
 * stay true, ids do not: they belonged to the parent's ledger. */
void cw_stack_forked(bool threaded);

/* Code has been unloaded (dlclose returned): forgets every memo entry, lets modules be looked up anew. */
void cw_stack_code_unloaded(void);

/* The id of a stack made elsewhere: n return addresses, innermost first; 0 when the ledger is full. */
uint32_t cw_stack_enter(const uintptr_t *ip, unsigned n, bool truncated);

/* The epoch under which the memo knows the ids of this process's ledger. */
uint32_t cw_stack_epoch(void);

/* Bytes left of the stack we are on, looked for up to enough_bytes; a guess where the program's filter forbids to ask. */
size_t cw_stack_left(size_t enough_bytes);

/* --- the fence: what hooks ask while cw_stack_guarded() --- */

/* Whether this thread is inside the unwinder. The rows that libunwind calls answer it themselves while this holds. */
bool cw_stack_guarded(void);

/* Answers for those rows; errno is set as the real call would. */
int cw_fence_pipe2(int fds[2], int flags);
ssize_t cw_fence_read(int fd, void *buf, size_t n);
ssize_t cw_fence_write(int fd, const void *buf, size_t n);
int cw_fence_close(int fd);
long cw_fence_syscall(long nr, long a, long b, long c, long d, long e, long f);

/* 1 if the unwinder's dl_iterate_phdr was answered without the loader's lock (ret_result: what to return), else 0. */
struct dl_phdr_info;
int cw_fence_dl_iterate_phdr(int (*callback)(struct dl_phdr_info *, size_t, void *), void *data, int *ret_result);

#endif
