/* Listeners: which of them a connection in an accept queue belongs to, as far as that can be told.
 *
 * Such a connection has no fd; the kernel shows its local address only. Several listeners may share that (SO_REUSEPORT, another
 * process): then the one in whose queue somebody waits. Pure: any thread, a signal handler, a forked child. */
#ifndef CORE_LISTENERS_H
#define CORE_LISTENERS_H

#include "include/cwguard_ledger.h"

#include <stdbool.h>
#include <stdint.h>

/* Whether connections to this local address come to the listener. */
bool cw_listener_takes(const struct cw_conn *listener, uint8_t family, const uint8_t local[16], uint16_t port);

/* Whether the kernel has said that nobody waits in its queue. */
bool cw_listener_is_empty(const struct cw_conn *listener);

#endif
