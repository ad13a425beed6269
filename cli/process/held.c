#include "cli/process/held.h"

#include "cli/ledger/find.h"
#include "cli/process/kernel.h"

#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- which sockets --- */

static bool listens_on(const struct cw_view *view, uint16_t port)
{
    const uint32_t of = CW_CONN_IN_USE | CW_CONN_LISTENER;

    for (uint32_t i = 1; i < view->header->sections[CW_SECTION_CONNS].used && i < view->n_conns; i++)
        if ((view->conns[i].flags & (of | CW_CONN_LATE)) == of && view->conns[i].local_port == port)
            return true;
    return false;
}

void cw_held_find(struct cw_held *ret, const struct cw_load *load, const struct cw_proc *proc)
{
    struct cw_sock *socks = NULL;
    size_t count = 0;
    uint16_t port = 0;
    bool ours = false;

    *ret = (struct cw_held){.load = load, .proc = proc};
    if (!proc || cw_kernel_list_close_wait(proc->pid, &socks, &count) < 0)
        return;
    ret->inodes = malloc((count + 1) * sizeof *ret->inodes);
    ret->known = ret->inodes != NULL;
    /* Who never had a connection has closed none: the master of a server whose workers accept. */
    if (!load->view.header->counters[CW_COUNTER_connections])
        count = 0;
    for (size_t i = 0; ret->inodes && i < count; i++) {
        if (socks[i].state != TCP_CLOSE_WAIT || !socks[i].inode || !socks[i].local_port)
            continue;
        if (socks[i].local_port != port) {
            port = socks[i].local_port;
            ours = listens_on(&load->view, port);
        }
        if (ours)
            ret->inodes[ret->count++] = socks[i].inode;
    }
    free(socks);
}

void cw_held_free(struct cw_held *held)
{
    free(held->inodes);
    held->inodes = NULL;
    held->count = 0;
}

/* --- who --- */

struct child {
    struct cw_proc proc;
    bool descends;    /* from the process in question */
    uint32_t sockets; /* that it holds */
    const struct cw_holder *first;
};

struct family {
    const struct cw_held *held;
    const struct cw_holders *holders;
    struct child *children; /* whoever holds one */
    size_t count, room;
    bool *opened_there; /* by holder: the process that holds it has opened it itself */
};

static bool is_wanted(const struct cw_held *held, uint32_t inode)
{
    /* cw_held_enter has sorted them. */
    size_t low = 0, high = held->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (held->inodes[middle] < inode)
            low = middle + 1;
        else
            high = middle;
    }
    return low < held->count && held->inodes[low] == inode;
}

/* Whether a fork on record made this process, by its number as the parent sees it. */
static bool on_record(const struct cw_view *view, pid_t inner_pid)
{
    for (uint32_t i = 0; i < view->n_forks; i++)
        if (view->forks[i].seq && view->forks[i].pid == inner_pid)
            return true;
    return false;
}

/* An own child, or a child's child; one whose parent has ended is known by the record of its fork alone. */
static bool descends(const struct cw_held *held, const struct cw_proc *from)
{
    enum { GENERATIONS_MAX = 64 };
    struct cw_proc proc = *from;

    for (int i = 0; i < GENERATIONS_MAX; i++) {
        bool same_ns = proc.pid_ns == held->proc->pid_ns;
        if (proc.ppid == held->proc->pid || (same_ns && on_record(&held->load->view, proc.inner_pid)))
            return true;
        if (proc.ppid <= 1 || cw_proc_read(&proc, proc.ppid) < 0)
            return false;
    }
    return false;
}

static struct child *child_of(struct family *family, pid_t pid)
{
    for (size_t i = family->count; i-- > 0;)
        if (family->children[i].proc.pid == pid)
            return &family->children[i];
    if (family->count == family->room) {
        size_t room = family->room ? 2 * family->room : 16;
        struct child *more = realloc(family->children, room * sizeof *more);
        if (!more)
            return NULL;
        family->children = more;
        family->room = room;
    }
    struct child *child = &family->children[family->count++];
    *child = (struct child){.proc = {.pid = pid}};
    if (cw_proc_read(&child->proc, pid) == 0)
        child->descends = descends(family->held, &child->proc);
    return child;
}

/* Whether the ledger says that the process did not open the socket at this fd, but got it from another. */
static bool was_given(const struct cw_view *view, const struct cw_holder *holder)
{
    const struct cw_conn *conn = cw_slot_conn(view, holder->fd);

    return conn && (conn->flags & CW_CONN_IN_USE) && (!conn->inode || conn->inode == holder->inode) &&
           (conn->origin == CW_ORIGIN_FORKED || conn->origin == CW_ORIGIN_INHERITED ||
            conn->origin == CW_ORIGIN_RECEIVED);
}

