#define _GNU_SOURCE /* memmem */
/* The processes that /proc shows: which of them belong to the run. */
#include "cli/watch/parts.h"

#include "core/frames.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of the others, every look reads one in so many anew: a pid may have been given to another process meanwhile. */
enum { AGAIN_ROUNDS = 16 };

/* Where a process's paths lead: its mount namespace and its root. False: we may not know. */
struct place {
    uint64_t mount_ns, root_dev, root_ino;
};

static bool read_place(struct place *ret, pid_t pid)
{
    char path[64];
    struct stat ns, root;

    snprintf(path, sizeof path, "/proc/%d/ns/mnt", (int)pid);
    if (stat(path, &ns) < 0)
        return false;
    snprintf(path, sizeof path, "/proc/%d/root/.", (int)pid);
    if (stat(path, &root) < 0)
        return false;
    *ret = (struct place){ns.st_ino, root.st_dev, root.st_ino};
    return true;
}

static bool is_same(const struct place *a, const struct place *b)
{
    return a->mount_ns == b->mount_ns && a->root_dev == b->root_dev && a->root_ino == b->root_ino;
}

struct seen {
    struct cw_proc proc;
    unsigned round; /* the last look at which /proc had the pid */
    unsigned read;  /* the last look that has read what it says */
    bool member;    /* a descendant of the root, or begun by one; or it shows (says_run, maps_ledger) */
    bool watched;   /* has a ledger of ours */
};

struct cw_watch_tree {
    struct seen *table; /* open addressing by pid; pid 0 is free */
    size_t room, n;
    pid_t root;
    uint64_t root_ticks;
    bool asked_environments; /* since the root has ended */
    struct place own_place;
};

struct cw_watch_tree *cw_watch_tree_new(void)
{
    struct cw_watch_tree *tree = calloc(1, sizeof *tree);

    if (!tree)
        return NULL;
    tree->room = 1024;
    tree->table = calloc(tree->room, sizeof *tree->table);
    read_place(&tree->own_place, getpid());
    if (!tree->table) {
        free(tree);
        return NULL;
    }
    return tree;
}

void cw_watch_tree_free(struct cw_watch_tree *tree)
{
    if (tree)
        free(tree->table);
    free(tree);
}

static size_t place_of(const struct cw_watch_tree *tree, pid_t pid)
{
    size_t at = (size_t)((uint32_t)pid * UINT32_C(2654435761)) & (tree->room - 1);

    while (tree->table[at].proc.pid && tree->table[at].proc.pid != pid)
        at = (at + 1) & (tree->room - 1);
    return at;
}

static struct seen *find(const struct cw_watch_tree *tree, pid_t pid)
{
    struct seen *seen = &tree->table[place_of(tree, pid)];
    return seen->proc.pid ? seen : NULL;
}

/* A table without those that were not there at the last look, twice as large as what is left needs. */
static bool rebuild(struct cw_watch_tree *tree, unsigned oldest_round)
{
    struct cw_watch_tree next = *tree;
    size_t n = 0;

    for (size_t i = 0; i < tree->room; i++)
        n += tree->table[i].proc.pid && tree->table[i].round >= oldest_round;
    for (next.room = 1024; next.room < 4 * (n + 1); next.room *= 2)
        ;
    next.table = calloc(next.room, sizeof *next.table);
    if (!next.table)
        return false;
    for (size_t i = 0; i < tree->room; i++)
        if (tree->table[i].proc.pid && tree->table[i].round >= oldest_round)
            next.table[place_of(&next, tree->table[i].proc.pid)] = tree->table[i];
    next.n = n;
    free(tree->table);
    *tree = next;
    return true;
}

void cw_watch_tree_root(struct cw_watch_tree *tree, pid_t root)
{
    struct cw_proc proc;

    tree->root = root;
    tree->root_ticks = cw_proc_read(&proc, root) == 0 ? proc.start_ticks : 0;
}

/* --- reading --- */

static bool says_run(const struct cw_watch *watch, pid_t pid)
{
    char path[64], wanted[64];
    static char text[131072];
    ssize_t n;

    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    int needed = snprintf(wanted, sizeof wanted, "run=%s", watch->of.run);
    n = cw_proc_read_small(path, text, sizeof text);
    if (n <= 0 || needed <= 0)
        return false;
    return memmem(text, (size_t)n, wanted, (size_t)needed) != NULL;
}

