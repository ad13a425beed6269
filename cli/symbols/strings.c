#include "cli/symbols/strings.h"

#include <libiberty/demangle.h>
#include <stdlib.h>
#include <string.h>

struct cw_arena_block {
    struct cw_arena_block *older;
    size_t used, size;
    max_align_t bytes[];
};

enum { BLOCK_BYTES = 64 * 1024, MANGLED_MAX_BYTES = 16 * 1024, NAME_MAX_BYTES = 4096 };

void *cw_arena_alloc(struct cw_arena *arena, size_t n)
{
    struct cw_arena_block *block = arena->newest;
    size_t align = sizeof(max_align_t);

    n = (n + align - 1) / align * align;
    if (!block || block->size - block->used < n) {
        size_t size = n > BLOCK_BYTES ? n : BLOCK_BYTES;
        block = malloc(sizeof *block + size);
        if (!block)
            return NULL;
        *block = (struct cw_arena_block){.older = arena->newest, .size = size};
        arena->newest = block;
    }
    void *at = (char *)block->bytes + block->used;
    block->used += n;
    return at;
}

static const char *copy(struct cw_arena *arena, const char *s, size_t n)
{
    char *to = cw_arena_alloc(arena, n + 1);
    if (!to)
        return NULL;
    memcpy(to, s, n);
    to[n] = 0;
    return to;
}

const char *cw_arena_string(struct cw_arena *arena, const char *s)
{
    return s ? copy(arena, s, strlen(s)) : NULL;
}

const char *cw_arena_demangled(struct cw_arena *arena, const char *symbol)
{
    char *demangled = NULL;
    const char *name = NULL;

    /* All schemes that are recognised begin with an underscore. Names come out of files that may be hostile: what is
     * longer than any real one is not worth the demangler's time. */
    if (symbol && symbol[0] == '_' && strnlen(symbol, MANGLED_MAX_BYTES) < MANGLED_MAX_BYTES)
        demangled = cplus_demangle(symbol, DMGL_AUTO | DMGL_NO_OPTS);
    if (demangled && *demangled)
        name = copy(arena, demangled, strnlen(demangled, NAME_MAX_BYTES));
    free(demangled);
    return name;
}

const char *cw_arena_function(struct cw_arena *arena, const char *symbol)
{
    const char *name = cw_arena_demangled(arena, symbol);

    if (name || !symbol)
        return name;
    return copy(arena, symbol, strnlen(symbol, NAME_MAX_BYTES));
}

void cw_arena_free(struct cw_arena *arena)
{
    while (arena->newest) {
        struct cw_arena_block *block = arena->newest;
        arena->newest = block->older;
        free(block);
    }
}
