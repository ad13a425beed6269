/* Unwind rules: how one frame's stack pointer and frame pointer lead to its caller's, read from an object's
 * .eh_frame.
 *
 * The memo needs more than a walk's result: it must know what the result depends on, so that comparing those words
 * proves the walk. Only what compilers emit for ordinary frames is understood; everything else is refused, and a
 * walk through such a frame is not kept. No malloc, no lock, no system call. Any thread, a signal handler, a forked
 * child. */
#ifndef PRELOAD_CFI_H
#define PRELOAD_CFI_H

#include "preload/objects.h"

/* Where the caller's stack pointer (the CFA) is. */
enum cw_cfa_base {
    CW_CFA_SP,      /* sp + cfa_offset */
    CW_CFA_BP,      /* rbp + cfa_offset */
    CW_CFA_BP_DEREF /* in the word at rbp + cfa_offset: a frame that realigned the stack */
};

/* Where the caller's rbp is. */
enum cw_bp_rule {
    CW_BP_SAME,   /* this frame has not touched it */
    CW_BP_AT_CFA, /* in the word at CFA + bp_offset */
    CW_BP_AT_BP,  /* in the word at this frame's rbp + bp_offset */
    CW_BP_UNKNOWN /* some other way */
};

struct cw_cfi_rule {
    enum cw_cfa_base cfa;
    enum cw_bp_rule bp;
    int64_t cfa_offset, bp_offset;
};

/* The rule that holds at `pc` (for a return address: one less), if there is one, the caller's address lies right
 * below the CFA, and the frame is no signal handler's. */
bool cw_cfi_find(const struct cw_object *object, uintptr_t pc, struct cw_cfi_rule *ret_rule);

#endif
