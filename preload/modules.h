/* Modules: ELF objects as records in the ledger, so that frames can be resolved when the process is gone.
 *
 * A record is claimed by one compare-and-swap of its start address and filled in by whoever won; the others use its
 * index at once. Build-ids are read from the mapped objects. No malloc, no lock. Any thread, a signal handler, a
 * forked child. */
#ifndef PRELOAD_MODULES_H
#define PRELOAD_MODULES_H

#include <stdint.h>

/* A return address as a word of STACKS: module and offset; module 0 and the address itself where no object maps it
 * or the ledger has no room. */
uint64_t cw_modules_frame(uintptr_t ip);

/* Code was unloaded: records of objects that are gone are marked so and will not be used again. */
void cw_modules_code_unloaded(void);

#endif