/* Whether it was forked by a process of the run: then it has that one's ledger mapped still, as long as it has none of its own.
 * A server may have written its title over its environment. */
static bool maps_ledger(const struct cw_watch *watch, const struct cw_proc *proc)
{
    char path[64], *line = NULL;
    size_t line_bytes = 0;
    bool found = false;

    if (proc->start_ticks < watch->tree->root_ticks)
        return false;
    snprintf(path, sizeof path, "/proc/%d/maps", (int)proc->pid);
    FILE *maps = fopen(path, "re");
    while (maps && !found && getline(&line, &line_bytes, maps) > 0)
        for (size_t i = 0; i < watch->n_list && !found && strstr(line, ".cwg"); i++)
            found = watch->list[i]->path && strstr(line, cw_basename(watch->list[i]->path));
    if (maps)
        fclose(maps);
    free(line);
    return found;
}

static bool is_root(const struct cw_watch_tree *tree, const struct cw_proc *proc)
{
    return tree->root && proc->pid == tree->root && (!tree->root_ticks || proc->start_ticks == tree->root_ticks);
}

/* One that has lost its parent may have been given to the tool itself (PID 1 of a container, or a subreaper). */
static bool is_member(const struct cw_watch *watch, const struct seen *seen)
{
    const struct cw_watch_tree *tree = watch->tree;
    const struct seen *parent = seen->proc.ppid > 0 ? find(tree, seen->proc.ppid) : NULL;

    if (seen->proc.pid == getpid())
        return false;
    return is_root(tree, &seen->proc) || (parent && parent->member);
}

/* What /proc says of a pid now; another process than before begins anew. */
static void read_again(const struct cw_watch *watch, struct seen *seen, pid_t pid)
{
    uint64_t before = seen->proc.start_ticks;

    seen->read = watch->round;
    if ((before ? cw_proc_again(&seen->proc) : cw_proc_read(&seen->proc, pid)) < 0) {
        seen->proc.zombie = true; /* gone, just now */
        return;
    }
    if (seen->proc.start_ticks != before)
        seen->member = seen->watched = false;
    if (watch->is_run && !seen->member && watch->tree->asked_environments && pid != getpid())
        seen->member = says_run(watch, pid) || maps_ledger(watch, &seen->proc);
}

static void see(struct cw_watch *watch, pid_t pid)
{
    struct cw_watch_tree *tree = watch->tree;
    struct seen *seen = &tree->table[place_of(tree, pid)];

    if (!seen->proc.pid) {
        if (2 * ++tree->n > tree->room) {
            if (!rebuild(tree, watch->round - 1))
                return;
            seen = &tree->table[place_of(tree, pid)];
            tree->n++;
        }
        *seen = (struct seen){.proc = {.pid = pid}};
        read_again(watch, seen, pid);
    } else if (seen->member || seen->watched || seen->round + 1 < watch->round ||
               (unsigned)pid % AGAIN_ROUNDS == watch->round % AGAIN_ROUNDS) {
        read_again(watch, seen, pid);
    }
    seen->round = watch->round;
}

/* A child may stand before its parent. */
static void find_members(struct cw_watch *watch)
{
    bool more = watch->is_run;

    while (more) {
        more = false;
        for (size_t i = 0; i < watch->tree->room; i++) {
            struct seen *seen = &watch->tree->table[i];
            if (!seen->proc.pid || seen->member || seen->read != watch->round || !is_member(watch, seen))
                continue;
            seen->member = more = true;
        }
    }
}

/* Once the root has ended: what has left the tree before anybody looked says by its environment whose it is. */
static void find_strays(struct cw_watch *watch)
{
    struct cw_watch_tree *tree = watch->tree;
    const struct seen *root = tree->root ? find(tree, tree->root) : NULL;

    bool root_alive = root && root->round == watch->round && is_root(tree, &root->proc) && !root->proc.zombie;
    if (root_alive || !tree->root || tree->asked_environments)
        return;
    tree->asked_environments = true;
    for (size_t i = 0; i < tree->room; i++) {
        struct seen *seen = &tree->table[i];
        if (seen->proc.pid && seen->round == watch->round && !seen->member && seen->proc.pid != getpid())
            seen->member = says_run(watch, seen->proc.pid) || maps_ledger(watch, &seen->proc);
    }
}

