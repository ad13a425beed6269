/* The kernel's word on the sockets of all processes at once: one dump per network namespace and look.
 *
 * Which process has a socket open is known from the ledgers, by the addresses in their records, and made sure of by one
 * readlink per socket, again only when the ledger says something else of the fd, and every some seconds. /proc/PID/fd as a whole
 * is read only for a socket that no ledger leads to. */
#include "cli/watch/eyes.h"

#include "cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    AGAIN_ROUNDS = 8, /* a socket's fd is asked for again every so many looks */
    PORTS_MAX = 64,
    QUEUED_MAX = 4096, /* connections waiting at one process's listeners that are kept */
    NET_ROUNDS = 16
};

struct cw_watch_eyes *cw_watch_eyes_new(void)
{
    return calloc(1, sizeof(struct cw_watch_eyes));
}

void cw_watch_eyes_free(struct cw_watch_eyes *eyes)
{
    if (!eyes)
        return;
    cw_sock_dump_free(&eyes->dump);
    free(eyes->by_peer.bytes);
    free(eyes->by_inode.bytes);
    free(eyes->owners.bytes);
    free(eyes->foreign);
    free(eyes->slots.bytes);
    free(eyes->conns.bytes);
    free(eyes->fds.bytes);
    free(eyes->next.bytes);
    free(eyes);
}

/* --- its sockets --- */

static uint64_t slot_of(const struct cw_watch_eyes *eyes, int fd)
{
    const uint64_t *slots = eyes->slots.bytes;
    return fd >= 0 && (size_t)fd < eyes->n_slots ? slots[fd] : 0;
}

struct cw_watch_sock *cw_watch_sock_at(const struct cw_watched *watched, int fd)
{
    size_t low = 0, high = watched->n_socks;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (watched->socks[middle].fd < fd)
            low = middle + 1;
        else
            high = middle;
    }
    return low < watched->n_socks && watched->socks[low].fd == fd ? &watched->socks[low] : NULL;
}

/* The inode of the socket behind an fd; 0: it is none any more; -1: we may not know. */
static int64_t ask_inode(pid_t pid, int fd)
{
    char path[64], target[64];
    unsigned inode;
    ssize_t n;

    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, fd);
    n = readlink(path, target, sizeof target - 1);
    if (n <= 0)
        return errno == EACCES || errno == EPERM ? -1 : 0;
    target[n] = 0;
    return sscanf(target, "socket:[%u]", &inode) == 1 ? (int64_t)inode : 0;
}

struct cw_watch_sock *cw_eyes_add(struct cw_watch_eyes *eyes, const struct cw_sock *sock, int fd)
{
    if (!cw_eyes_reserve(&eyes->next, (eyes->n_next + 1) * sizeof(struct cw_watch_sock)))
        return NULL;
    struct cw_watch_sock *next = (struct cw_watch_sock *)eyes->next.bytes + eyes->n_next++;
    *next = (struct cw_watch_sock){.sock = *sock, .slot = slot_of(eyes, fd), .since_ns = eyes->dump_ns, .fd = fd};
    return next;
}

void cw_eyes_enter(struct cw_watch_eyes *eyes, const struct cw_watch_sock *before, long at, int fd, bool by_proc)
{
    const struct cw_sock *sock = &eyes->dump.socks[at];
    struct cw_watch_sock *next = cw_eyes_add(eyes, sock, fd);

    if (!next)
        return;
    cw_eyes_owners(eyes)[at] = eyes->turn;
    next->by_proc = by_proc;
    if (before && before->sock.inode == sock->inode && before->sock.state == sock->state) {
        next->since_ns = before->since_ns;
        next->told = before->told;
    }
}

static bool is_due(const struct cw_watch *watch, int fd)
{
    return (unsigned)fd % AGAIN_ROUNDS == watch->round % AGAIN_ROUNDS;
}

/* What its records lead to. */
static void enter_recorded(struct cw_watch *watch, struct cw_watched *watched)
{
    struct cw_watch_eyes *eyes = watch->eyes;
    const struct cw_conn *conns = eyes->conns.bytes;
    const uint32_t *fds = eyes->fds.bytes;

    for (size_t i = 1; i < eyes->n_conns; i++) {
        const struct cw_conn *conn = &conns[i];
        if (!fds[i] || (conn->flags & (CW_CONN_IN_USE | CW_CONN_LATE)) != CW_CONN_IN_USE)
            continue;
        long match = cw_eyes_match(eyes, conn);
        if (match < 0)
            continue;
        int fd = (int)fds[i] - 1;
        const struct cw_watch_sock *before = cw_watch_sock_at(watched, fd);
        bool same = before && before->slot == slot_of(eyes, fd) && !is_due(watch, fd);
        int64_t inode = same ? before->sock.inode : ask_inode(watched->pid, fd);
        /* Of a process that may not be looked into (dumpable 0) its own record is all there is. */
        long at = inode < 0 ? match : cw_eyes_find(eyes, (uint32_t)inode);
        if (at >= 0)
            cw_eyes_enter(eyes, before, at, fd, false);
    }
}

