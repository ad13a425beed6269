/* A ledger in plain memory and the hooks that libunwind calls, for tests of the stack recorder without the rest of
 * the shim.
 *
 * Sections are unreadable until cw_ledger_reserve has been asked for them, so that a touch without asking is a
 * crash. */
#ifndef TEST_SUPPORT_STACK_HARNESS_H
#define TEST_SUPPORT_STACK_HARNESS_H

#include "preload/stack.h"

/* A sanitizer brings its own read() and friends, which come to work before ours could: then no row is here, the
 * fence does not stand, and libgcc's walker is used. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HARNESS_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HARNESS_SANITIZED 1
#endif
#ifndef HARNESS_SANITIZED
#define HARNESS_SANITIZED 0
#endif

/* What the fenced rows were asked, and what went past them to the kernel, since the start. */
struct harness_counts {
    unsigned long fenced, bare;
};
extern struct harness_counts harness_counts;

/* No section can be made real from now on (true), or again (false). */
extern bool harness_full;

/* Sets cw_static up and starts a new, empty ledger under a new epoch, as the recorder does at its start and in a
 * child. */
void harness_begin(unsigned depth, unsigned unwinder);
void harness_new_ledger(void);

/* The addresses of a stack; returns how many, *ret_flags (may be NULL) its flags. */
unsigned harness_frames(uint32_t id, uintptr_t *ret_ip, unsigned *ret_flags);

#endif
