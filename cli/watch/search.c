/* Sockets in CLOSE_WAIT that no ledger leads to: whose they are is read from /proc/PID/fd, as seldom as can be. */
#include "cli/watch/eyes.h"

#include "cli/clock.h"

#include <stdlib.h>

enum {
    FOREIGN_ROUNDS =
        30,      /* whether a socket that nobody of ours had belongs to one of ours by now is asked again so late */
    SHARE = 128, /* of the time at most one part in so many is spent on it */
    PAUSE_MAX_MS = 60000
};

static int by_number(const void *a, const void *b)
{
    const struct cw_eyes_foreign *x = a, *y = b;
    return (x->inode > y->inode) - (x->inode < y->inode);
}

static struct cw_eyes_foreign *find_foreign(const struct cw_watch_eyes *eyes, uint32_t inode)
{
    const struct cw_eyes_foreign wanted = {.inode = inode};

    return eyes->n_foreign ? bsearch(&wanted, eyes->foreign, eyes->n_foreign, sizeof wanted, by_number) : NULL;
}

static bool is_open_question(const struct cw_watch *watch, size_t i)
{
    const struct cw_watch_eyes *eyes = watch->eyes;
    const struct cw_sock *sock = &eyes->dump.socks[i];

    if (sock->state != TCP_CLOSE_WAIT || !sock->inode || cw_eyes_owners(eyes)[i])
        return false;
    const struct cw_eyes_foreign *foreign = find_foreign(eyes, sock->inode);
    return !foreign || watch->round - foreign->round >= FOREIGN_ROUNDS;
}

/* Those that nobody of ours has are not asked for again so soon. Other namespaces' stay until their time is over. */
static void note_foreign(struct cw_watch *watch)
{
    struct cw_watch_eyes *eyes = watch->eyes;
    struct cw_eyes_foreign *next = calloc(eyes->dump.count + eyes->n_foreign + 1, sizeof *next);
    size_t n = 0;

    if (!next)
        return;
    for (size_t i = 0; i < eyes->n_foreign; i++)
        if (watch->round - eyes->foreign[i].round < FOREIGN_ROUNDS && cw_eyes_find(eyes, eyes->foreign[i].inode) < 0)
            next[n++] = eyes->foreign[i];
    for (size_t i = 0; i < eyes->dump.count; i++) {
        const struct cw_sock *sock = &eyes->dump.socks[i];
        const struct cw_eyes_foreign *before = find_foreign(eyes, sock->inode);
        if (sock->state == TCP_CLOSE_WAIT && sock->inode && !cw_eyes_owners(eyes)[i])
            next[n++] =
                (struct cw_eyes_foreign){sock->inode, is_open_question(watch, i) ? watch->round : before->round};
    }
    qsort(next, n, sizeof *next, by_number);
    free(eyes->foreign);
    eyes->foreign = next;
    eyes->n_foreign = n;
}

/* All sockets that the process has open against all questions. */
static void search_process(struct cw_watch *watch, struct cw_watched *watched)
{
    struct cw_watch_eyes *eyes = watch->eyes;
    struct cw_proc_socket *sockets = NULL;
    size_t count = 0;

    if (cw_proc_sockets(watched->pid, &sockets, &count) < 0)
        return;
    cw_eyes_read(watch, watched);
    cw_eyes_begin(eyes);
    for (size_t i = 0; i < watched->n_socks; i++) {
        struct cw_watch_sock *next = cw_eyes_add(eyes, &watched->socks[i].sock, watched->socks[i].fd);
        long at = cw_eyes_find(eyes, watched->socks[i].sock.inode);
        if (next)
            *next = watched->socks[i];
        if (at >= 0)
            cw_eyes_owners(eyes)[at] = eyes->turn;
    }
    for (size_t i = 0; i < count; i++) {
        long at = cw_eyes_find(eyes, sockets[i].inode);
        if (at >= 0 && eyes->dump.socks[at].state == TCP_CLOSE_WAIT && cw_eyes_owners(eyes)[at] != eyes->turn)
            cw_eyes_enter(eyes, NULL, at, sockets[i].fd, true);
    }
    free(sockets);
    cw_eyes_settle(eyes, watched);
}

void cw_eyes_search(struct cw_watch *watch, uint64_t net_ns)
{
    struct cw_watch_eyes *eyes = watch->eyes;
    bool any = false;

    for (size_t i = 0; i < eyes->dump.count && !any; i++)
        any = is_open_question(watch, i);
    if (!any || cw_watch_now_ns() < eyes->search_after_ns)
        return;
    uint64_t begin_ns = cw_clock_ns(CLOCK_THREAD_CPUTIME_ID);
    for (size_t i = 0; i < watch->n_list; i++)
        if (!watch->list[i]->ended && watch->list[i]->net_ns == net_ns && watch->list[i]->pid)
            search_process(watch, watch->list[i]);
    note_foreign(watch);
    uint64_t pause_ns = (cw_clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin_ns) * SHARE,
             max_ns = PAUSE_MAX_MS * UINT64_C(1000000);
    eyes->search_after_ns = cw_watch_now_ns() + (pause_ns < max_ns ? pause_ns : max_ns);
}