/* What /proc/PID/fd had shown before, and no record leads to. */
static void enter_unrecorded(struct cw_watch *watch, struct cw_watched *watched)
{
    struct cw_watch_eyes *eyes = watch->eyes;

    for (size_t i = 0; i < watched->n_socks; i++) {
        const struct cw_watch_sock *before = &watched->socks[i];
        long at = before->by_proc ? cw_eyes_find(eyes, before->sock.inode) : -1;
        bool ask = before->slot != slot_of(eyes, before->fd) || is_due(watch, before->fd);
        if (at < 0 || (ask && ask_inode(watched->pid, before->fd) != before->sock.inode) ||
            cw_eyes_owners(eyes)[at] == eyes->turn)
            continue;
        cw_eyes_enter(eyes, before, at, before->fd, true);
    }
}

/* The ports of its listeners, but for those that came over fork from a parent that lives: it reports who waits there. */
static unsigned listening_ports(const struct cw_watch_eyes *eyes, const struct cw_watched *watched,
                                uint16_t ports[PORTS_MAX])
{
    const struct cw_conn *conns = eyes->conns.bytes;
    const struct cw_watch_sock *next = eyes->next.bytes;
    unsigned n = 0;

    for (size_t i = 0; i < eyes->n_next && n < PORTS_MAX; i++) {
        uint32_t index = CW_SLOT_INDEX(next[i].slot);
        bool inherited = index < eyes->n_conns && conns[index].origin == CW_ORIGIN_FORKED;
        if (next[i].sock.state == TCP_LISTEN && !(inherited && watched->parent_lives))
            ports[n++] = next[i].sock.local_port;
    }
    return n;
}

static void enter_queued(struct cw_watch_eyes *eyes, const struct cw_watched *watched)
{
    uint16_t ports[PORTS_MAX];
    unsigned n_ports = listening_ports(eyes, watched, ports), n = 0;

    for (size_t i = 0; i < eyes->dump.count && n < QUEUED_MAX && n_ports; i++) {
        const struct cw_sock *sock = &eyes->dump.socks[i];
        bool ours = false;
        for (unsigned k = 0; cw_eyes_is_queued(sock) && k < n_ports && !ours; k++)
            ours = ports[k] == sock->local_port;
        if (ours && cw_eyes_add(eyes, sock, -1))
            n++;
    }
}

static int by_fd(const void *a, const void *b)
{
    const struct cw_watch_sock *x = a, *y = b;
    return (x->fd > y->fd) - (x->fd < y->fd);
}

/* As cw_leak_judge will, with what is known here: the peer's last segment, the last data sent, the first look. */
static bool has_leaked(const struct cw_watch_sock *sock, uint64_t now_ns, uint32_t grace_ms)
{
    uint64_t seen_ms = (now_ns - sock->since_ns) / 1000000;
    uint64_t fin_ms = sock->sock.last_ack_recv_ms > seen_ms ? sock->sock.last_ack_recv_ms : seen_ms;
    uint64_t sent_ms = sock->sock.has_info ? sock->sock.last_data_sent_ms : fin_ms;

    return sock->sock.state == TCP_CLOSE_WAIT && fin_ms >= grace_ms && sent_ms >= grace_ms;
}

static void count_fresh(struct cw_watched *watched)
{
    uint32_t queued = 0;

    watched->fresh = 0;
    for (size_t i = 0; i < watched->n_socks; i++) {
        const struct cw_watch_sock *sock = &watched->socks[i];
        if (!has_leaked(sock, watched->look_ns, watched->grace_ms))
            continue;
        queued += sock->fd < 0;
        watched->fresh += sock->fd >= 0 && !sock->told;
    }
    if (queued > watched->queued_told)
        watched->fresh += queued - watched->queued_told;
    else
        watched->queued_told = queued;
}

void cw_eyes_settle(struct cw_watch_eyes *eyes, struct cw_watched *watched)
{
    if (eyes->n_next > watched->socks_room) {
        struct cw_watch_sock *more = realloc(watched->socks, 2 * eyes->n_next * sizeof *more);
        if (!more)
            return;
        watched->socks = more;
        watched->socks_room = 2 * eyes->n_next;
    }
    if (eyes->n_next) {
        memcpy(watched->socks, eyes->next.bytes, eyes->n_next * sizeof *watched->socks);
        qsort(watched->socks, eyes->n_next, sizeof *watched->socks, by_fd);
    }
    watched->n_socks = eyes->n_next;
    watched->look_ns = eyes->dump_ns;
    count_fresh(watched);
}

