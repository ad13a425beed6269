/* Which frames of an earlier call stack a thread is still in.
 *
 * Pure: any thread, a signal handler, a forked child. */
#ifndef CORE_LIVE_FRAMES_H
#define CORE_LIVE_FRAMES_H

#include <stdint.h>

/* touch: the stack of an earlier call; now: the thread's present stack; both whole, as words of STACKS, innermost first.
 * Returns the index in touch of the innermost frame that stands in both with all frames further out; 0 if there is none.
 * Index 0 never counts: a thread that is again in a call from the very same place has been through it once more. */
unsigned cw_live_frames(const uint64_t *touch, unsigned n_touch, const uint64_t *now, unsigned n_now);

#endif
