/* Names of functions from the symbol tables that the loader keeps mapped: dladdr without its lock. */
#include "preload/self_report.h"

#include "preload/objects.h"

#include <elf.h>
#include <link.h>
#include <string.h>

/* Symbols looked at in one report: a second's worth. What is asked beyond it stays module and offset. */
#define SYMBOLS_MAX UINT64_C(300000000)

/* One object's dynamic symbols; every pointer's range has been checked to be mapped. */
struct table {
    uintptr_t load;
    const ElfW(Sym) * symbols;
    size_t n_symbols;
    const char *strings;
    size_t n_strings;
};

struct known {
    uint64_t frame; /* a word of STACKS; 0: free */
    const char *name;
};

struct memory {
    uint64_t looked_at;
    unsigned tables_used;
    struct table tables[32];
    struct known known[3500];
};
_Static_assert(sizeof(struct memory) <= CW_SELF_SYMBOLS_BYTES, "the caller lends this much");

/* Bytes from address on that lie in the same loaded segment of the object: 0 if it lies in none. Between segments there
 * may be holes. */
static size_t mapped_from(const struct cw_object *object, uintptr_t address)
{
    uintptr_t start;
    size_t bytes;
    for (unsigned i = 0; i < 16 && cw_objects_segment(object, PT_LOAD, i, &start, &bytes); i++)
        if (address >= start && address - start < bytes)
            return bytes - (address - start);
    return 0;
}

/* The loader relocates the addresses in most dynamic sections, but not in those that are read-only (the vDSO's). */
static uintptr_t place(const struct cw_object *object, ElfW(Addr) value)
{
    return value >= object->start && value < object->end ? value : object->load + value;
}

/* How many symbols a DT_GNU_HASH knows: it has no count, but the last chain ends with the last symbol. */
static size_t count_gnu(const struct cw_object *object, uintptr_t at)
{
    size_t words = mapped_from(object, at) / sizeof(uint32_t);
    const uint32_t *hash = (const void *)at;
    if (words < 4)
        return 0;
    size_t n_buckets = hash[0], first = hash[1], n_bloom = hash[2];
    size_t buckets = 4 + n_bloom * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
    if (n_bloom > words || n_buckets > words || buckets + n_buckets > words)
        return 0;
    size_t last = 0;
    for (size_t i = 0; i < n_buckets; i++)
        if (hash[buckets + i] > last)
            last = hash[buckets + i];
    if (last < first)
        return 0;
    for (size_t chain = buckets + n_buckets + (last - first); chain < words; chain++, last++)
        if (hash[chain] & 1)
            return last + 1;
    return 0;
}

static size_t count_sysv(const struct cw_object *object, uintptr_t at)
{
    return mapped_from(object, at) >= 8 ? ((const uint32_t *)at)[1] : 0;
}

static void read_dynamic(const struct cw_object *object, struct table *table)
{
    uintptr_t at;
    size_t bytes;
    if (!cw_objects_segment(object, PT_DYNAMIC, 0, &at, &bytes) || mapped_from(object, at) < bytes)
        return;
    uintptr_t symbols = 0, strings = 0;
    size_t n_symbols = 0, n_strings = 0;
    const ElfW(Dyn) *entry = (const void *)at;
    for (size_t i = 0; i < bytes / sizeof *entry && entry[i].d_tag != DT_NULL; i++) {
        if (entry[i].d_tag == DT_SYMTAB)
            symbols = place(object, entry[i].d_un.d_ptr);
        else if (entry[i].d_tag == DT_STRTAB)
            strings = place(object, entry[i].d_un.d_ptr);
        else if (entry[i].d_tag == DT_STRSZ)
            n_strings = entry[i].d_un.d_val;
        else if (entry[i].d_tag == DT_GNU_HASH)
            n_symbols = count_gnu(object, place(object, entry[i].d_un.d_ptr));
        else if (entry[i].d_tag == DT_HASH && n_symbols == 0)
            n_symbols = count_sysv(object, place(object, entry[i].d_un.d_ptr));
    }
    size_t symbols_room = mapped_from(object, symbols) / sizeof(ElfW(Sym)), strings_room = mapped_from(object, strings);
    table->symbols = (const void *)symbols;
    table->n_symbols = n_symbols < symbols_room ? n_symbols : symbols_room;
    table->strings = (const void *)strings;
    table->n_strings = n_strings < strings_room ? n_strings : strings_room;
}

static const struct table *table_of(struct memory *memory, const struct cw_object *object)
{
    for (unsigned i = 0; i < memory->tables_used; i++)
        if (memory->tables[i].load == object->load)
            return &memory->tables[i];
    unsigned last = sizeof memory->tables / sizeof memory->tables[0] - 1;
    struct table *table = &memory->tables[memory->tables_used < last ? memory->tables_used++ : last];
    *table = (struct table){.load = object->load};
    read_dynamic(object, table);
    return table;
}

/* The last function that begins at or below the address (relative to the object), if it reaches that far. */
static const char *function_at(struct memory *memory, const struct table *table, uintptr_t address)
{
    const ElfW(Sym) *best = NULL;
    if (!table->symbols || memory->looked_at > SYMBOLS_MAX)
        return NULL;
    memory->looked_at += table->n_symbols;
    for (size_t i = 0; i < table->n_symbols; i++) {
        const ElfW(Sym) *symbol = &table->symbols[i];
        unsigned type = ELF64_ST_TYPE(symbol->st_info);
        if ((type != STT_FUNC && type != STT_GNU_IFUNC) || symbol->st_shndx == SHN_UNDEF || symbol->st_value > address)
            continue;
        if (!best || symbol->st_value > best->st_value)
            best = symbol;
    }
    if (!best || (best->st_size && address - best->st_value >= best->st_size) || best->st_name >= table->n_strings)
        return NULL;
    const char *name = table->strings + best->st_name;
    return memchr(name, 0, table->n_strings - best->st_name) ? name : NULL;
}

static const char *name_of(struct memory *memory, const struct cw_view *view, uint64_t frame)
{
    const struct cw_module *module = cw_view_module(view, CW_FRAME_MODULE(frame));
    uint64_t offset = CW_FRAME_OFFSET(frame);
    struct cw_object object;
    /* The return address may already be the next function's: the call lies before it. The object must still be the one
     * that the stack went through. */
    if (!module || offset == 0 || !cw_objects_find((uintptr_t)(module->load + offset - 1), &object) ||
        object.load != module->load)
        return NULL;
    return function_at(memory, table_of(memory, &object), (uintptr_t)offset - 1);
}

static unsigned resolve(void *ctx, const struct cw_view *view, uint64_t frame, struct cw_symbol *ret, unsigned max)
{
    struct memory *memory = ctx;
    if (max == 0 || frame == 0)
        return 0;
    struct known *known =
        &memory->known[(frame ^ frame >> 17 ^ frame >> 40) % (sizeof memory->known / sizeof memory->known[0])];
    if (known->frame != frame)
        *known = (struct known){.frame = frame, .name = name_of(memory, view, frame)};
    if (!known->name)
        return 0;
    *ret = (struct cw_symbol){.function = known->name, .kind = CW_FRAME_NATIVE};
    return 1;
}

void cw_self_symbols(struct cw_resolver *ret_resolver, void *memory)
{
    *ret_resolver = (struct cw_resolver){.ctx = memory, .resolve = resolve};
}
