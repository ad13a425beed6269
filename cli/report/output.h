/* Where a report goes: stdout, or a file that is written whole and then renamed.
 *
 * A report is gathered in memory first, so that those of several processes do not run into one another and a failure
 * leaves no half report behind. One of more than CW_OUTPUT_GATHERED bytes, or than there is memory for, is written piece by piece: a file still appears
 * whole or not at all. Single-threaded, as everything in the tool. */
#ifndef CLI_REPORT_OUTPUT_H
#define CLI_REPORT_OUTPUT_H

#include "core/out.h"

#include <stdbool.h>
#include <stddef.h>

enum { CW_OUTPUT_GATHERED = 1 << 20 };

/* What a pattern's %p, %e and %f stand for. */
struct cw_output_names {
    int pid;
    const char *exe; /* path; its last part counts */
    const char *format;
};

struct cw_output {
    struct cw_out out; /* what emitters write to */
    char *bytes;
    size_t used, room;
    int fd;     /* where to; -1: not opened yet */
    bool owned; /* the fd is ours to close */
    const char *pattern;
    const struct cw_output_names *names;
    char path[4096], temporary[4096 + 32]; /* temporary: "" when the target is written to itself */
};

/* To `fd` if the pattern is "", else to the file that it names. pattern and names stay the caller's until the end. Where a
 * regular file of that name holds another process's report, ".PID" is appended. */
void cw_output_begin(struct cw_output *output, int fd, const char *pattern, const struct cw_output_names *names);

/* Expands a pattern into path (%% is %). Returns 0, or -1 when it does not fit. */
int cw_output_expand(char *path, size_t path_bytes, const char *pattern, const struct cw_output_names *names);

/* Puts out what is still gathered and frees it. Returns 0, or -1 with the reason in `why`. */
int cw_output_end(struct cw_output *output, char *why, size_t why_bytes);

#endif
