#include "core/gopclntab.h"

#include <string.h>

/* The header, struct pcHeader: magic, two bytes of 0, the least size of an instruction, the size of a pointer, and then words. */
enum { POINTER_BYTES = 8, AT_QUANTUM = 6, AT_POINTER = 7, AT_FUNCTIONS = 8, AT_NAMES = 32, HEADER_BYTES = 72 };

/* A function, struct _func: 32-bit words. */
enum {
    FUNC_ENTRY,
    FUNC_NAME,
    FUNC_ARGS,
    FUNC_DEFER,
    FUNC_SP,
    FUNC_FILE,
    FUNC_LINE,
    FUNC_PCDATA,
    FUNC_UNIT,
    FUNC_WORDS
};

static uint32_t word(const struct cw_go_table *table, uint64_t at)
{
    uint32_t value = 0;
    if (table->n >= sizeof value && at <= table->n - sizeof value)
        memcpy(&value, table->bytes + at, sizeof value);
    return value;
}

static uint64_t wide(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

bool cw_go_open(struct cw_go_table *ret, const void *bytes, size_t n, uint64_t text)
{
    static const uint32_t magics[] = {0xfffffff0 /* Go 1.18 */, 0xfffffff1 /* Go 1.20 */};
    const uint8_t *at = bytes;
    uint32_t magic;

    if (n < HEADER_BYTES)
        return false;
    memcpy(&magic, at, sizeof magic);
    if ((magic != magics[0] && magic != magics[1]) || at[4] || at[5] || at[AT_QUANTUM] != 1 ||
        at[AT_POINTER] != POINTER_BYTES)
        return false;
    uint64_t offsets[5], functions = wide(at + AT_FUNCTIONS);
    for (unsigned i = 0; i < 5; i++) {
        offsets[i] = wide(at + AT_NAMES + i * sizeof *offsets);
        if (offsets[i] >= n)
            return false;
    }
    /* Pairs of words, and one more that ends the last function. */
    if (functions >= (n - offsets[4]) / 8)
        return false;
    *ret = (struct cw_go_table){.bytes = at,
                                .n = n,
                                .text = text,
                                .functions = (uint32_t)functions,
                                .names = offsets[0],
                                .units = offsets[1],
                                .files = offsets[2],
                                .values = offsets[3],
                                .entries = offsets[4]};
    return true;
}

/* An unsigned LEB128; false at the end of the table. */
static bool varint(const struct cw_go_table *table, uint64_t *at, uint32_t *ret)
{
    uint32_t value = 0;

    for (unsigned shift = 0; shift < 32; shift += 7) {
        if (*at >= table->n)
            return false;
        uint8_t byte = table->bytes[(*at)++];
        value |= (uint32_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret = value;
            return true;
        }
    }
    return false;
}

/* The value that a list of differences gives an address, relative to the function's start; false where it has none. */
static bool value_at(const struct cw_go_table *table, uint32_t list, uint64_t offset, int32_t *ret)
{
    uint64_t at = table->values + list, pc = 0;
    int64_t value = -1;
    uint32_t change, bytes;

    if (!list) /* none is kept */
        return false;
    while (varint(table, &at, &change) && (change || !pc) && varint(table, &at, &bytes)) {
        value += change & 1 ? -(int64_t)(change >> 1) - 1 : (int64_t)(change >> 1);
        pc += bytes;
        if (offset >= pc)
            continue;
        *ret = (int32_t)value;
        return value >= INT32_MIN && value <= INT32_MAX;
    }
    return false;
}

/* NULL where no NUL ends it. */
static const char *text_at(const struct cw_go_table *table, uint64_t part, uint32_t offset)
{
    uint64_t at = part + offset;
    return at < table->n && memchr(table->bytes + at, 0, table->n - at) ? (const char *)table->bytes + at : NULL;
}

static const char *file_of(const struct cw_go_table *table, uint64_t function, uint64_t offset)
{
    int32_t number;

    if (!value_at(table, word(table, function + 4 * FUNC_FILE), offset, &number) || number < 0)
        return NULL;
    uint64_t unit = word(table, function + 4 * FUNC_UNIT);
    uint32_t name = word(table, table->units + 4 * (unit + (uint32_t)number));
    return name == UINT32_MAX ? NULL : text_at(table, table->files, name);
}

bool cw_go_find(const struct cw_go_table *table, uint64_t address, struct cw_go_place *ret)
{
    uint64_t in_text = address - table->text;
    uint32_t low = 0, high = table->functions;
    int32_t line = 0, depth = 0;

    if (address < table->text || in_text >= word(table, table->entries + 8 * (uint64_t)table->functions))
        return false;
    while (high - low > 1) { /* the last one that begins at or before it */
        uint32_t middle = low + (high - low) / 2;
        if (word(table, table->entries + 8 * (uint64_t)middle) <= in_text)
            low = middle;
        else
            high = middle;
    }
    uint32_t entry = word(table, table->entries + 8 * (uint64_t)low);
    uint64_t function = table->entries + word(table, table->entries + 8 * (uint64_t)low + 4);
    if (in_text < entry || function + 4 * FUNC_WORDS > table->n)
        return false;
    uint64_t offset = in_text - entry;
    const char *name = text_at(table, table->names, word(table, function + 4 * FUNC_NAME));
    if (!name || !value_at(table, word(table, function + 4 * FUNC_SP), offset, &depth) || depth < 0)
        return false;
    if (!value_at(table, word(table, function + 4 * FUNC_LINE), offset, &line) || line < 0)
        line = 0;
    *ret = (struct cw_go_place){.start = table->text + entry,
                                .name = name,
                                .file = line ? file_of(table, function, offset) : NULL,
                                .line = (uint32_t)line,
                                .stack_bytes = depth};
    return true;
}

bool cw_go_is_outermost(const char *name)
{
    static const char *const names[] = {"runtime.goexit", "runtime.mstart", "runtime.rt0_go",
                                        "runtime.mcall",  "runtime.clone",  "runtime.systemstack"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i]) ||
            (!strncmp(name, names[i], strlen(names[i])) && !strcmp(name + strlen(names[i]), ".abi0")))
            return true;
    return false;
}
