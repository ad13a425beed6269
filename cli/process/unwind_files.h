/* One step up a stack where the process's memory has no unwind tables, or where a register that they want is not known: by the
 * tables in the object's file (.eh_frame without an index, as in static programs; .debug_frame), by the one that Go programs have, else by frame pointers,
 * else by looking for the return address, which stands behind a call of the function that is left.
 *
 * For stacks of programs without the recorder (static, Go, musl, stripped). Single-threaded, as everything in the tool. */
#ifndef CLI_PROCESS_UNWIND_FILES_H
#define CLI_PROCESS_UNWIND_FILES_H

#include "cli/process/modules.h"
#include "cli/process/unwind_frame.h"

struct cw_unwind_files; /* the files, opened when they are first wanted */

/* NULL without memory. modules must outlive it. */
struct cw_unwind_files *cw_unwind_files_new(struct cw_modules *modules);
void cw_unwind_files_free(struct cw_unwind_files *files); /* NULL is allowed */

/* The steps that follow go up the stack of this thread. */
void cw_unwind_files_begin(struct cw_unwind_files *files, const struct cw_snapshot *snapshot);

/* Goes from a function to its caller. exact: the address is that of the next instruction, not one behind a call. Returns 1, 0 at
 * the stack's end, -1 when it cannot be told (registers are then undefined). */
int cw_unwind_files_step(struct cw_unwind_files *files, bool exact, struct cw_unwind_registers *registers);

#endif
