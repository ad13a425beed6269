/* The stack table. See stacks.h.
 *
 * Who may touch what: a thread claims words of STACKS by advancing `used`, and owns them alone until it publishes
 * their index with a release store into STACK_INDEX; whoever reads an index with acquire sees finished words. A
 * published stack never changes. A thread that dies between the two leaves a few words that nobody finds. */
#include "core/stacks.h"

#include "core/atomic.h"

#include <stdbool.h>

/* A run of occupied places longer than this means that the index is as good as full (it is sized for far less). */
#define MAX_PROBES 256u

static uint32_t hash_of(const uint64_t *frames, unsigned n, unsigned flags)
{
    uint64_t h = (uint64_t)n << 8 | flags;
    for (unsigned i = 0; i < n; i++) {
        h = (h ^ frames[i]) * UINT64_C(0x9E3779B97F4A7C15);
        h ^= h >> 29;
    }
    return (uint32_t)(h ^ h >> 32);
}

/* Whether the stack at `id` is `head` followed by these frames. `id` comes out of shared memory: it is checked. */
static bool same_stack(const struct cw_view *view, uint32_t id, uint64_t head, const uint64_t *frames, unsigned n)
{
    if (id >= view->n_stacks || view->n_stacks - id < n + 1 || CW_GET(view->stacks[id]) != head)
        return false;
    for (unsigned i = 0; i < n; i++)
        if (CW_GET(view->stacks[id + 1 + i]) != frames[i])
            return false;
    return true;
}

/* Claims and fills words of STACKS: the new id, or 0. Word 0 is never used, so that no stack has the id 0. */
static uint32_t add_stack(struct cw_view *view, uint64_t head, const uint64_t *frames, unsigned n, cw_reserve reserve)
{
    uint32_t *used = &view->header->sections[CW_SECTION_STACKS].used;
    uint32_t seen = CW_GET(*used);
    uint32_t id;
    do {
        id = seen ? seen : 1;
        if (id >= view->n_stacks || view->n_stacks - id < n + 1)
            return 0;
        /* Before it is claimed, so that a failure (a full file system, perhaps only for now) wastes nothing. */
        if (reserve(CW_SECTION_STACKS, id, n + 1))
            return 0;
    } while (!__atomic_compare_exchange_n(used, &seen, id + n + 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    for (unsigned i = 0; i < n; i++)
        CW_SET(view->stacks[id + 1 + i], frames[i]);
    CW_SET(view->stacks[id], head);
    return id;
}

uint32_t cw_stacks_intern(struct cw_view *view, const uint64_t *frames, unsigned n, unsigned flags, cw_reserve reserve)
{
    const struct cw_section *section = &view->header->sections[CW_SECTION_STACK_INDEX];
    uint32_t *index = (uint32_t *)((char *)view->header + section->offset);
    uint32_t places = section->capacity;
    if (n == 0 || n > CW_STACK_MAX_FRAMES || places == 0)
        return 0;
    uint32_t hash = hash_of(frames, n, flags);
    uint64_t head = CW_STACK_WORD(hash, n, flags);
    uint32_t own = 0;
    uint32_t at = hash % places;
    for (uint32_t probe = 0; probe < MAX_PROBES && probe < places; probe++, at = at + 1 == places ? 0 : at + 1) {
        uint32_t *place = &index[at];
        if (reserve(CW_SECTION_STACK_INDEX, at, 1)) /* even a read of a hole can fail */
            return 0;
        uint32_t id = __atomic_load_n(place, __ATOMIC_ACQUIRE);
        if (id == 0) {
            if (own == 0)
                own = add_stack(view, head, frames, n, reserve);
            if (own == 0)
                return 0;
            if (__atomic_compare_exchange_n(place, &id, own, false, __ATOMIC_RELEASE, __ATOMIC_ACQUIRE))
                return own;
        }
        /* Found, or another thread has just taken this place: if with the same stack, our words stay unused. */
        if (same_stack(view, id, head, frames, n))
            return id;
    }
    return 0;
}

void cw_stacks_reindex(struct cw_view *view, cw_reserve reserve)
{
    const struct cw_section *section = &view->header->sections[CW_SECTION_STACK_INDEX];
    uint32_t *index = (uint32_t *)((char *)view->header + section->offset);
    uint32_t used = CW_GET(view->header->sections[CW_SECTION_STACKS].used), places = section->capacity;
    for (uint32_t id = 1; id < used && id < view->n_stacks && places;) {
        uint64_t head = CW_GET(view->stacks[id]);
        unsigned n = CW_STACK_FRAMES(head);
        if (n == 0 || n > CW_STACK_MAX_FRAMES)
            return; /* words claimed by a thread that had not filled them yet: what follows cannot be told apart */
        uint32_t at = CW_STACK_HASH(head) % places;
        for (uint32_t probe = 0; probe < MAX_PROBES; probe++, at = at + 1 == places ? 0 : at + 1) {
            if (reserve(CW_SECTION_STACK_INDEX, at, 1))
                return;
            if (CW_GET(index[at]) == 0) {
                CW_SET(index[at], id);
                break;
            }
        }
        id += n + 1;
    }
}
