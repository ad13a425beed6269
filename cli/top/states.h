/* The TCP connections that processes have open, by state, counted as ss -tanp does: by the kernel's list of sockets and each
 * process's open fds.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_TOP_STATES_H
#define CLI_TOP_STATES_H

#include "cli/process/sock_dump.h"
#include "cli/top/model.h"

#include <sys/types.h>

/* Begins as {0}. The memory is kept from one count to the next. */
struct cw_top_counter {
    struct cw_sock_dump dump;
    bool *counted; /* for each socket of the dump */
    size_t counted_room;
};

/* Fills ret[i] for pids[i], as seen from here, and *ret_all for them together, each socket once. What may not be looked at is
 * not `known`; *ret_all is known if any of them is. */
void cw_top_count(struct cw_top_counter *counter, const pid_t *pids, size_t n, struct cw_top_states *ret,
                  struct cw_top_states *ret_all);

void cw_top_counter_free(struct cw_top_counter *counter);

#endif
