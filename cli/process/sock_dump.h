/* All TCP sockets in the network namespace of a process, as sock_diag lists them, or /proc/PID/net where that is refused.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_PROCESS_SOCK_DUMP_H
#define CLI_PROCESS_SOCK_DUMP_H

#include "core/sockdiag.h"

#include <netinet/tcp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What is asked for. ANY: all that the kernel lists of sockets that have an fd. */
enum {
    CW_SOCK_STATES_REPORTED = 1u << TCP_CLOSE_WAIT | 1u << TCP_LISTEN,
    CW_SOCK_STATES_ANY = CW_SOCK_STATES_REPORTED | 1u << TCP_ESTABLISHED | 1u << TCP_SYN_SENT | 1u << TCP_SYN_RECV |
                         1u << TCP_FIN_WAIT1 | 1u << TCP_FIN_WAIT2 | 1u << TCP_LAST_ACK | 1u << TCP_CLOSING
};

/* Begins as {0}. The memory is kept from one dump to the next. */
struct cw_sock_dump {
    struct cw_sock *socks;
    size_t count, room;
    int refused; /* 0, or the negative errno of sock_diag, in whose place /proc was read at the last dump */
};

/* Adds the sockets in these states (1u << TCP_CLOSE_WAIT …) to the dump: 0, or negative errno with the dump as it was. */
int cw_sock_dump(struct cw_sock_dump *dump, pid_t pid, uint32_t states);

void cw_sock_dump_free(struct cw_sock_dump *dump);

#endif
