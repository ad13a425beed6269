/* Forks: a child keeps its parent's sockets but not its ledger.
 *
 * The process page reads zero in a child, whichever way it was forked. What the parent knew at the fork is carried over as a
 * private copy (made by the prepare handler, so that what the parent closes a moment later is still known), and the child
 * begins a ledger of its own when it first touches a socket. Raw clones run no handler: they fall back to the parent's table
 * as it is at that moment. */
#ifndef PRELOAD_FORK_H
#define PRELOAD_FORK_H

#include <stdbool.h>
#include <stdint.h>

/* Registers the handlers. At load. */
void cw_fork_init(void);

/* In a process without a ledger of its own: whether fd is a socket that came over fork. */
bool cw_fork_knows(int fd);

/* Whether this is a forked child whose parent had sockets and which has not begun a ledger. */
bool cw_fork_pending(void);

/* fd numbers below this may have come over fork. */
uint32_t cw_fork_slots(void);

/* Fills a fresh ledger with what came over fork; called by cw_start. No-op in a process that was not forked. */
void cw_fork_adopt(void);

#endif
