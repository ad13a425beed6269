#include "cli/report/report_targets.h"

#include "cli/cli.h"
#include "cli/ledger/adopt.h"
#include "cli/ledger/find.h"

#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- all that run --- */

struct pids {
    pid_t *list;
    size_t count, room;
    bool no_memory;
};

static void add_pid(struct pids *pids, pid_t pid)
{
    if (pids->count == pids->room) {
        size_t room = pids->room ? 2 * pids->room : 64;
        pid_t *more = realloc(pids->list, room * sizeof *more);
        if (!more) {
            pids->no_memory = true;
            return;
        }
        pids->list = more;
        pids->room = room;
    }
    pids->list[pids->count++] = pid;
}

static bool note_living(void *ctx, const struct cw_found *found)
{
    if (cw_proc_lives(found->pid_ns, found->pid, found->start_ticks, NULL))
        add_pid(ctx, found->pid);
    return true;
}

/* Those whose ledger lies elsewhere are known by what they have mapped. */
static void note_mapped(struct pids *pids)
{
    DIR *dir = opendir("/proc");
    const struct dirent *entry;
    struct cw_found found;
    struct cw_proc proc;

    while (dir && (entry = readdir(dir))) {
        pid_t pid = isdigit((unsigned char)entry->d_name[0]) ? (pid_t)atoi(entry->d_name) : 0;
        if (pid <= 0 || pid == getpid() || cw_proc_read(&proc, pid) < 0 || proc.zombie ||
            (geteuid() != 0 && proc.uid != geteuid()) || cw_find_mapped(&proc, &found) < 0)
            continue;
        close(found.fd);
        add_pid(pids, pid);
    }
    if (dir)
        closedir(dir);
}

static int by_number(const void *a, const void *b)
{
    pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;
    return (x > y) - (x < y);
}

void cw_target_all(struct cw_targets *targets)
{
    struct pids pids = {0};

    cw_find_ledgers("", targets->ledger_dir, note_living, &pids);
    note_mapped(&pids);
    if (pids.count)
        qsort(pids.list, pids.count, sizeof *pids.list, by_number);
    targets->may_be_gone = true;
    for (size_t i = 0; i < pids.count; i++)
        if (i == 0 || pids.list[i] != pids.list[i - 1])
            cw_target_process(targets, pids.list[i]);
    if (pids.no_memory) {
        cw_say("not enough memory for all processes: raise the limit (ulimit -v)");
        targets->failed = true;
    }
    if (!targets->added && !targets->failed) {
        cw_say("no running process%s has a ledger: start one with cwguard run, or with "
               "LD_PRELOAD=/path/to/libcwguard.so in its environment",
               geteuid() ? " of this user" : "");
        targets->failed = true;
    }
    free(pids.list);
}

/* --- the dead --- */

struct dead_one {
    struct cw_load load;
    char *path;
};

struct dead {
    struct cw_targets *targets;
    struct dead_one *list;
    size_t count, room;
    unsigned alive, reported, elsewhere;
    pid_t only; /* of this process, 0 any */
};

enum { NAMED_MAX = 8 };

/* Takes over *load. */
static bool keep_dead(struct dead *dead, struct cw_load *load, const char *path)
{
    if (dead->count == dead->room) {
        size_t room = dead->room ? 2 * dead->room : 16;
        struct dead_one *more = realloc(dead->list, room * sizeof *more);
        if (!more)
            return false;
        dead->list = more;
        dead->room = room;
    }
    char *copy = strdup(path);
    if (copy)
        dead->list[dead->count++] = (struct dead_one){.load = *load, .path = copy};
    return copy != NULL;
}

static bool find_dead(void *ctx, const struct cw_found *found)
{
    struct dead *dead = ctx;
    struct cw_load load;
    char why[256];
    struct cw_proc proc;
    bool known = found->pid_ns == cw_proc_own_pid_ns();

    if (dead->only && (found->pid != dead->only || !known))
        return true;
    if (cw_proc_find(&proc, found->pid_ns, found->pid, found->start_ticks) == 0) {
        dead->alive++;
        return true;
    }
    if (!known) {
        if (dead->elsewhere++ < NAMED_MAX)
            cw_say(
                "%s is left out: its process is of another pid namespace, and whether it has ended cannot be seen from "
                "here; give its name to have it reported",
                found->path);
        return true;
    }
    if (cw_adopt_load(&load, found->fd, why, sizeof why) < 0) {
        cw_say("%s %s", found->path, why);
        dead->targets->failed = true;
    } else if (load.view.header->flags & CW_HEADER_REPORTED) {
        dead->reported++;
        cw_load_free(&load);
    } else if (!keep_dead(dead, &load, found->path)) {
        cw_say("%s: not enough memory: raise the limit (ulimit -v)", found->path);
        dead->targets->failed = true;
        cw_load_free(&load);
    }
    return true;
}

/* The oldest first: of those that belong together the parent heads the report. */
static int by_start(const void *a, const void *b)
{
    const struct cw_ledger *x = ((const struct dead_one *)a)->load.view.header;
    const struct cw_ledger *y = ((const struct dead_one *)b)->load.view.header;

    if (x->start_mono_ns != y->start_mono_ns)
        return x->start_mono_ns < y->start_mono_ns ? -1 : 1;
    return (x->pid > y->pid) - (x->pid < y->pid);
}

bool cw_target_ended(struct cw_targets *targets, pid_t pid)
{
    struct dead dead = {.targets = targets, .only = pid};

    cw_find_ledgers("", targets->ledger_dir, find_dead, &dead);
    if (dead.count)
        qsort(dead.list, dead.count, sizeof *dead.list, by_start);
    for (size_t i = 0; i < dead.count; i++) {
        /* Of several that had this number the last. */
        if (i + 1 == dead.count)
            cw_targets_add(targets, &dead.list[i].load, dead.list[i].path, CW_RENDER_ENDED, NULL);
        else
            cw_load_free(&dead.list[i].load);
        free(dead.list[i].path);
    }
    free(dead.list);
    return dead.count > 0;
}

void cw_target_dead(struct cw_targets *targets)
{
    struct dead dead = {.targets = targets};

    cw_find_ledgers("", targets->ledger_dir, find_dead, &dead);
    if (dead.elsewhere > NAMED_MAX)
        cw_say("and %u more of other pid namespaces are left out", dead.elsewhere - NAMED_MAX);
    if (dead.count)
        qsort(dead.list, dead.count, sizeof *dead.list, by_start);
    for (size_t i = 0; i < dead.count; i++) {
        cw_targets_add(targets, &dead.list[i].load, dead.list[i].path, CW_RENDER_ENDED, NULL);
        free(dead.list[i].path);
    }
    free(dead.list);
    if (!targets->added && !targets->failed)
        cw_say(
            "no ended process has left a ledger in %s (%u of running processes, %u already reported, %u of other pid "
            "namespaces)",
            *targets->ledger_dir ? targets->ledger_dir : "/dev/shm/cwguard-UID", dead.alive, dead.reported,
            dead.elsewhere);
}
