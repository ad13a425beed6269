#include "cli/symbols/dwarf.h"

#include <dwarf.h>
#include <stdlib.h>
#include <string.h>

struct range {
    Dwarf_Addr low, high; /* high is the first address outside */
    Dwarf_Die die;
};

struct range_list {
    struct range *items;
    size_t count, room;
    bool failed; /* out of memory: what is missing is merely not found */
};

struct unit {
    Dwarf_Off offset;
    struct range_list functions;
    struct unit *next;
};

struct cw_dwarf {
    Dwarf *dwarf;
    struct range_list units;
    struct unit *read; /* units whose functions have been listed */
};

/* Deeper nesting than any compiler makes: a damaged file may go in circles. */
enum { NESTING_MAX = 64 };

static void add_range(struct range_list *list, Dwarf_Addr low, Dwarf_Addr high, const Dwarf_Die *die)
{
    /* Code that the linker threw away is left behind at 0 (or 1). */
    if (low >= high || low <= 1)
        return;
    if (list->count == list->room) {
        size_t room = list->room ? 2 * list->room : 64;
        struct range *more = realloc(list->items, room * sizeof *more);
        if (!more) {
            list->failed = true;
            return;
        }
        list->items = more;
        list->room = room;
    }
    list->items[list->count++] = (struct range){.low = low, .high = high, .die = *die};
}

static void add_ranges_of(struct range_list *list, Dwarf_Die *die)
{
    Dwarf_Addr base, low, high;
    ptrdiff_t at = 0;

    while (!list->failed && (at = dwarf_ranges(die, at, &base, &low, &high)) > 0)
        add_range(list, low, high, die);
}

static int by_low(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    return (x->low > y->low) - (x->low < y->low);
}

static void sort_ranges(struct range_list *list)
{
    if (list->count)
        qsort(list->items, list->count, sizeof *list->items, by_low);
}

/* The range that holds the address and begins last; overlaps occur (identical code folded into one). */
static const struct range *find_range(const struct range_list *list, Dwarf_Addr address)
{
    enum { BACK_MAX = 32 };
    size_t low = 0, high = list->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (list->items[middle].low <= address)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t back = 0; low > 0 && back < BACK_MAX; back++, low--)
        if (address < list->items[low - 1].high)
            return &list->items[low - 1];
    return NULL;
}

struct cw_dwarf *cw_dwarf_new(Dwarf *dwarf)
{
    struct cw_dwarf *table = calloc(1, sizeof *table);
    Dwarf_CU *cu = NULL;
    Dwarf_Die die;
    uint8_t type;

    if (!table)
        return NULL;
    table->dwarf = dwarf;
    while (!table->units.failed && dwarf_get_units(dwarf, cu, &cu, NULL, &type, &die, NULL) == 0)
        if (type == DW_UT_compile || type == DW_UT_skeleton)
            add_ranges_of(&table->units, &die);
    sort_ranges(&table->units);
    return table;
}

static bool may_hold_functions(int tag)
{
    switch (tag) {
    case DW_TAG_namespace:
    case DW_TAG_module:
    case DW_TAG_class_type:
    case DW_TAG_structure_type:
    case DW_TAG_union_type:
        return true;
    default:
        return false;
    }
}

static void list_functions(struct range_list *list, Dwarf_Die *parent, unsigned depth)
{
    Dwarf_Die die;

    if (depth > NESTING_MAX || dwarf_child(parent, &die) != 0)
        return;
    do {
        int tag = dwarf_tag(&die);
        if (tag == DW_TAG_subprogram)
            add_ranges_of(list, &die);
        else if (may_hold_functions(tag))
            list_functions(list, &die, depth + 1);
    } while (!list->failed && dwarf_siblingof(&die, &die) == 0);
}

/* The functions of a unit, listed at its first use; NULL when there is no memory. */
static const struct range_list *functions_of(struct cw_dwarf *table, const Dwarf_Die *unit_die)
{
    Dwarf_Die die = *unit_die, split;
    Dwarf_Off offset = dwarf_dieoffset(&die);
    uint8_t type;

    for (const struct unit *unit = table->read; unit; unit = unit->next)
        if (unit->offset == offset)
            return &unit->functions;
    struct unit *unit = calloc(1, sizeof *unit);
    if (!unit)
        return NULL;
    unit->offset = offset;
    unit->next = table->read;
    table->read = unit;
    /* A skeleton's functions stand in its .dwo file, if that is there. */
    if (dwarf_cu_info(die.cu, NULL, &type, NULL, &split, NULL, NULL, NULL) == 0 && type == DW_UT_skeleton &&
        dwarf_tag(&split) != DW_TAG_invalid)
        die = split;
    list_functions(&unit->functions, &die, 0);
    sort_ranges(&unit->functions);
    return &unit->functions;
}