/* Whether it is being killed: it has no file open any more, and its sockets are closed one after the other. */
static bool is_ending(pid_t pid)
{
    const unsigned long exiting = 4; /* PF_EXITING, include/linux/sched.h: in field 9 */
    char path[64], text[2048];
    unsigned long flags = 0;
    const struct dirent *entry;
    bool any = false;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (cw_proc_read_small(path, text, sizeof text) < 0)
        return true;
    const char *rest = strrchr(text, ')');
    if (rest && sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %lu", &flags) == 1 && (flags & exiting))
        return true;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    if (!dir)
        return errno != EACCES && errno != EPERM;
    while (!any && (entry = readdir(dir)))
        any = entry->d_name[0] != '.';
    closedir(dir);
    return !any;
}

/* Whether a socket of the last look is missing though no hook has seen it closed. */
static bool has_lost(const struct cw_watch_eyes *eyes, const struct cw_watched *watched)
{
    for (size_t i = 0; i < watched->n_socks; i++) {
        const struct cw_watch_sock *before = &watched->socks[i];
        long at = cw_eyes_find(eyes, before->sock.inode);
        if (before->fd >= 0 && before->slot == slot_of(eyes, before->fd) &&
            (at < 0 || cw_eyes_owners(eyes)[at] != eyes->turn))
            return true;
    }
    return false;
}

void cw_eyes_begin(struct cw_watch_eyes *eyes)
{
    eyes->n_next = 0;
    eyes->turn++;
}

/* Those that lines have spoken of and that a hook has seen closed since. */
static void note_closed(struct cw_watch *watch, const struct cw_watched *watched)
{
    const struct cw_watch_eyes *eyes = watch->eyes;

    for (size_t i = 0; i < watched->n_socks; i++) {
        const struct cw_watch_sock *before = &watched->socks[i];
        long at = before->told ? cw_eyes_find(eyes, before->sock.inode) : 0;
        if (before->told && (at < 0 || cw_eyes_owners(eyes)[at] != eyes->turn) &&
            before->slot != slot_of(eyes, before->fd))
            cw_watch_live_closed(watch, before, eyes->dump_ns);
    }
}

static void look_at(struct cw_watch *watch, struct cw_watched *watched)
{
    struct cw_watch_eyes *eyes = watch->eyes;

    cw_eyes_begin(eyes);
    if (eyes->any_close_wait || watched->n_socks) {
        cw_eyes_read(watch, watched);
        if (!cw_eyes_invert(eyes))
            return;
        enter_recorded(watch, watched);
        enter_unrecorded(watch, watched);
        if (eyes->any_queued)
            enter_queued(eyes, watched);
        /* Then the look before counts: what it had open when it was killed. */
        if (has_lost(eyes, watched) && is_ending(watched->pid))
            return;
        note_closed(watch, watched);
    }
    cw_eyes_settle(eyes, watched);
}

/* --- all of them --- */

static uint64_t read_net_ns(pid_t pid)
{
    char path[64];
    struct stat status;

    snprintf(path, sizeof path, "/proc/%d/ns/net", (int)pid);
    return stat(path, &status) == 0 ? (uint64_t)status.st_ino : 0;
}

static void look_at_space(struct cw_watch *watch, pid_t pid, uint64_t net_ns)
{
    struct cw_watch_eyes *eyes = watch->eyes;
    int error;

    eyes->dump.count = 0;
    eyes->dump_ns = cw_watch_now_ns();
    error = cw_sock_dump(&eyes->dump, pid, CW_SOCK_STATES_REPORTED);
    if (error) {
        if (!eyes->said_error && error != -ESRCH && error != -ENOENT)
            cw_say("the kernel does not list the sockets of pid %d (%s): processes are reported as they have last seen "
                   "their sockets themselves; run as root, in its network namespace",
                   (int)pid, strerror(-error));
        eyes->said_error |= error != -ESRCH && error != -ENOENT;
        return;
    }
    if (!cw_eyes_index(eyes))
        return;
    for (size_t i = 0; i < watch->n_list; i++)
        if (!watch->list[i]->ended && watch->list[i]->net_ns == net_ns && watch->list[i]->pid)
            look_at(watch, watch->list[i]);
    cw_eyes_search(watch, net_ns);
}

void cw_watch_look_at_all(struct cw_watch *watch)
{
    for (size_t i = 0; i < watch->n_list; i++) {
        struct cw_watched *watched = watch->list[i];
        if (!watched->ended && watched->pid && (!watched->net_ns || (watch->round + i) % NET_ROUNDS == 0))
            watched->net_ns = read_net_ns(watched->pid);
    }
    for (size_t i = 0; i < watch->n_list; i++) {
        const struct cw_watched *watched = watch->list[i];
        bool first = !watched->ended && watched->pid;
        for (size_t k = 0; k < i && first; k++)
            first = watch->list[k]->ended || !watch->list[k]->pid || watch->list[k]->net_ns != watched->net_ns;
        if (first)
            look_at_space(watch, watched->pid, watched->net_ns);
    }
}
