/* The eyes of the watcher: what one look at the kernel and at the ledgers is made with, used again from look to look.
 *
 * Shared by look.c (processes), index.c (the dump) and search.c (/proc/PID/fd) alone. Single-threaded. */
#ifndef CLI_WATCH_EYES_H
#define CLI_WATCH_EYES_H

#include "cli/watch/parts.h"

/* A growing array that is used again from look to look. */
struct cw_eyes_buffer {
    void *bytes;
    size_t size;
};

struct cw_watch_eyes {
    struct cw_sock_dump dump;
    uint64_t dump_ns;              /* when it was begun */
    struct cw_eyes_buffer by_peer; /* uint32_t[n_hash]: index + 1 in the dump, by peer address; listeners by port */
    struct cw_eyes_buffer by_inode;
    size_t n_hash;
    struct cw_eyes_buffer
        owners; /* per socket of the dump: who was last found to have it open, a number of `turn`; 0 nobody */
    uint32_t turn;
    bool any_close_wait, any_queued;
    /* Sockets in CLOSE_WAIT of others, and when they were found to be. */
    struct cw_eyes_foreign {
        uint32_t inode;
        unsigned round;
    } * foreign;
    size_t n_foreign;
    struct cw_eyes_buffer slots, conns, fds, next; /* of the process that is looked at */
    size_t n_slots, n_conns, n_next;
    uint64_t search_after_ns;
    bool said_error;
};

/* --- index.c --- */

/* Room for so many bytes; what was in it stays. */
bool cw_eyes_reserve(struct cw_eyes_buffer *buffer, size_t size);

/* Makes the dump known by inode and by peer; nobody owns its sockets yet. False without memory. */
bool cw_eyes_index(struct cw_watch_eyes *eyes);

/* The place in the dump, or -1. */
long cw_eyes_find(const struct cw_watch_eyes *eyes, uint32_t inode);

/* The place in the dump of the first socket that can be a record's, by its addresses; -1: there is none. */
long cw_eyes_match(const struct cw_watch_eyes *eyes, const struct cw_conn *conn);

/* Whether it waits in an accept queue. */
bool cw_eyes_is_queued(const struct cw_sock *sock);

static inline uint32_t *cw_eyes_owners(const struct cw_watch_eyes *eyes)
{
    return eyes->owners.bytes;
}

/* What a look needs of a process's ledger, as it is now: slots and conns. */
void cw_eyes_read(struct cw_watch *watch, struct cw_watched *watched);

/* fds[index of a record]: the lowest fd whose slot names it, plus one; 0 none. False without memory. */
bool cw_eyes_invert(struct cw_watch_eyes *eyes);

/* --- look.c --- */

/* The look at a process begins, with no socket found yet; what was found becomes its last look. */
void cw_eyes_begin(struct cw_watch_eyes *eyes);
void cw_eyes_settle(struct cw_watch_eyes *eyes, struct cw_watched *watched);

/* Adds a socket to those found. NULL without memory. */
struct cw_watch_sock *cw_eyes_add(struct cw_watch_eyes *eyes, const struct cw_sock *sock, int fd);

/* The process has the socket at this place of the dump open as fd. before: what the last look said of that fd, or NULL. */
void cw_eyes_enter(struct cw_watch_eyes *eyes, const struct cw_watch_sock *before, long at, int fd, bool by_proc);

/* --- search.c --- */

/* Looks for the owners of sockets in CLOSE_WAIT that no ledger has led to, in the processes of that network namespace. */
void cw_eyes_search(struct cw_watch *watch, uint64_t net_ns);

#endif
