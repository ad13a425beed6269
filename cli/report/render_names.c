#include "cli/report/render_names.h"

#include "cli/symbols/strings.h"

#include <stdlib.h>
#include <string.h>

enum { START = 256 };

struct kept {
    const struct cw_symbol *symbols; /* NULL: empty */
    unsigned count;
    uint64_t offset;
    uint8_t build_id[sizeof((struct cw_module *)0)->build_id];
    uint8_t build_id_len;
};

struct cw_names {
    struct kept *table;
    size_t size, used; /* size is a power of two */
    struct cw_arena arena;
};

struct cw_names *cw_names_new(void)
{
    struct cw_names *names = calloc(1, sizeof *names);

    if (!names)
        return NULL;
    names->size = START;
    names->table = calloc(names->size, sizeof *names->table);
    if (!names->table) {
        free(names);
        return NULL;
    }
    return names;
}

void cw_names_free(struct cw_names *names)
{
    if (!names)
        return;
    free(names->table);
    cw_arena_free(&names->arena);
    free(names);
}

static bool has_id(const struct cw_module *module)
{
    return module->build_id_len && module->build_id_len <= sizeof module->build_id;
}

bool cw_names_same_object(const struct cw_module *a, const struct cw_module *b)
{
    return has_id(a) && a->build_id_len == b->build_id_len && !memcmp(a->build_id, b->build_id, a->build_id_len);
}

/* Build-ids are hashes already. */
static uint64_t hash_of(const uint8_t *build_id, uint8_t n, uint64_t offset)
{
    uint64_t hash = 0;

    memcpy(&hash, build_id, n < sizeof hash ? n : sizeof hash);
    return (hash ^ offset * UINT64_C(0x9E3779B97F4A7C15)) * UINT64_C(0xD6E8FEB86659FD93);
}

static struct kept *place(struct kept *table, size_t size, const uint8_t *build_id, uint8_t n, uint64_t offset)
{
    size_t at = (size_t)(hash_of(build_id, n, offset) >> 32) & (size - 1);

    while (table[at].symbols &&
           (table[at].offset != offset || table[at].build_id_len != n || memcmp(table[at].build_id, build_id, n) != 0))
        at = (at + 1) & (size - 1);
    return &table[at];
}

unsigned cw_names_find(const struct cw_names *names, const struct cw_module *module, uint64_t offset,
                       struct cw_symbol *ret, unsigned max)
{
    const struct kept *kept;
    unsigned count;

    if (!names || !has_id(module))
        return 0;
    kept = place(names->table, names->size, module->build_id, module->build_id_len, offset);
    count = kept->count < max ? kept->count : max;
    if (count)
        memcpy(ret, kept->symbols, count * sizeof *ret);
    return count;
}

/* Keeps the table at most half full. */
static bool grow(struct cw_names *names)
{
    size_t size = 2 * names->size;
    struct kept *table;

    if (2 * names->used < names->size)
        return true;
    table = calloc(size, sizeof *table);
    if (!table)
        return false;
    for (size_t i = 0; i < names->size; i++) {
        const struct kept *old = &names->table[i];
        if (old->symbols)
            *place(table, size, old->build_id, old->build_id_len, old->offset) = *old;
    }
    free(names->table);
    names->table = table;
    names->size = size;
    return true;
}

void cw_names_keep(struct cw_names *names, const struct cw_module *module, uint64_t offset,
                   const struct cw_symbol *symbols, unsigned n)
{
    struct cw_symbol *copy;
    struct kept *kept;

    if (!names || !n || !has_id(module) || !grow(names))
        return;
    kept = place(names->table, names->size, module->build_id, module->build_id_len, offset);
    copy = kept->symbols ? NULL : cw_arena_alloc(&names->arena, n * sizeof *copy);
    if (!copy)
        return;
    for (unsigned i = 0; i < n; i++) {
        copy[i] = symbols[i];
        copy[i].function = cw_arena_string(&names->arena, symbols[i].function);
        copy[i].file = cw_arena_string(&names->arena, symbols[i].file);
    }
    *kept = (struct kept){.symbols = copy, .count = n, .offset = offset, .build_id_len = module->build_id_len};
    memcpy(kept->build_id, module->build_id, module->build_id_len);
    names->used++;
}
