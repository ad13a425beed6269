#include "core/view.h"

#include <string.h>

const struct cw_conn *cw_view_conn(const struct cw_view *view, uint32_t index)
{
    return index && index < view->n_conns ? &view->conns[index] : NULL;
}

const struct cw_conn *cw_slot_conn(const struct cw_view *view, int fd)
{
    uint64_t slot = fd >= 0 && (uint32_t)fd < view->n_slots ? view->slots[fd] : 0;
    return CW_SLOT_KIND(slot) == CW_SLOT_CONN ? cw_view_conn(view, CW_SLOT_INDEX(slot)) : NULL;
}

const struct cw_set *cw_view_set(const struct cw_view *view, uint32_t index)
{
    return index && index < view->n_sets ? &view->sets[index] : NULL;
}

const struct cw_fork *cw_view_fork(const struct cw_view *view, uint32_t seq)
{
    uint32_t capacity = view->header->sections[CW_SECTION_FORKS].capacity;
    uint32_t index = capacity ? seq % capacity : 0;
    return seq && index < view->n_forks && view->forks[index].seq == seq ? &view->forks[index] : NULL;
}

const struct cw_module *cw_view_module(const struct cw_view *view, uint32_t index)
{
    return index && index < view->n_modules ? &view->modules[index] : NULL;
}

const struct cw_thread *cw_view_thread(const struct cw_view *view, uint32_t reference)
{
    uint32_t index = CW_THREAD_INDEX(reference);

    if (!index || index >= view->n_threads)
        return NULL;
    const struct cw_thread *thread = &view->threads[index];
    return (thread->generation & 0xFFFFu) == CW_THREAD_GEN(reference) ? thread : NULL;
}

const char *cw_view_string(const struct cw_view *view, uint32_t id)
{
    if (!id || id >= view->n_strings)
        return "";
    size_t room = view->n_strings - id < CW_STRING_MAX ? view->n_strings - id : CW_STRING_MAX;
    if (!memchr(view->strings + id, 0, room))
        return "";
    return view->strings + id;
}

unsigned cw_view_stack(const struct cw_view *view, uint32_t id, const uint64_t **ret_frames, unsigned *ret_flags)
{
    if (!id || id >= view->n_stacks)
        return 0;
    /* One load: in a live ledger the word may change under us. */
    uint64_t head = *(const volatile uint64_t *)&view->stacks[id];
    unsigned n = CW_STACK_FRAMES(head);
    if (!n || n > CW_STACK_MAX_FRAMES || n > view->n_stacks - id - 1)
        return 0;
    *ret_frames = &view->stacks[id + 1];
    if (ret_flags)
        *ret_flags = CW_STACK_FLAGS(head);
    return n;
}
