/* Threads by the place where they are now: same state, same call on the same thing, same stack. Pure: any thread. */
#ifndef CORE_THREAD_PLACES_H
#define CORE_THREAD_PLACES_H

#include "core/view.h"

#include <stdbool.h>

enum { CW_PLACES_MAX = 128 };

struct cw_place {
    uint32_t first; /* index in THREADS of its first thread */
    uint32_t count;
};

/* Fills ret with the places of all threads that run, that of the main thread first, then those with most threads; returns how
 * many. *ret_others: threads that are at still other places. */
unsigned cw_thread_places(const struct cw_view *view, struct cw_place ret[CW_PLACES_MAX], uint32_t *ret_others);

/* Whether this thread is at the same place as that of index `first`. */
bool cw_thread_same_place(const struct cw_view *view, uint32_t first, uint32_t index);

#endif
