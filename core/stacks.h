/* The stack table: every distinct call stack once, known by a 32-bit id.
 *
 * Stacks lie one after another in the ledger's STACKS section (an id is the index of a stack's first word);
 * STACK_INDEX is an open-addressed hash of ids. Insert-or-find is lock-free: words are written first, then published
 * by one compare-and-swap in the index. Pure: it works on a view over one whole mapping (the index is found by its
 * offset from the header), and memory is made real by a function of the caller's. */
#ifndef CORE_STACKS_H
#define CORE_STACKS_H

#include "core/view.h"

/* Makes records [first, first + n) of a section real memory: 0, or negative errno when nothing may touch them. */
typedef int (*cw_reserve)(enum cw_section_id section, uint32_t first, uint32_t n);

/* The id of the stack with these `n` frames (words as CW_FRAME makes them, innermost first; 1 ..
 * CW_STACK_MAX_FRAMES) and flags (enum cw_stack_flag), which is added if it is new. Equal content has one id,
 * whoever asks. Returns 0 when n is out of range, a section is full or memory could not be had. Any thread, a signal
 * handler. */
uint32_t cw_stacks_intern(struct cw_view *view, const uint64_t *frames, unsigned n, unsigned flags, cw_reserve reserve);

/* Enters stacks that were copied into STACKS into an empty STACK_INDEX, so that they are found again. One thread; what
 * finds no place is merely not found. */
void cw_stacks_reindex(struct cw_view *view, cw_reserve reserve);

#endif
