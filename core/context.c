#include "core/context.h"

#include "core/ages.h"
#include "core/atomic.h"
#include "core/frames.h"
#include "core/listeners.h"
#include "core/syscalls.h"

#include <string.h>

static uint32_t used(const struct cw_view *view, enum cw_section_id section, uint32_t room)
{
    uint32_t n = CW_GET(view->header->sections[section].used);
    return n < room ? n : room;
}

size_t cw_context_bytes(const struct cw_view *view)
{
    return used(view, CW_SECTION_THREADS, view->n_threads) * sizeof(uint32_t) + sizeof(uint32_t);
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

void cw_context_gather(struct cw_context *ret, const struct cw_view *view, const struct cw_resolver *resolver,
                       struct cw_symbol *symbols, void *memory, size_t memory_bytes)
{
    uint32_t n_threads = used(view, CW_SECTION_THREADS, view->n_threads);

    /* In a live ledger more threads may have come since the memory was measured. */
    if (n_threads > memory_bytes / sizeof(uint32_t))
        n_threads = (uint32_t)(memory_bytes / sizeof(uint32_t));
    *ret = (struct cw_context){
        .view = view, .resolver = resolver, .symbols = symbols, .last_conn = memory, .n_threads = n_threads};
    memset(memory, 0, memory_bytes);
    for (uint32_t i = 1, n = used(view, CW_SECTION_CONNS, view->n_conns); i < n; i++) {
        uint32_t flags = CW_GET(view->conns[i].flags);
        if (!(flags & CW_CONN_IN_USE))
            continue;
        if (!(flags & (CW_CONN_LISTENER | CW_CONN_LATE)))
            enter_touch(ret, i);
        else if ((flags & CW_CONN_LISTENER) && ret->n_listeners < CW_LISTENERS_MAX)
            ret->listeners[ret->n_listeners++] = i;
    }
    for (uint32_t i = 1; i < ret->n_threads && !ret->any_in_call; i++)
        ret->any_in_call = view->threads[i].k_ms && view->threads[i].k_syscall >= 0;
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
    if (!context || !context->any_in_call || fd <= 0)
        return NULL;
    for (uint32_t i = 1; i < context->n_threads; i++) {
        const struct cw_thread *thread = &context->view->threads[i];
        if (thread->k_ms && thread->k_syscall >= 0 && thread->k_object == fd && cw_syscall_takes_fd(thread->k_syscall))
            return thread;
    }
    return NULL;
}

/* Whether one of the functions at the frame has a name whose first n bytes are these. */
static bool named(const struct cw_context *context, uint64_t frame, const char *name, size_t n)
{
    unsigned count = context ? cw_frame_symbols(context->view, context->resolver, frame, context->symbols) : 0;

    for (unsigned i = 0; i < count; i++)
        if (context->symbols[i].function && !strncmp(context->symbols[i].function, name, n))
            return true;
    return false;
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
    for (size_t k = 0; k < sizeof loops / sizeof loops[0]; k++)
        if (named(context, frame, loops[k], strlen(loops[k]) + 1))
            return true;
    return false;
}

bool cw_context_named(const struct cw_context *context, uint64_t frame, const char *prefix)
{
    return named(context, frame, prefix, strlen(prefix));
}
