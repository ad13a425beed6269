#include "cli/process/holders.h"

#include "cli/clock.h"
#include "cli/process/proc.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct search {
    struct cw_holders *holders;
    const struct cw_holders_wanted *wanted; /* sorted */
    uint32_t room, seen_room;
    uint64_t end_ms;
};

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int by_inode_pid_fd(const void *a, const void *b)
{
    const struct cw_holder *x = a, *y = b;

    if (x->inode != y->inode)
        return x->inode < y->inode ? -1 : 1;
    if (x->pid != y->pid)
        return x->pid < y->pid ? -1 : 1;
    return (x->fd > y->fd) - (x->fd < y->fd);
}

static void want(struct cw_holders_wanted *wanted, uint32_t inode)
{
    if (wanted->count == wanted->room) {
        size_t room = wanted->room ? 2 * wanted->room : 256;
        uint32_t *more = realloc(wanted->inodes, room * sizeof *more);
        if (!more) {
            wanted->no_memory = true;
            return;
        }
        wanted->inodes = more;
        wanted->room = room;
    }
    wanted->inodes[wanted->count++] = inode;
}

void cw_holders_want(struct cw_holders_wanted *wanted, const struct cw_view *view, const uint32_t *more, size_t n_more)
{
    uint32_t used = view->header->sections[CW_SECTION_CONNS].used;

    for (uint32_t i = 1; i < used && i < view->n_conns; i++) {
        const struct cw_conn *conn = &view->conns[i];
        if ((conn->flags & CW_CONN_IN_USE) && !(conn->flags & (CW_CONN_LATE | CW_CONN_LISTENER)) && conn->inode &&
            (conn->k_state == TCP_CLOSE_WAIT || conn->k_state == TCP_CLOSE))
            want(wanted, conn->inode);
    }
    for (size_t i = 0; i < n_more; i++)
        want(wanted, more[i]);
}

static int add(struct search *search, const struct cw_holder *holder)
{
    struct cw_holders *holders = search->holders;

    if (holders->count == search->room) {
        search->room = search->room ? 2 * search->room : 256;
        struct cw_holder *more = realloc(holders->list, search->room * sizeof *more);
        if (!more)
            return -ENOMEM;
        holders->list = more;
    }
    holders->list[holders->count++] = *holder;
    return 0;
}

/* Whether it is worth saying that we may not look: kernel threads and ended processes hold no socket of a program. */
static bool may_hold_sockets(pid_t pid)
{
    const unsigned kernel_thread = 0x00200000; /* PF_KTHREAD of the kernel's include/linux/sched.h */
    char path[64], text[1024], state;
    const char *rest;
    unsigned flags;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (cw_proc_read_small(path, text, sizeof text) <= 0)
        return false;
    rest = strrchr(text, ')');
    if (!rest || sscanf(rest + 1, " %c %*s %*s %*s %*s %*s %u", &state, &flags) != 2)
        return true;
    return state != 'Z' && state != 'X' && !(flags & kernel_thread);
}

/* Its fds; -EACCES, -EPERM if we may not look. */
static int look_at(struct search *search, pid_t pid)
{
    struct cw_holder holder = {.pid = pid};
    const struct dirent *entry;
    char path[64], target[64];
    int error = 0;
    unsigned n = 0;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    if (!dir)
        return -errno;
    while (!error && (errno = 0, entry = readdir(dir))) {
        unsigned long inode;
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        if (++n % 256 == 0 && cw_clock_ms(CLOCK_MONOTONIC) > search->end_ms)
            error = -ETIMEDOUT;
        ssize_t got = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
        if (got < 0 && (errno == EACCES || errno == EPERM))
            error = -errno;
        if (got <= 0)
            continue;
        target[got] = 0;
        if (sscanf(target, "socket:[%lu]", &inode) != 1)
            continue;
        holder.inode = (uint32_t)inode;
        if (!bsearch(&holder.inode, search->wanted->inodes, search->wanted->count, sizeof *search->wanted->inodes,
                     by_number))
            continue;
        if (!holder.name[0])
            cw_proc_thread_name(pid, pid, holder.name);
        holder.fd = atoi(entry->d_name);
        error = add(search, &holder);
    }
    if (!error && errno)
        error = -errno;
    closedir(dir);
    return error;
}

static void add_refusal(struct cw_holders *holders, pid_t pid, int error)
{
    if (holders->refused++)
        return;
    holders->refused_pid = pid;
    holders->refused_errno = error;
}

static int add_seen(struct search *search, pid_t pid)
{
    struct cw_holders *holders = search->holders;

    if (holders->n_seen == search->seen_room) {
        search->seen_room = search->seen_room ? 2 * search->seen_room : 256;
        pid_t *more = realloc(holders->seen, search->seen_room * sizeof *more);
        if (!more)
            return -ENOMEM;
        holders->seen = more;
    }
    holders->seen[holders->n_seen++] = pid;
    return 0;
}

static int look_at_all(struct search *search)
{
    const struct dirent *entry;
    DIR *dir = opendir("/proc");
    int error = 0;

    if (!dir)
        return -errno;
    while (!error && (entry = readdir(dir))) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        pid_t pid = (pid_t)atoi(entry->d_name);
        int result = look_at(search, pid);
        if (result == 0)
            error = add_seen(search, pid);
        else if ((result == -EACCES || result == -EPERM) && may_hold_sockets(pid))
            add_refusal(search->holders, pid, -result);
        else if (result == -ENOMEM || result == -ETIMEDOUT || result == -EMFILE || result == -ENFILE)
            error = result;
        if (cw_clock_ms(CLOCK_MONOTONIC) > search->end_ms)
            error = -ETIMEDOUT;
    }
    closedir(dir);
    return error;
}

static int by_pid(const void *a, const void *b)
{
    pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;
    return (x > y) - (x < y);
}

void cw_holders_find(struct cw_holders *ret, struct cw_holders_wanted *wanted)
{
    struct search search = {.holders = ret, .wanted = wanted, .end_ms = cw_clock_ms(CLOCK_MONOTONIC) + CW_HOLDERS_MS};

    *ret = (struct cw_holders){0};
    if (wanted->no_memory) {
        ret->error = ENOMEM;
    } else if (wanted->count) {
        qsort(wanted->inodes, wanted->count, sizeof *wanted->inodes, by_number);
        ret->error = -look_at_all(&search);
    }
    if (ret->count)
        qsort(ret->list, ret->count, sizeof *ret->list, by_inode_pid_fd);
    if (ret->n_seen)
        qsort(ret->seen, ret->n_seen, sizeof *ret->seen, by_pid);
    free(wanted->inodes);
    *wanted = (struct cw_holders_wanted){0};
}

bool cw_holders_saw(const struct cw_holders *holders, pid_t pid)
{
    return holders->n_seen && bsearch(&pid, holders->seen, holders->n_seen, sizeof *holders->seen, by_pid);
}

void cw_holders_enter(const struct cw_holders *holders, struct cw_report_input *in)
{
    in->holders = holders->list;
    in->n_holders = holders->count;
    in->holders_known = holders->error == 0;
    in->holders_refused = holders->refused;
    in->holders_errno = holders->error;
    in->holders_refused_pid = holders->refused_pid;
    in->holders_refused_errno = holders->refused_errno;
}

void cw_holders_free(struct cw_holders *holders)
{
    free(holders->list);
    free(holders->seen);
    *holders = (struct cw_holders){0};
}
