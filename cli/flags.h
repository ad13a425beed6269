/* The options of core/options.inc as flags: --exit-grace=VALUE (underscores are understood too), --output for
 * log_path, and --color.
 *
 * A command makes one of the parsers below the child of its own (struct argp_child) and, at ARGP_KEY_INIT, says
 * where the flags go: state->child_inputs[N] = a struct cw_flags that cw_flags_begin has prepared. A wrong value
 * ends the tool with a message and CW_EXIT_FAILED. Single-threaded, as everything in the tool. */
#ifndef CLI_FLAGS_H
#define CLI_FLAGS_H

#include "cli/report/render.h"
#include "core/options.h"

#include <argp.h>

struct cw_flags {
    struct cw_request request; /* what was given, in order: for cw_render_new */
    struct cw_options options; /* the defaults, with what was given on top */
};

/* Nothing given yet. The ledger_dir of CWGUARD_OPTIONS holds: servers started from this shell keep their ledgers
 * there. */
void cw_flags_begin(struct cw_flags *flags);

/* For those who make reports: the options that a report depends on. */
const struct argp *cw_flags_argp_report(void);

/* For those who start programs: all that the recorder knows. */
const struct argp *cw_flags_argp_run(void);

#endif
