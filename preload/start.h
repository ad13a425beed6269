/* When recording begins: at load the shim only looks around; the ledger comes with the first TCP socket. */
#ifndef PRELOAD_START_H
#define PRELOAD_START_H

#include <stdbool.h>

/* Begins recording in this process if that has not happened: true when it is being recorded. Called by hooks that have
 * just seen a TCP socket. Any thread; a thread that finds another one at it waits briefly, a signal handler that
 * interrupted it gives up. */
bool cw_start(void);

/* Switches the recorder off for good in this process, with a reason that the tool can show (static storage). */
void cw_switch_off(const char *reason);

#endif
