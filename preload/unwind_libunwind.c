/* libunwind as an unwinder: reads stacks only after checking that they can be read, and guesses its way through code
 * that has no unwind tables, but is dangerous bare (docs/architecture.md, "Stacks"). All of it comes by dlsym: as a
 * DT_NEEDED of a preloaded library it would take over the program's C++ exceptions. */
#include "preload/unwind.h"

#define UNW_LOCAL_ONLY
#include <dlfcn.h>
#include <libunwind.h>

static int (*get_context)(unw_context_t *context);
static int (*init_local)(unw_cursor_t *cursor, unw_context_t *context);
static int (*step)(unw_cursor_t *cursor);
static int (*get_reg)(unw_cursor_t *cursor, int reg, unw_word_t *ret_value);
static void (*flush_cache)(unw_addr_space_t space, unw_word_t low, unw_word_t high); /* these two may be NULL */
static unw_addr_space_t *local_space;

static const char file_name[] = "libunwind.so.8";

static bool libunwind_init(void)
{
    /* If the program has it already, its state is shared with the program: a fake pipe of ours would end up there. */
    if (dlopen(file_name, RTLD_LAZY | RTLD_NOLOAD) || !cw_fence_stands((const void *)&cw_walker_libunwind))
        return false;
    void *library = dlopen(file_name, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return false;
    *(void **)&get_context = dlsym(library, "_Ux86_64_getcontext");
    *(void **)&init_local = dlsym(library, "_ULx86_64_init_local");
    *(void **)&step = dlsym(library, "_ULx86_64_step");
    *(void **)&get_reg = dlsym(library, "_ULx86_64_get_reg");
    *(void **)&flush_cache = dlsym(library, "_Ux86_64_flush_cache");
    local_space = dlsym(library, "_ULx86_64_local_addr_space");
    return get_context && init_local && step && get_reg;
}

static void libunwind_walk(struct cw_walk *walk)
{
    unw_context_t context;
    unw_cursor_t cursor;
    unw_word_t ip, sp;
    walk->n = 0;
    if (get_context(&context) != 0 || init_local(&cursor, &context) != 0)
        return;
    /* A frame's stack pointer is the address above its callee's return address. Our own frames come first. The limit: a
     * damaged stack could otherwise be walked for long. */
    for (unsigned own = 0; own < 32 || walk->n;) {
        if (get_reg(&cursor, UNW_REG_IP, &ip) != 0 || get_reg(&cursor, UNW_REG_SP, &sp) != 0 || ip == 0)
            return;
        if (walk->n || (ip == walk->site->ra && sp - 8 == walk->site->ra_at)) {
            if (walk->n == walk->max) {
                walk->truncated = true;
                return;
            }
            walk->ip[walk->n] = ip;
            walk->at[walk->n++] = sp - 8;
        } else {
            own++;
        }
        cw_fence_expect(ip);
        if (step(&cursor) <= 0)
            return;
    }
}

static void libunwind_code_unloaded(void)
{
    if (flush_cache && local_space)
        flush_cache(*local_space, 0, 0); /* raises a generation; the cache is emptied at the next walk */
}

const struct cw_walker cw_walker_libunwind = {
    .name = "libunwind",
    .stack_bytes = 16384,
    .stateful = true,
    .init = libunwind_init,
    .walk = libunwind_walk,
    .code_unloaded = libunwind_code_unloaded,
};