/* A child without a ledger has not touched a socket. */
static bool read_ledger(void *ctx, const struct cw_found *found)
{
    struct family *family = ctx;
    const struct child *child = NULL;
    struct cw_load load;
    char why[256];

    for (size_t i = 0; i < family->count && !child; i++) {
        const struct cw_proc *proc = &family->children[i].proc;
        if (family->children[i].descends && proc->inner_pid == found->pid && proc->start_ticks == found->start_ticks &&
            (!proc->pid_ns || proc->pid_ns == found->pid_ns))
            child = &family->children[i];
    }
    if (!child || cw_load_ledger(&load, found->fd, false, why, sizeof why) < 0)
        return true;
    for (uint32_t i = 0; load.view.header->ended != CW_ENDED_EXEC && i < family->holders->count; i++) {
        const struct cw_holder *holder = &family->holders->list[i];
        if (holder->pid == child->proc.pid && !was_given(&load.view, holder))
            family->opened_there[i] = true;
    }
    cw_load_free(&load);
    return true;
}

static void read_ledgers(struct family *family, const char *ledger_dir)
{
    const struct cw_proc *proc = family->held->proc;
    char root[32];

    cw_find_ledgers("", ledger_dir, read_ledger, family);
    if (*ledger_dir || proc->pid_ns == cw_proc_own_pid_ns())
        return;
    snprintf(root, sizeof root, "/proc/%d/root", (int)proc->pid);
    cw_find_ledgers(root, "", read_ledger, family);
}

/* --- the count --- */

/* All holders of one socket, n of them. */
static bool count_socket(struct family *family, uint32_t first, uint32_t n)
{
    const struct cw_holder *list = family->holders->list;
    bool held = false;

    for (uint32_t i = first; i < first + n; i++)
        if (list[i].pid == family->held->proc->pid)
            return false;
    for (uint32_t i = first; i < first + n; i++) {
        struct child *child = child_of(family, list[i].pid);
        if (!child || !child->descends || family->opened_there[i])
            continue;
        held = true;
        if (i > first && list[i - 1].pid == list[i].pid) /* another fd of the same */
            continue;
        child->sockets++;
        child->first = child->first ? child->first : &list[i];
    }
    return held;
}

static uint32_t count_all(struct family *family)
{
    const struct cw_holders *holders = family->holders;
    uint32_t sockets = 0;

    for (uint32_t first = 0, end; first < holders->count; first = end) {
        for (end = first + 1; end < holders->count && holders->list[end].inode == holders->list[first].inode; end++)
            ;
        if (is_wanted(family->held, holders->list[first].inode))
            sockets += count_socket(family, first, end - first);
    }
    return sockets;
}

static void enter(const struct family *family, uint32_t sockets, struct cw_report_input *in)
{
    const struct child *most = NULL;

    in->held_known = true;
    in->held_sockets = sockets;
    for (size_t i = 0; i < family->count; i++) {
        const struct child *child = &family->children[i];
        in->held_pids += child->sockets > 0;
        if (child->sockets > (most ? most->sockets : 0))
            most = child;
    }
    if (!most)
        return;
    in->held_pid = most->first->pid;
    in->held_fd = most->first->fd;
    in->held_by_descendant = most->proc.ppid != family->held->proc->pid;
    memcpy(in->held_name, most->first->name, sizeof in->held_name);
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

void cw_held_enter(const struct cw_held *held, const struct cw_holders *holders, const char *ledger_dir,
                   struct cw_report_input *in)
{
    struct family family = {.held = held, .holders = holders};

    if (!held->known)
        return;
    if (!held->count) {
        in->held_known = true;
        return;
    }
    /* Without the process's own fds its own leaks could be anybody's. */
    if (holders->error || !cw_holders_saw(holders, held->proc->pid))
        return;
    qsort(held->inodes, held->count, sizeof *held->inodes, by_number);
    family.opened_there = calloc((size_t)holders->count + 1, sizeof *family.opened_there);
    if (!family.opened_there)
        return;
    /* Once to find out who they are, and once more without what they say is theirs. */
    if (count_all(&family)) {
        read_ledgers(&family, ledger_dir);
        for (size_t i = 0; i < family.count; i++) {
            family.children[i].sockets = 0;
            family.children[i].first = NULL;
        }
    }
    enter(&family, count_all(&family), in);
    free(family.children);
    free(family.opened_there);
}
