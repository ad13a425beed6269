/* From one loaded ledger to one report: which moment it speaks of, which options hold, and out with it.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_RENDER_H
#define CLI_RENDER_H

#include "cli/load.h"
#include "cli/proc.h"

#include <stdbool.h>

/* Options given as flags: they win over those in the ledger. */
enum { CW_FLAGS_MAX = 32 };

enum cw_colour { CW_COLOUR_AUTO, CW_COLOUR_ALWAYS, CW_COLOUR_NEVER };

struct cw_request {
    struct {
        const char *name, *value; /* as cw_options_set takes them; values were checked before */
    } flags[CW_FLAGS_MAX];
    unsigned flag_count;
    enum cw_colour colour;
};

enum cw_render_of {
    CW_RENDER_DYING,   /* its process hands it over: format and file are those of its options */
    CW_RENDER_RUNNING, /* the kernel is asked */
    CW_RENDER_ENDED    /* as its process left it */
};

/* Renders; proc is needed for RUNNING, else NULL. What is missing in the report is said on stderr. Returns 0, or -1
 * after a message. `name`: what messages call the ledger. */
int cw_render(struct cw_load *load, const char *name, enum cw_render_of of, const struct cw_proc *proc,
              const struct cw_request *request);

#endif
