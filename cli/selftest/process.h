/* The child process of cwguard selftest as its parent handles it: started under the library, asked, ended.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_SELFTEST_PROCESS_H
#define CLI_SELFTEST_PROCESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cw_selftest_process {
    pid_t pid;
    int to, from; /* its stdin and stdout */
    int err;      /* what it writes to stderr: a memfd */
    uint64_t deadline_ns;
    int port, line; /* where it listens; the line of its accept */
};

/* Starts it and waits until it has leaked. library "": without. 0, or -1 with the reason in `why`. */
int cw_selftest_start(struct cw_selftest_process *ret, const char *library, char *why, size_t why_bytes);

/* Lets it end, kills it if it does not before the deadline, and returns all that it and its reporter wrote to stderr (to be freed;
 * NULL without memory). */
char *cw_selftest_end(struct cw_selftest_process *process);

#endif
