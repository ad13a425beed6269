/* Where the recorder's own rendering goes: a stream that may be full or closed, or a file that appears whole (option
 * log_path). Raw system calls only. */
#ifndef PRELOAD_SELF_OUTPUT_H
#define PRELOAD_SELF_OUTPUT_H

#include "core/out.h"
#include "preload/self_report.h"

#define CW_SELF_PATH_BYTES 1280u

struct cw_self_output {
    int fd;
    bool is_file; /* a temporary file, to be renamed to `path` */
    bool may_poll;
    bool exact; /* the pattern names the process: an older report of it may be replaced */
    int pid;
    uint64_t deadline_ns;
    char path[CW_SELF_PATH_BYTES], temporary[CW_SELF_PATH_BYTES];
};

/* What log_path's pattern may name: %p, %e, %f. An empty pattern: out_fd. */
struct cw_self_output_names {
    const char *pattern, *exe, *format;
    int pid;
};

/* Makes `out` write there. 0 or negative errno. */
int cw_self_output_begin(struct cw_self_output *output, struct cw_out *out, int out_fd,
                         const struct cw_self_output_names *names, enum cw_self_where where);

/* `failed`: the report is not whole; nothing is left of it in the file system. 0 if the report is out. */
int cw_self_output_end(struct cw_self_output *output, int failed);

#endif
