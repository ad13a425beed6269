/* Sweeps: now and then, on the way through a hook that is slow anyway, the open sockets are held against the kernel.
 *
 * One poll() over a slice of them, TCP_INFO only for those it flags. Finds leaks while the process runs, keeps the state that
 * a killed process leaves in its ledger, and settles closes that were cancelled. Any thread, a signal handler. */
#ifndef PRELOAD_SWEEP_H
#define PRELOAD_SWEEP_H

#include "include/cwguard_ledger.h"

#include <stdbool.h>
#include <stdint.h>

/* Does the next slice if one is due (each second; at most one thread at a time). */
void cw_sweep_maybe(uint32_t now_ms);

/* Asks the kernel for the state of the connection behind fd and enters it; false if it could not be asked. */
bool cw_sweep_ask(struct cw_conn *conn, int fd, uint32_t now_ms);

#endif
