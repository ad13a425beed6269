/* Forks: a child keeps its parent's sockets but not its ledger.
 *
 * The process page reads zero in a child, whichever way it was forked. What the parent knew at the fork is carried over as a
 * private copy (made by the prepare handler, so that what the parent closes a moment later is still known), and the child
 * begins a ledger of its own when it first touches a socket. Raw clones run no handler: they fall back to the parent's table
 * as it is at that moment. Where fork was called is on record in the parent's ring of forks and in the child's header. */
#ifndef PRELOAD_FORK_H
#define PRELOAD_FORK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Registers the handlers. At load. */
void cw_fork_init(void);

/* Around a call of fork, where it was called by name: libc's own forks (daemon, forkpty) have the handlers alone, and are on
 * record without a stack and a pid. In the child `end` is called as well (result 0). Any thread, a signal handler; errno is
 * left alone. */
struct cw_site;
struct cw_forking {
    uint32_t outer_stack, outer_seq; /* of a fork that a signal handler interrupted, to fork itself */
};
void cw_fork_begin(struct cw_forking *ret, const struct cw_site *site);
void cw_fork_end(const struct cw_forking *forking, pid_t result);

/* In a process without a ledger of its own: whether fd is a socket that came over fork. */
bool cw_fork_knows(int fd);

/* Whether this is a forked child whose parent had sockets and which has not begun a ledger. */
bool cw_fork_pending(void);

/* fd numbers below this may have come over fork. */
uint32_t cw_fork_slots(void);

/* Fills a fresh ledger with what came over fork; called by cw_start. No-op in a process that was not forked. */
void cw_fork_adopt(void);

#endif
