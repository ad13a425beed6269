/* Strings that live as long as the resolver: an arena, and demangling into it.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_SYMBOLS_STRINGS_H
#define CLI_SYMBOLS_STRINGS_H

#include <stddef.h>

struct cw_arena_block;
struct cw_arena {
    struct cw_arena_block *newest;
};

/* n bytes, aligned for any object, not cleared; NULL when there is no memory. */
void *cw_arena_alloc(struct cw_arena *arena, size_t n);

/* A copy of s; NULL if s is NULL or there is no memory. */
const char *cw_arena_string(struct cw_arena *arena, const char *s);

/* A function's name as its source has it, without a parameter list: C++, Rust and D names demangled, others as they
 * are. NULL as above. */
const char *cw_arena_function(struct cw_arena *arena, const char *symbol);

/* The same, but NULL too for a symbol that is not mangled. */
const char *cw_arena_demangled(struct cw_arena *arena, const char *symbol);

void cw_arena_free(struct cw_arena *arena);

#endif