/* Inlined calls around the address, outermost first: how many of at most max. */
static unsigned inlined_calls(const Dwarf_Die *function, Dwarf_Addr address, Dwarf_Die *ret, unsigned max)
{
    Dwarf_Die at = *function, die;
    unsigned count = 0;

    for (unsigned depth = 0; depth < NESTING_MAX && count < max; depth++) {
        bool deeper = false;
        if (dwarf_child(&at, &die) != 0)
            break;
        do {
            int tag = dwarf_tag(&die);
            if ((tag != DW_TAG_inlined_subroutine && tag != DW_TAG_lexical_block && tag != DW_TAG_try_block &&
                 tag != DW_TAG_catch_block) ||
                dwarf_haspc(&die, address) <= 0)
                continue;
            if (tag == DW_TAG_inlined_subroutine)
                ret[count++] = die;
            at = die;
            deeper = true;
            break;
        } while (dwarf_siblingof(&die, &die) == 0);
        if (!deeper)
            break;
    }
    return count;
}

/* The mangled name says most (namespace, class, template arguments). A linkage name that is not mangled says less than
 * the source's own: a C library's aliases. */
static const char *function_name(Dwarf_Die *die, struct cw_arena *arena)
{
    Dwarf_Attribute attribute;
    const char *name = NULL;

    if (dwarf_attr_integrate(die, DW_AT_linkage_name, &attribute) ||
        dwarf_attr_integrate(die, DW_AT_MIPS_linkage_name, &attribute))
        name = cw_arena_demangled(arena, dwarf_formstring(&attribute));
    if (!name && dwarf_attr_integrate(die, DW_AT_name, &attribute))
        name = cw_arena_string(arena, dwarf_formstring(&attribute));
    return name;
}

/* Where an inlined call stands. */
static void call_site(Dwarf_Die *inlined, struct cw_symbol *symbol, struct cw_arena *arena)
{
    Dwarf_Attribute attribute;
    Dwarf_Word value;
    Dwarf_Files *files;
    Dwarf_Die unit;

    if (!dwarf_attr(inlined, DW_AT_call_file, &attribute) || dwarf_formudata(&attribute, &value) != 0 ||
        !dwarf_diecu(inlined, &unit, NULL, NULL) || dwarf_getsrcfiles(&unit, &files, NULL) != 0)
        return;
    symbol->file = cw_arena_string(arena, dwarf_filesrc(files, value, NULL, NULL));
    if (symbol->file && dwarf_attr(inlined, DW_AT_call_line, &attribute) && dwarf_formudata(&attribute, &value) == 0)
        symbol->line = (uint32_t)value;
}

static void code_line(Dwarf_Die *unit, Dwarf_Addr address, struct cw_symbol *symbol, struct cw_arena *arena)
{
    Dwarf_Line *line = dwarf_getsrc_die(unit, address);
    int number;

    if (!line || dwarf_lineno(line, &number) != 0 || number <= 0)
        return;
    symbol->file = cw_arena_string(arena, dwarf_linesrc(line, NULL, NULL));
    if (symbol->file)
        symbol->line = (uint32_t)number;
}

unsigned cw_dwarf_lookup(struct cw_dwarf *table, Dwarf_Addr address, struct cw_symbol *ret, unsigned max,
                         struct cw_arena *arena)
{
    enum { INLINED_MAX = 16 };
    const struct range *unit = find_range(&table->units, address);
    const struct range_list *functions = unit ? functions_of(table, &unit->die) : NULL;
    const struct range *function = functions ? find_range(functions, address) : NULL;
    Dwarf_Die inlined[INLINED_MAX], unit_die, function_die;
    unsigned count = 0, calls;

    if (!unit || max == 0)
        return 0;
    unit_die = unit->die;
    memset(ret, 0, max * sizeof *ret);
    code_line(&unit_die, address, &ret[0], arena);
    if (!function)
        return ret[0].file ? 1 : 0;
    function_die = function->die;
    calls = inlined_calls(&function_die, address, inlined, INLINED_MAX);
    while (count < calls && count + 1 < max) {
        Dwarf_Die *call = &inlined[calls - 1 - count];
        ret[count].function = function_name(call, arena);
        ret[count].inlined = true;
        call_site(call, &ret[count + 1], arena);
        count++;
    }
    if (count < calls) { /* no room for all: the rest of the chain is left out */
        ret[count].function = function_name(&inlined[calls - 1 - count], arena);
        ret[count].inlined = true;
    } else {
        ret[count].function = function_name(&function_die, arena);
    }
    return count + 1;
}

void cw_dwarf_free(struct cw_dwarf *table)
{
    if (!table)
        return;
    while (table->read) {
        struct unit *unit = table->read;
        table->read = unit->next;
        free(unit->functions.items);
        free(unit);
    }
    free(table->units.items);
    free(table);
}
