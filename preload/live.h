/* Live lines: what a running process says on stderr about its leaks. Bounded (ten a minute), never blocking, off with
 * live=0. Any thread, a signal handler. */
#ifndef PRELOAD_LIVE_H
#define PRELOAD_LIVE_H

#include "include/cwguard_ledger.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The connection has passed the grace period: noted, for cw_live_announce. In a sweep only. */
void cw_live_leaked(const struct cw_conn *conn);

/* Diagnoses what was noted, and counts it for its code path; the 1st, 10th, 100th … of a leak makes a line, a note
 * does not. At the end of each slice of a sweep. */
void cw_live_announce(uint32_t now_ms);

/* A connection that was part of a line has been closed after all. */
void cw_live_closed(const struct cw_conn *conn);

/* Writes one line ("cwguard: " is put before it, a newline after) to the program's stderr if that is possible without blocking
 * and without SIGPIPE; false if it was not written. */
bool cw_live_say(const char *text);

/* The fd that is the program's stderr, or -1: fd 2 if it is the file of the start or was put there on purpose, and not
 * /dev/null. */
int cw_stderr_fd(void);

#endif
