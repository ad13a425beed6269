/* The recorder's own rendering of the report, for when the tool cannot be run: core's emitters, names from the loaded
 * objects' symbol tables, no file and line. Raw system calls only; mallocs nothing, takes no lock. */
#ifndef PRELOAD_SELF_REPORT_H
#define PRELOAD_SELF_REPORT_H

#include "core/resolve.h"

#include <stdbool.h>

enum cw_self_where {
    CW_SELF_OWN_PROCESS, /* in a process of ours (preload/spawn.h), which may be killed */
    CW_SELF_IN_PROGRAM   /* in the program, by the thread that ends it: other signals must not come of it */
};

/* Writes the report to out_fd, or with option log_path to that file, and then, for the text format, the command that
 * resolves the kept ledger. Once the program has installed a seccomp filter of its own this does nothing unless the
 * ledger is in memory only, and then makes no call but write. Returns whether the whole report is out. */
bool cw_self_report(int out_fd, enum cw_self_where where);

/* A resolver over the symbol tables of the objects loaded now. `memory`: CW_SELF_SYMBOLS_BYTES, zeroed, that it keeps. */
#define CW_SELF_SYMBOLS_BYTES 65536u
void cw_self_symbols(struct cw_resolver *ret_resolver, void *memory);

#endif
