/* Where a report goes: stdout, or a file that is written whole and then renamed.
 *
 * A report is gathered in memory first, so that those of several processes do not run into one another and a failure
 * leaves no half report behind. Single-threaded, as everything in the tool. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "core/out.h"

#include <stddef.h>

struct cw_output {
    struct cw_out out; /* what emitters write to */
    char *bytes;
    size_t used, room;
};

void cw_output_begin(struct cw_output *output);

/* What a pattern's %p, %e and %f stand for. */
struct cw_output_names {
    int pid;
    const char *exe; /* path; its last part counts */
    const char *format;
};

/* Expands a pattern into path (%% is %). Returns 0, or -1 when it does not fit. */
int cw_output_expand(char *path, size_t path_bytes, const char *pattern, const struct cw_output_names *names);

/* Puts out what was gathered and frees it. pattern "": stdout. Where a regular file of that name holds another
 * process's report, ".PID" is appended. Returns 0, or -1 with the reason in `why`. */
int cw_output_end(struct cw_output *output, const char *pattern, const struct cw_output_names *names, char *why,
                  size_t why_bytes);

#endif
