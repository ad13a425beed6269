/* Unwinders: ways to walk a stack from a hook's caller outwards, as rows of one kind.
 *
 * Which one may be entered is stack.c's decision: libunwind has state and locks (one thread at a time, signals
 * blocked, the fence up), libgcc's walker has neither but trusts what it reads. Each leaves errno alone. */
#ifndef PRELOAD_UNWIND_H
#define PRELOAD_UNWIND_H

#include "preload/state.h"

/* A walk: frame 0 is the hook's caller. */
struct cw_walk {
    const struct cw_site *site;
    unsigned max;                      /* frames wanted, at most CW_STACK_MAX_FRAMES */
    unsigned n;                        /* frames found */
    bool truncated;                    /* there are more */
    uintptr_t ip[CW_STACK_MAX_FRAMES]; /* return addresses */
    uintptr_t at[CW_STACK_MAX_FRAMES]; /* where on the stack each lies, as far as the unwinder knows */
};

struct cw_walker {
    const char *name;
    size_t stack_bytes; /* what must be left of the stack to enter it */
    bool stateful;      /* holds locks, keeps state, reads through hooked calls: only for stack.c's guarded entry */
    /* At load: false where it cannot be used. */
    bool (*init)(void);
    void (*walk)(struct cw_walk *walk);
    /* Code was unloaded: what was learnt about it is to be forgotten. NULL: nothing is kept. */
    void (*code_unloaded)(void);
};

extern const struct cw_walker cw_walker_libunwind, cw_walker_libgcc;

/* --- what the libunwind row tells the fence (fence.c); by the one thread that is inside it --- */

/* The next look-up of unwind tables will be for this return address, or one less. */
void cw_fence_expect(uintptr_t ip);

/* Whether the rows that libunwind calls are the fenced ones: `own` is any address in this library. */
bool cw_fence_stands(const void *own);

#endif
