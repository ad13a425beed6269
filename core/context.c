#include "core/context.h"

#include "core/ages.h"
#include "core/atomic.h"
#include "core/frames.h"
#include "core/listeners.h"
#include "core/sort.h"
#include "core/syscalls.h"

#include <string.h>

static uint32_t used(const struct cw_view *view, enum cw_section_id section, uint32_t room)
{
    uint32_t n = CW_GET(view->header->sections[section].used);
    return n < room ? n : room;
}

static uint32_t forks_kept(const struct cw_view *view)
{
    uint32_t capacity = CW_GET(view->header->sections[CW_SECTION_FORKS].capacity);
    uint32_t forks = (uint32_t)CW_GET(view->header->counters[CW_COUNTER_forks]);

    capacity = capacity < view->n_forks ? capacity : view->n_forks;
    return forks < capacity ? forks : capacity;
}

size_t cw_context_bytes(const struct cw_view *view)
{
    uint32_t n_threads = used(view, CW_SECTION_THREADS, view->n_threads);

    return ((size_t)n_threads + used(view, CW_SECTION_SETS, view->n_sets) + 1) * sizeof(uint32_t) +
           n_threads * sizeof(struct cw_context_call) + forks_kept(view) * sizeof(struct cw_context_fork);
}

static uint32_t last_touch_ms(const struct cw_conn *conn)
{
    return cw_later(CW_GET(conn->in_last_ms), CW_GET(conn->out_last_ms));
}

static void enter_touch(struct cw_context *context, uint32_t index)
{
    const struct cw_conn *conns = context->view->conns;
    uint32_t reference = CW_GET(conns[index].touch_thread), thread = CW_THREAD_INDEX(reference);
    uint32_t ms = last_touch_ms(&conns[index]);

    if (thread >= context->n_threads || !ms || !cw_view_thread(context->view, reference))
        return;
    uint32_t last = context->last_conn[thread];
    if (!last || ms - last_touch_ms(&conns[last]) < UINT32_MAX / 2)
        context->last_conn[thread] = index;
}

/* What is left of the memory that was lent. */
struct room {
    char *at;
    size_t bytes;
};

static void *take(struct room *room, size_t bytes)
{
    void *memory = room->at;

    if (bytes > room->bytes)
        return NULL;
    room->at += bytes;
    room->bytes -= bytes;
    return memory;
}

/* In a live ledger more may have come since the memory was measured: what does not fit is looked for when it is asked for. */

static void gather_waiters(struct cw_context *context, struct room *room)
{
    const struct cw_view *view = context->view;

    context->n_sets = used(view, CW_SECTION_SETS, view->n_sets);
    context->first_waiter = take(room, context->n_sets * sizeof(uint32_t));
    for (uint32_t i = 1, n = used(view, CW_SECTION_THREADS, view->n_threads); context->first_waiter && i < n; i++) {
        const struct cw_thread *thread = &view->threads[i];
        uint32_t set = thread->waiting_set;
        if (thread->in_wait && !thread->exit_ms && set < context->n_sets && !context->first_waiter[set])
            context->first_waiter[set] = i;
    }
}

static bool in_call(const struct cw_thread *thread)
{
    return thread->k_ms && thread->k_syscall >= 0 && thread->k_object > 0 && cw_syscall_takes_fd(thread->k_syscall);
}

