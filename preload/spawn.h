/* Processes of our own that the program never sees.
 *
 * They share its memory (nothing is copied, however large it is) but nothing else: own fd table, own signal handlers.
 * Code in them makes raw system calls only, writes no thread-local memory, and must not crash: before Linux 5.17 a core
 * dump takes along whoever shares the memory. Called by the thread that ends the process, or by a process made here. */
#ifndef PRELOAD_SPAWN_H
#define PRELOAD_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CW_SPAWN_STACK_BYTES (256u << 10)

/* Fresh memory: its address, or NULL. */
void *cw_spawn_map(size_t n);

/* Starts fn(arg) in a new process on a stack of CW_SPAWN_STACK_BYTES; when fn returns it ends with status 0. `flags`:
 * exit signal (0: only a wait with __WCLONE sees it), CLONE_VFORK to sleep until it has ended or run another program;
 * CLONE_VM is added. Its pid, or negative errno. */
long cw_spawn(unsigned long flags, void *stack, void (*fn)(void *), void *arg);

/* Reaps a process made here, of either kind. Waits at most until deadline_ns (CLOCK_MONOTONIC; 0: for ever), then kills
 * it. Its wait status, or negative errno. */
int cw_spawn_wait(long pid, uint64_t deadline_ns);

/* CLOCK_MONOTONIC. */
uint64_t cw_spawn_now_ns(void);

/* Ends the calling process. */
_Noreturn void cw_spawn_exit(int status);

/* Ours alone from here on, in a new process: fds 1 and 2 become out_fd (below 0: /dev/null), 0 /dev/null, all others
 * are closed. */
void cw_spawn_take_fds(int out_fd);

/* Default action for all signals; mask: which of them are blocked. */
void cw_spawn_reset_signals(uint64_t mask);

#endif
