/* From a function to its caller by one row of an unwind table, as libdw reads it from a file.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_PROCESS_UNWIND_FRAME_H
#define CLI_PROCESS_UNWIND_FRAME_H

#include "cli/process/snapshot.h"
#include "core/code.h"

#include <elfutils/libdw.h>

struct cw_unwind_registers {
    uint64_t value[CW_SNAPSHOT_REGISTERS]; /* by their DWARF numbers */
    uint32_t known;                        /* 1u << number */
};

/* Makes the caller's registers of those of the function. Returns 1, 0 at the stack's end, -1 when it cannot be told:
 * *ret_frame_pointer is then whether it could, were rbp known. */
int cw_unwind_frame(Dwarf_Frame *frame, cw_code_read read, void *ctx, struct cw_unwind_registers *registers,
                    bool *ret_frame_pointer);

#endif
