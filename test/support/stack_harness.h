/* A ledger in plain memory and the hooks that libunwind calls, for tests of the stack recorder without the rest of the shim.
 *
 * Sections are unreadable until cw_ledger_reserve has been asked for them, so that a touch without asking is a crash. */
#ifndef TEST_SUPPORT_STACK_HARNESS_H
#define TEST_SUPPORT_STACK_HARNESS_H

#include "preload/stack.h"

/* What the fenced rows were asked, and what went past them to the kernel, since the start. */
struct harness_counts {
    unsigned long fenced, bare;
};
extern struct harness_counts harness_counts;

/* No section can be made real from now on (true), or again (false). */
extern bool harness_full;

/* Sets cw_static up and starts a new, empty ledger under a new epoch, as the recorder does at its start and in a child. */
void harness_begin(unsigned depth, unsigned unwinder);
void harness_new_ledger(void);

/* The addresses of a stack; returns how many, *ret_flags (may be NULL) its flags. */
unsigned harness_frames(uint32_t id, uintptr_t *ret_ip, unsigned *ret_flags);

#endif
