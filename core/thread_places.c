#include "core/thread_places.h"

#include "core/sort.h"

static uint32_t threads_used(const struct cw_view *view)
{
    uint32_t used = view->header->sections[CW_SECTION_THREADS].used;
    return used < view->n_threads ? used : view->n_threads;
}

static bool is_there(const struct cw_thread *thread)
{
    return thread->tid > 0 && !thread->exit_ms && thread->k_state != 'X' && thread->k_state != 'Z';
}

bool cw_thread_same_place(const struct cw_view *view, uint32_t first, uint32_t index)
{
    const struct cw_thread *a = &view->threads[first], *b = &view->threads[index];
    return is_there(b) && a->k_state == b->k_state && a->k_syscall == b->k_syscall && a->k_object == b->k_object &&
           a->k_stack == b->k_stack && a->k_errno == b->k_errno;
}

static int compare(const void *first, const void *second, void *ctx)
{
    const struct cw_place *a = first, *b = second;
    const struct cw_view *view = ctx;
    bool main_a = view->threads[a->first].tid == view->header->pid;
    bool main_b = view->threads[b->first].tid == view->header->pid;

    if (main_a != main_b)
        return main_a ? -1 : 1;
    if (a->count != b->count)
        return a->count > b->count ? -1 : 1;
    return (a->first > b->first) - (a->first < b->first);
}

unsigned cw_thread_places(const struct cw_view *view, struct cw_place ret[CW_PLACES_MAX], uint32_t *ret_others)
{
    unsigned n = 0;

    *ret_others = 0;
    for (uint32_t i = 1; i < threads_used(view); i++) {
        unsigned k = 0;
        if (!is_there(&view->threads[i]))
            continue;
        while (k < n && !cw_thread_same_place(view, ret[k].first, i))
            k++;
        if (k == CW_PLACES_MAX) {
            (*ret_others)++;
            continue;
        }
        if (k == n)
            ret[n++] = (struct cw_place){.first = i};
        ret[k].count++;
    }
    cw_sort(ret, n, sizeof *ret, compare, (void *)(uintptr_t)view);
    return n;
}
