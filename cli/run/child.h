/* The program that `cwguard run` starts: its beginning, and what is not to be kept from it.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_RUN_CHILD_H
#define CLI_RUN_CHILD_H

#include <sys/types.h>

/* Starts `path` with these arguments and this environment in a child that has all fds, limits, the process group and
 * the terminal of this process, and its signals as cw_run_signals_begin found them. Returns its pid, or negative
 * errno: it could not be executed. */
pid_t cw_run_child_start(const char *path, char *const *arguments, char *const *environment);

/* Lets go of what this process has inherited and only the program is to hold: stdin, and every fd from 3 on, `keep`
 * apart (-1: none). After the start, before anything else is opened. */
void cw_run_child_release(int keep);

/* The exit status that a shell shows for a wait status. */
int cw_run_child_code(int wait_status);

#endif