static int order(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int compare_calls(const void *first, const void *second, void *ctx)
{
    const struct cw_context_call *a = first, *b = second;
    (void)ctx;
    int result = order((uint32_t)a->fd, (uint32_t)b->fd);
    return result ? result : order(a->thread, b->thread);
}

static void gather_calls(struct cw_context *context, struct room *room)
{
    const struct cw_view *view = context->view;
    uint32_t n = used(view, CW_SECTION_THREADS, view->n_threads), k = 0;
    struct cw_context_call *calls = take(room, n * sizeof *calls);

    for (uint32_t i = 1; calls && i < n; i++)
        if (in_call(&view->threads[i]))
            calls[k++] = (struct cw_context_call){view->threads[i].k_object, i};
    if (calls)
        cw_sort(calls, k, sizeof *calls, compare_calls, NULL);
    context->calls = calls;
    context->n_calls = k;
}

/* The oldest of a thread first. */
static int compare_forks(const void *first, const void *second, void *ctx)
{
    const struct cw_context_fork *a = first, *b = second;
    (void)ctx;
    int result = order(a->thread, b->thread);
    return result ? result : order(b->age, a->age);
}

static void gather_forks(struct cw_context *context, struct room *room)
{
    const struct cw_view *view = context->view;
    uint32_t kept = forks_kept(view), k = 0;
    struct cw_context_fork *forks = take(room, kept * sizeof *forks);

    context->fork_seq = (uint32_t)CW_GET(view->header->counters[CW_COUNTER_forks]);
    for (uint32_t age = 0; forks && age < kept; age++) {
        const struct cw_fork *fork = cw_view_fork(view, context->fork_seq - age);
        if (fork)
            forks[k++] = (struct cw_context_fork){fork->thread, age};
    }
    if (forks)
        cw_sort(forks, k, sizeof *forks, compare_forks, NULL);
    context->forks = forks;
    context->n_forks = k;
}

static void gather_conns(struct cw_context *context)
{
    const struct cw_view *view = context->view;

    for (uint32_t i = 1, n = used(view, CW_SECTION_CONNS, view->n_conns); i < n; i++) {
        uint32_t flags = CW_GET(view->conns[i].flags);
        if (!(flags & CW_CONN_IN_USE))
            continue;
        if (!(flags & (CW_CONN_LISTENER | CW_CONN_LATE)))
            enter_touch(context, i);
        else if ((flags & CW_CONN_LISTENER) && context->n_listeners < CW_LISTENERS_MAX)
            context->listeners[context->n_listeners++] = i;
    }
}

void cw_context_gather(struct cw_context *ret, const struct cw_view *view, const struct cw_resolver *resolver,
                       struct cw_symbol *symbols, void *memory, size_t memory_bytes)
{
    uint32_t n_threads = used(view, CW_SECTION_THREADS, view->n_threads);
    struct room room = {memory, memory_bytes};

    if (n_threads > memory_bytes / sizeof(uint32_t))
        n_threads = (uint32_t)(memory_bytes / sizeof(uint32_t));
    *ret = (struct cw_context){.view = view, .resolver = resolver, .symbols = symbols, .n_threads = n_threads};
    memset(memory, 0, memory_bytes);
    ret->last_conn = take(&room, n_threads * sizeof(uint32_t));
    gather_waiters(ret, &room);
    gather_calls(ret, &room);
    gather_forks(ret, &room);
    gather_conns(ret);
}

const struct cw_conn *cw_context_listener(const struct cw_context *context, const struct cw_conn *conn)
{
    const struct cw_conn *any = NULL, *busy = NULL;
    unsigned n = 0, n_busy = 0;

    for (uint32_t i = 0; context && i < context->n_listeners; i++) {
        const struct cw_conn *listener = &context->view->conns[context->listeners[i]];
        if (!cw_listener_takes(listener, conn->family, conn->local, conn->local_port))
            continue;
        any = listener;
        n++;
        if (cw_listener_is_empty(listener))
            continue;
        busy = listener;
        n_busy++;
    }
    if (n == 1)
        return any;
    return n_busy == 1 && conn->origin == CW_ORIGIN_QUEUED ? busy : NULL;
}

const struct cw_conn *cw_context_last_conn(const struct cw_context *context, const struct cw_thread *thread)
{
    if (!context || !thread)
        return NULL;
    uint32_t index = (uint32_t)(thread - context->view->threads);
    return index < context->n_threads ? cw_view_conn(context->view, context->last_conn[index]) : NULL;
}

const struct cw_thread *cw_context_in_call(const struct cw_context *context, int fd)
{
    if (!context || fd <= 0)
        return NULL;
    for (uint32_t i = 1; !context->calls && i < context->n_threads; i++)
        if (context->view->threads[i].k_object == fd && in_call(&context->view->threads[i]))
            return &context->view->threads[i];
    uint32_t low = 0, high = context->calls ? context->n_calls : 0;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (context->calls[middle].fd < fd)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = context->calls && low < context->n_calls && context->calls[low].fd == fd;
    return found ? &context->view->threads[context->calls[low].thread] : NULL;
}

static bool waits_on(const struct cw_thread *thread, uint32_t set)
{
    return thread->in_wait && thread->waiting_set == set && !thread->exit_ms;
}

const struct cw_thread *cw_context_waiter(const struct cw_context *context, const struct cw_set *set)
{
    const struct cw_view *view = context->view;
    uint32_t index = (uint32_t)(set - view->sets), n = used(view, CW_SECTION_THREADS, view->n_threads);

    if (context->first_waiter && index < context->n_sets)
        return context->first_waiter[index] ? &view->threads[context->first_waiter[index]] : NULL;
    for (uint32_t i = 1; i < n; i++)
        if (waits_on(&view->threads[i], index))
            return &view->threads[i];
    return NULL;
}

/* For want of an index. */
static const struct cw_fork *search_fork(const struct cw_context *context, uint32_t thread, uint32_t age)
{
    for (; age != UINT32_MAX; age--) {
        const struct cw_fork *fork = cw_view_fork(context->view, context->fork_seq - age);
        if (fork && fork->thread == thread)
            return fork;
    }
    return NULL;
}

const struct cw_fork *cw_context_fork(const struct cw_context *context, uint32_t thread, uint32_t seq)
{
    uint32_t kept = forks_kept(context->view), age = context->fork_seq - seq, low = 0, high = context->n_forks;

    if (age > UINT32_MAX / 2)
        return NULL;
    if (age >= kept) /* what came before is not on record */
        age = kept - 1;
    if (!context->forks)
        return search_fork(context, thread, age);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct cw_context_fork *fork = &context->forks[middle];
        if (fork->thread < thread || (fork->thread == thread && fork->age > age))
            low = middle + 1;
        else
            high = middle;
    }
    if (low == context->n_forks || context->forks[low].thread != thread)
        return NULL;
    return cw_view_fork(context->view, context->fork_seq - context->forks[low].age);
}

bool cw_context_interpreted(const struct cw_context *context, uint64_t frame)
{
    static const char *const loops[] = {"_PyEval_EvalFrameDefault",
                                        "PyEval_EvalFrameEx",
                                        "vm_exec",
                                        "vm_exec_core",
                                        "rb_vm_exec",
                                        "execute_ex",
                                        "luaV_execute",
                                        "Perl_runops_standard",
                                        "lua_pcallk"};

    if (!CW_FRAME_MODULE(frame))
        return true;
    unsigned count = context ? cw_frame_symbols(context->view, context->resolver, frame, context->symbols) : 0;
    for (unsigned i = 0; i < count; i++)
        for (size_t k = 0; k < sizeof loops / sizeof loops[0] && context->symbols[i].function; k++)
            if (!strcmp(context->symbols[i].function, loops[k]))
                return true;
    return false;
}

bool cw_context_named(const struct cw_context *context, uint64_t frame, const char *prefix)
{
    unsigned count = context ? cw_frame_symbols(context->view, context->resolver, frame, context->symbols) : 0;

    for (unsigned i = 0; i < count; i++)
        if (context->symbols[i].function && !strncmp(context->symbols[i].function, prefix, strlen(prefix)))
            return true;
    return false;
}
