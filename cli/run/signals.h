/* Signals of `cwguard run`: all are blocked and taken one by one, so that the program that it stands in front of gets
 * each exactly once and finds its signal mask and dispositions as if nothing stood there.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_RUN_SIGNALS_H
#define CLI_RUN_SIGNALS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Blocks them. Before the program is started. */
void cw_run_signals_begin(void);

/* In the forked child, before it executes the program: mask and dispositions as this tool found them. */
void cw_run_signals_restore(void);

/* The next signal: its number with *ret_info filled in, or 0 after timeout_ms without one. */
int cw_run_signals_take(siginfo_t *ret_info, uint32_t timeout_ms);

/* Whether the program has to be sent it too: the terminal sends to the whole process group by itself, and what the
 * program or a child of its own sends is not meant for it. */
bool cw_run_signals_is_for(pid_t program, const siginfo_t *info);

/* Sends it on, with its value if it has one. */
void cw_run_signals_forward(pid_t program, const siginfo_t *info);

/* Whether it asks this tool to come to an end, when there is no program any more to pass it on to: not if it was to be
 * ignored from the start (nohup, a background job). */
bool cw_run_signals_is_stop(int sig);

#endif
