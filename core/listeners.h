/* Listeners: which of them a connection in an accept queue belongs to, as far as that can be told.
 *
 * Such a connection has no fd; the kernel shows its local address only. Several listeners may share that
 * (SO_REUSEPORT, another process): then it is one of those in whose queue somebody waits. Pure: any thread, a signal
 * handler, a forked child. */
#ifndef CORE_LISTENERS_H
#define CORE_LISTENERS_H

#include "core/view.h"

#include <stdbool.h>
#include <stdint.h>

/* Whether connections to this local address come to the listener. */
bool cw_listener_takes(const struct cw_conn *listener, uint8_t family, const uint8_t local[16], uint16_t port);

/* Whether the kernel has said that nobody waits in its queue. */
bool cw_listener_is_empty(const struct cw_conn *listener);

/* Whether the kernel has said how many wait in its queue. */
bool cw_listener_queue_known(const struct cw_conn *listener);

/* Goes through those in whose queue a connection to this local address may be: the position, from `from` on, of the
 * next of them in `listeners` (n indices in CONNS), or n if there is no more. */
uint32_t cw_listeners_next(const struct cw_view *view, const uint32_t *listeners, uint32_t n, uint32_t from,
                           const struct cw_conn *conn);

#endif
