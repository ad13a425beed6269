#include "core/live_frames.h"

unsigned cw_live_frames(const uint64_t *touch, unsigned n_touch, const uint64_t *now, unsigned n_now)
{
    unsigned n = 0;

    while (n < n_touch && n < n_now && touch[n_touch - 1 - n] == now[n_now - 1 - n])
        n++;
    return n ? n_touch - n : 0;
}
