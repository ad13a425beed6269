/* Live lines: what a running process says on stderr about its leaks. Bounded (ten a minute), never blocking, off with
 * live=0. Any thread, a signal handler. */
#ifndef PRELOAD_LIVE_H
#define PRELOAD_LIVE_H

#include "include/cwguard_ledger.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The connection has passed the grace period: counted for its code path; the 1st, 10th, 100th … makes a line. */
void cw_live_leaked(struct cw_conn *conn, uint32_t now_ms);

/* A connection that was part of a line has been closed after all. */
void cw_live_closed(const struct cw_conn *conn);

/* Writes one line ("cwguard: " is put before it, a newline after) to the program's stderr if that is possible without blocking
 * and without SIGPIPE; false if it was not written. */
bool cw_live_say(const char *text);

/* The fd that is the program's stderr, or -1: fd 2 if it is the file of the start or was put there on purpose, and not
 * /dev/null. */
int cw_stderr_fd(void);

#endif
