/* A stack of our own, for work that needs more than a caller's may have left.
 *
 * A signal stack may be 2 KiB, a thread's 16 KiB, a fiber's anything: where the default action of a signal, or exit(),
 * would have needed none of it, the last check and the report must not overrun it. There is one such stack in a
 * process: the end comes once. */
#ifndef PRELOAD_OWN_STACK_H
#define PRELOAD_OWN_STACK_H

/* Calls fn(arg) on it; on the caller's own stack if it is taken (then the caller is on it already, or another thread is
 * ending the process). Makes no system call. Any thread, a signal handler; not a vfork child. */
void cw_own_stack_call(void (*fn)(void *), void *arg);

#endif
