/* Debug information of one file: from a code address to function, file and line, with the chain of inlined calls.
 *
 * Compilation units are found by a table of their ranges made once (not every compiler writes .debug_aranges),
 * functions by one table per unit that is asked for. Single-threaded, as everything in the tool. */
#ifndef CLI_SYMBOLS_DWARF_H
#define CLI_SYMBOLS_DWARF_H

#include "cli/symbols/strings.h"
#include "core/resolve.h"

#include <elfutils/libdw.h>

struct cw_dwarf;

/* NULL when there is no memory. `dwarf` stays the caller's and must outlive it. */
struct cw_dwarf *cw_dwarf_new(Dwarf *dwarf);

/* Symbols at an address of the debug information's own address space, innermost first: how many, at most max; 0 when
 * nothing is known. `arena` owns the strings. */
unsigned cw_dwarf_lookup(struct cw_dwarf *table, Dwarf_Addr address, struct cw_symbol *ret, unsigned max,
                         struct cw_arena *arena);

void cw_dwarf_free(struct cw_dwarf *table);

#endif
