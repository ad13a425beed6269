/* From code addresses of a running process to frames as the ledger has them: an object, and how far from its load
 * address.
 *
 * Objects that the recorder has not met are added to the private copy from /proc/PID/maps. Single-threaded, as
 * everything in the tool. */
#ifndef CLI_PROCESS_MODULES_H
#define CLI_PROCESS_MODULES_H

#include "cli/ledger/load.h"

#include <stdbool.h>
#include <sys/types.h>

struct cw_mapping {
    uint64_t start, end, offset;
    bool executable;
    char path[512]; /* "" of anonymous memory */
};

struct cw_modules {
    struct cw_load *load;
    pid_t pid;
    char exe[512];
    struct cw_mapping *mappings; /* in ascending order */
    size_t count;
};

/* Reads the maps of process pid (as seen from here): 0, or negative errno. Free it with cw_modules_free also then. */
int cw_modules_read(struct cw_modules *ret, struct cw_load *load, pid_t pid);
void cw_modules_free(struct cw_modules *modules);

/* The word for a return address, 0 if there is no code. */
uint64_t cw_modules_frame(struct cw_modules *modules, uint64_t address);

/* Whether there is code at an address. */
bool cw_modules_is_code(const struct cw_modules *modules, uint64_t address);

/* The object that an address lies in, and the mapping of it there: false if there is none. */
bool cw_modules_object(const struct cw_modules *modules, uint64_t address, struct cw_module *ret,
                       const struct cw_mapping **ret_mapping);

/* Where the object at an address keeps its unwind tables, in the memory of the process: false if it has none. */
struct cw_unwind_tables {
    uint64_t start, end, eh_frame_hdr; /* the object; its segment PT_GNU_EH_FRAME */
};
bool cw_modules_tables(const struct cw_modules *modules, uint64_t address, struct cw_unwind_tables *ret);

#endif