static void mark_watched(struct cw_watch *watch)
{
    for (size_t i = 0; i < watch->n_list; i++) {
        struct cw_watched *watched = watch->list[i];
        pid_t pid = watched->pid ? watched->pid : watched->pid_ns == watch->pid_ns ? watched->inner_pid : 0;
        struct seen *seen = pid && !watched->ended ? find(watch->tree, pid) : NULL;
        if (!seen)
            continue;
        seen->watched = true;
        seen->member |= watch->is_run; /* its ledger says so */
    }
}

void cw_watch_tree_look(struct cw_watch *watch)
{
    DIR *dir = opendir("/proc");
    const struct dirent *entry;

    if (!dir)
        return;
    mark_watched(watch);
    while ((entry = readdir(dir)))
        if (isdigit((unsigned char)entry->d_name[0]))
            see(watch, (pid_t)strtol(entry->d_name, NULL, 10));
    closedir(dir);
    if (watch->is_run) {
        find_members(watch);
        find_strays(watch);
        find_members(watch);
    }
}

/* --- questions --- */

static bool is_there(const struct cw_watch *watch, const struct seen *seen)
{
    return seen->proc.pid && seen->round == watch->round && !seen->proc.zombie;
}

const struct cw_proc *cw_watch_tree_find(const struct cw_watch *watch, uint64_t pid_ns, pid_t inner_pid,
                                         uint64_t start_ticks)
{
    const struct cw_watch_tree *tree = watch->tree;

    if (pid_ns == watch->pid_ns) {
        struct seen *seen = find(tree, inner_pid);
        if (!seen)
            return NULL;
        if (seen->read != watch->round)
            read_again(watch, seen, inner_pid);
        return is_there(watch, seen) && seen->proc.start_ticks == start_ticks ? &seen->proc : NULL;
    }
    for (size_t i = 0; i < tree->room; i++) {
        const struct seen *seen = &tree->table[i];
        if (is_there(watch, seen) && seen->proc.inner_pid == inner_pid && seen->proc.start_ticks == start_ticks &&
            seen->proc.pid_ns == pid_ns)
            return &seen->proc;
    }
    return NULL;
}

void cw_watch_tree_mounts(struct cw_watch *watch, void (*each)(struct cw_watch *watch, pid_t pid))
{
    enum { MAX = 64 };
    struct place done[MAX + 1] = {watch->tree->own_place};
    unsigned n = 1;

    for (size_t i = 0; i < watch->tree->room && n <= MAX; i++) {
        const struct seen *seen = &watch->tree->table[i];
        bool known = !is_there(watch, seen) || !seen->member || !read_place(&done[n], seen->proc.pid);
        for (unsigned k = 0; k < n && !known; k++)
            known = is_same(&done[k], &done[n]);
        if (known)
            continue;
        n++;
        each(watch, seen->proc.pid);
    }
}

static bool has_ledger(const struct cw_watch *watch, pid_t pid)
{
    for (size_t i = 0; i < watch->n_list; i++)
        if (!watch->list[i]->ended && watch->list[i]->pid == pid)
            return true;
    return false;
}

static void describe(const struct cw_watch *watch, const struct seen *seen, struct cw_watch_process *ret)
{
    *ret = (struct cw_watch_process){.pid = seen->proc.pid, .has_ledger = has_ledger(watch, seen->proc.pid)};
    cw_proc_thread_name(ret->pid, ret->pid, ret->name);
}

size_t cw_watch_processes(const struct cw_watch *watch, struct cw_watch_process *ret, size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < watch->tree->room; i++) {
        const struct seen *seen = &watch->tree->table[i];
        bool wanted = seen->member || has_ledger(watch, seen->proc.pid);
        if (!is_there(watch, seen) || !wanted)
            continue;
        if (n < max)
            describe(watch, seen, &ret[n]);
        n++;
    }
    return n;
}
