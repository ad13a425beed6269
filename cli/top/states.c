#include "cli/top/states.h"

#include "cli/process/proc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int by_inode(const void *a, const void *b)
{
    const struct cw_sock *x = a, *y = b;
    return (x->inode > y->inode) - (x->inode < y->inode);
}

static void count_one(struct cw_top_states *states, uint8_t state)
{
    if (state == TCP_ESTABLISHED)
        states->established++;
    else if (state == TCP_CLOSE_WAIT)
        states->close_wait++;
    else if (state != TCP_LISTEN)
        states->other++;
}

static void count_process(struct cw_top_counter *counter, pid_t pid, struct cw_top_states *states,
                          struct cw_top_states *all)
{
    struct cw_proc_socket *sockets = NULL;
    size_t n = 0;

    if (cw_proc_sockets(pid, &sockets, &n) < 0)
        return;
    states->known = all->known = true;
    for (size_t i = 0; i < n; i++) {
        const struct cw_sock wanted = {.inode = sockets[i].inode}, *found = NULL;
        if (wanted.inode && (!i || sockets[i - 1].inode != wanted.inode) && counter->dump.count)
            found = bsearch(&wanted, counter->dump.socks, counter->dump.count, sizeof wanted, by_inode);
        if (!found)
            continue;
        bool *counted = &counter->counted[found - counter->dump.socks];
        count_one(states, found->state);
        if (!*counted)
            count_one(all, found->state);
        *counted = true;
    }
    free(sockets);
}

/* All sockets of its network namespace, sorted by inode, none counted yet. */
static bool dump_namespace(struct cw_top_counter *counter, pid_t pid)
{
    struct cw_sock_dump *dump = &counter->dump;

    dump->count = 0;
    if (cw_sock_dump(dump, pid, CW_SOCK_STATES_ANY) < 0)
        return false;
    if (dump->count > counter->counted_room) {
        bool *more = realloc(counter->counted, dump->count * sizeof *more);
        if (!more)
            return false;
        counter->counted = more;
        counter->counted_room = dump->count;
    }
    if (dump->count) {
        memset(counter->counted, 0, dump->count * sizeof *counter->counted);
        qsort(dump->socks, dump->count, sizeof *dump->socks, by_inode);
    }
    return true;
}

/* The inode of its network namespace, 0 if that may not be known. */
static uint64_t namespace_of(pid_t pid)
{
    char path[64];
    struct stat is;

    snprintf(path, sizeof path, "/proc/%d/ns/net", (int)pid);
    return stat(path, &is) == 0 ? is.st_ino : 0;
}

void cw_top_count(struct cw_top_counter *counter, const pid_t *pids, size_t n, struct cw_top_states *ret,
                  struct cw_top_states *ret_all)
{
    uint64_t *namespaces = calloc(n + 1, sizeof *namespaces);

    *ret_all = (struct cw_top_states){0};
    for (size_t i = 0; i < n; i++) {
        ret[i] = (struct cw_top_states){0};
        if (namespaces)
            namespaces[i] = namespace_of(pids[i]);
    }
    for (size_t i = 0; namespaces && i < n; i++) {
        if (!namespaces[i] || !dump_namespace(counter, pids[i]))
            continue;
        uint64_t here = namespaces[i];
        for (size_t k = i; k < n; k++)
            if (namespaces[k] == here) {
                count_process(counter, pids[k], &ret[k], ret_all);
                namespaces[k] = 0; /* done */
            }
    }
    free(namespaces);
}

void cw_top_counter_free(struct cw_top_counter *counter)
{
    cw_sock_dump_free(&counter->dump);
    free(counter->counted);
    *counter = (struct cw_top_counter){0};
}
