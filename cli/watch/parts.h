/* What the parts of the watcher (cli/watch_*.c) share; nobody else includes this.
 *
 * A look goes through them in this order: watch_find (ledgers), watch_tree (processes), watch_end (those that have ended),
 * watch_look (the kernel). watch_live turns what looks found into lines. Single-threaded. */
#ifndef CLI_WATCH_PARTS_H
#define CLI_WATCH_PARTS_H

#include "cli/process/sock_dump.h"
#include "cli/watch/watch.h"

/* --- processes with a ledger --- */

/* A socket in CLOSE_WAIT, or a listener, as the last look has found it. */
struct cw_watch_sock {
    struct cw_sock sock;
    uint64_t slot;     /* what the ledger said of the fd then: as long as it says so, no hook has seen a close */
    uint64_t since_ns; /* the first look that has found it so; CLOCK_MONOTONIC_COARSE */
    int32_t fd;        /* -1: waits in an accept queue */
    bool by_proc;      /* found in /proc/PID/fd: no record of the ledger has led to it */
    bool told;         /* counted for its code path */
};

/* How many sockets of one process have leaked by a code path. */
struct cw_watch_count {
    uint64_t path;
    uint32_t count;
};

struct cw_watched {
    uint64_t pid_ns, start_ticks; /* these three are what the ledger says */
    pid_t inner_pid;
    pid_t pid; /* as seen from here, 0: it is not in our /proc, or has ended */
    pid_t ppid;
    uint64_t net_ns;
    bool ended;
    bool has_status; /* somebody has waited for it: */
    int status;
    unsigned missing; /* looks that have not found it in /proc */

    /* Its ledger, while it runs. */
    char *path;
    int fd, dir_fd; /* the file and, where the path leads through /proc/PID/root, its directory; -1: none */
    uint64_t start_mono_ns;
    uint32_t grace_ms;
    bool parent_lives; /* that it was forked from: what waits at inherited listeners is that one's */

    /* The last look. */
    uint64_t look_ns;            /* 0: none yet */
    struct cw_watch_sock *socks; /* by fd */
    size_t n_socks, socks_room;
    uint32_t fresh;       /* leaked, and not told yet */
    uint32_t queued_told; /* of those without an fd, how many are */
    struct cw_watch_count *counts;
    size_t n_counts, counts_room;

    /* Its ledger, once it has ended; and those of the programs that it ran before an exec, oldest first. */
    bool kept;
    struct cw_load load;
    struct cw_load *images;
    size_t n_images;
};

/* --- the watcher --- */

struct cw_watch_tree;  /* tree.c */
struct cw_watch_names; /* find.c */
struct cw_watch_eyes;  /* look.c */
struct cw_watch_live;  /* live.c */

/* A wait status that came before its process's ledger was found. */
struct cw_watch_status {
    pid_t pid;
    int status;
};
enum { CW_WATCH_STATUSES = 64 };

struct cw_watch {
    struct cw_watch_of of;
    bool is_run;
    unsigned round;  /* of looks */
    uint64_t pid_ns; /* our own */
    struct cw_watched **list;
    size_t n_list, list_room;
    struct cw_watch_tree *tree;
    struct cw_watch_names *names;
    struct cw_watch_eyes *eyes;
    struct cw_watch_live *live;
    struct cw_watch_status statuses[CW_WATCH_STATUSES]; /* a ring */
    unsigned n_statuses;
    size_t n_clean;         /* ended ones of which nothing but the header is kept */
    uint64_t clean_dropped; /* those of which not even that is */
};

/* CLOCK_MONOTONIC_COARSE, which ledgers' times count in. */
uint64_t cw_watch_now_ns(void);

/* A moment of that clock in the ledger's ms; never 0. */
uint32_t cw_watch_ms(const struct cw_watched *watched, uint64_t at_ns);

/* The process of this identity, or NULL. */
struct cw_watched *cw_watch_by_identity(const struct cw_watch *watch, uint64_t pid_ns, pid_t inner_pid,
                                        uint64_t start_ticks);

/* A new one in the list, or NULL without memory. */
struct cw_watched *cw_watch_add(struct cw_watch *watch);

/* Closes the files of one that has ended, or is not wanted any more. */
void cw_watched_close(struct cw_watched *watched);

/* --- tree.c: the processes that /proc shows --- */

struct cw_watch_tree *cw_watch_tree_new(void);
void cw_watch_tree_free(struct cw_watch_tree *tree);
void cw_watch_tree_root(struct cw_watch_tree *tree, pid_t root);

/* Reads /proc. Those of the run and those in the list are read anew each time. */
void cw_watch_tree_look(struct cw_watch *watch);

/* The living process of that identity as seen from here, or NULL. After cw_watch_tree_look. */
const struct cw_proc *cw_watch_tree_find(const struct cw_watch *watch, uint64_t pid_ns, pid_t inner_pid,
                                         uint64_t start_ticks);

/* Calls `each` for one process of the run in every mount namespace, and below every root, but our own. */
void cw_watch_tree_mounts(struct cw_watch *watch, void (*each)(struct cw_watch *watch, pid_t pid));

/* --- find.c: ledgers --- */

struct cw_watch_names *cw_watch_names_new(void);
void cw_watch_names_free(struct cw_watch_names *names);

/* Ledgers that were not there at the last look: in our own namespace's directories, then (after the tree was read) in those of
 * others. */
void cw_watch_find(struct cw_watch *watch);
void cw_watch_find_elsewhere(struct cw_watch *watch);

/* --- look.c: the kernel's word on their sockets --- */

/* The socket that the last look has found at this fd, or NULL. */
struct cw_watch_sock *cw_watch_sock_at(const struct cw_watched *watched, int fd);

struct cw_watch_eyes *cw_watch_eyes_new(void);
void cw_watch_eyes_free(struct cw_watch_eyes *eyes);
void cw_watch_look_at_all(struct cw_watch *watch);

/* --- end.c --- */

/* Enters the last look into what was loaded from the process's ledger. */
void cw_watch_enter(struct cw_load *load, const struct cw_watched *watched);

/* The process has ended: takes in its ledger. */
void cw_watch_take_in(struct cw_watch *watch, struct cw_watched *watched);

/* The watcher of a run ends before the process: its recorder is told, by a flag in its ledger. */
void cw_watch_leave(const struct cw_watched *watched);

/* Keeps a ledger of before an exec for its stacks. Takes over *load. */
void cw_watch_keep_image(struct cw_watched *watched, struct cw_load *load);

/* What is known of sockets that it was started with, from its earlier images and its parent. load has room to spare. */
void cw_watch_adopt(const struct cw_watch *watch, const struct cw_watched *watched, struct cw_load *load);

/* --- live.c --- */

struct cw_watch_live *cw_watch_live_new(void);
void cw_watch_live_free(struct cw_watch_live *live);

/* A socket that was counted has been closed since: noted for the next lines. */
void cw_watch_live_closed(struct cw_watch *watch, const struct cw_watch_sock *sock, uint64_t now_ns);

/* Lines not written since the last call of this. */
uint64_t cw_watch_live_dropped(struct cw_watch_live *live);

#endif
