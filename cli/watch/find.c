#define _GNU_SOURCE /* O_PATH */
/* Ledgers that were not there at the last look. */
#include "cli/watch/parts.h"

#include "cli/cli.h"
#include "cli/ledger/find.h"
#include "core/frames.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Paths that need not be opened again, by their hash; those that were not met for two looks are forgotten. */
struct cw_watch_names {
    struct {
        uint64_t hash; /* 0: free */
        unsigned round;
    } * table;
    size_t room, n;
    char root[32]; /* where the present search is in another mount namespace: /proc/PID/root, else "" */
    bool said_limit;
};

struct cw_watch_names *cw_watch_names_new(void)
{
    struct cw_watch_names *names = calloc(1, sizeof *names);

    if (!names)
        return NULL;
    names->room = 256;
    names->table = calloc(names->room, sizeof *names->table);
    if (!names->table) {
        free(names);
        return NULL;
    }
    return names;
}

void cw_watch_names_free(struct cw_watch_names *names)
{
    if (names)
        free(names->table);
    free(names);
}

static uint64_t hash_of(const struct cw_found *found)
{
    /* What names in another namespace begin with changes with the process that they are reached through. */
    uint64_t hash = cw_hash_str(CW_HASH_START, cw_basename(found->path));
    return hash ? hash : 1;
}

static size_t place_of(const struct cw_watch_names *names, uint64_t hash)
{
    size_t at = (size_t)hash & (names->room - 1);

    while (names->table[at].hash && names->table[at].hash != hash)
        at = (at + 1) & (names->room - 1);
    return at;
}

static void rebuild(struct cw_watch_names *names, unsigned oldest_round)
{
    struct cw_watch_names next = *names;
    size_t n = 0;

    for (size_t i = 0; i < names->room; i++)
        n += names->table[i].hash && names->table[i].round >= oldest_round;
    for (next.room = 256; next.room < 4 * (n + 1); next.room *= 2)
        ;
    next.table = calloc(next.room, sizeof *next.table);
    if (!next.table)
        return;
    next.n = n;
    for (size_t i = 0; i < names->room; i++)
        if (names->table[i].hash && names->table[i].round >= oldest_round)
            next.table[place_of(&next, names->table[i].hash)] = names->table[i];
    free(names->table);
    *names = next;
}

static void remember(struct cw_watch *watch, const struct cw_found *found)
{
    struct cw_watch_names *names = watch->names;
    uint64_t hash = hash_of(found);

    if (2 * (names->n + 1) > names->room)
        rebuild(names, watch->round - 1);
    if (2 * (names->n + 1) > names->room)
        return; /* no memory: it is opened again each time */
    size_t at = place_of(names, hash);
    names->n += !names->table[at].hash;
    names->table[at].hash = hash;
    names->table[at].round = watch->round;
}

static bool is_known(struct cw_watch *watch, const struct cw_found *found)
{
    size_t at = place_of(watch->names, hash_of(found));

    if (!watch->names->table[at].hash)
        return false;
    watch->names->table[at].round = watch->round;
    return true;
}

/* --- which are ours --- */

static bool is_one_of(const struct cw_watch *watch, uint64_t pid_ns, pid_t inner_pid, uint64_t start_ticks)
{
    for (size_t i = 0; i < watch->of.n_pids; i++) {
        struct cw_proc proc;
        if (cw_proc_read(&proc, watch->of.pids[i]) == 0 && proc.inner_pid == inner_pid &&
            proc.start_ticks == start_ticks && (!proc.pid_ns || proc.pid_ns == pid_ns))
            return true;
    }
    return false;
}

static bool wanted(void *ctx, const struct cw_found *found)
{
    struct cw_watch *watch = ctx;

    if (is_known(watch, found))
        return false;
    return watch->is_run || watch->of.all || is_one_of(watch, found->pid_ns, found->pid, found->start_ticks);
}

/* Its fixed part, with ended strings: 0; 1 if it is not complete yet; -1 if it is none that can be read. */
static int read_header(int fd, struct cw_ledger *ret)
{
    if (pread(fd, ret, sizeof *ret, 0) != (ssize_t)sizeof *ret)
        return 1;
    if (!ret->magic[0] || !ret->version)
        return 1; /* a new one reads as zeros until its header is written */
    if (!ret->magic[0])
        return 1; /* the recorder writes it last but one, before the flags */
    if (memcmp(ret->magic, CW_LEDGER_MAGIC, sizeof ret->magic) != 0 || ret->version != CW_LEDGER_VERSION)
        return -1;
    if (!(ret->flags & CW_HEADER_READY))
        return 1;
    ret->options[sizeof ret->options - 1] = 0;
    return 0;
}

/* The options that hold for its report. */
static void choose_options(const struct cw_watch *watch, const struct cw_ledger *header, struct cw_options *ret)
{
    const struct cw_request *request = watch->of.request;

    cw_options_default(ret);
    cw_options_parse(ret, header->options, NULL, NULL);
    for (unsigned i = 0; request && i < request->flag_count; i++)
        cw_options_set(ret, request->flags[i].name, request->flags[i].value, NULL, NULL);
}

/* --- taking one up --- */

/* A copy of the fd to keep. Many processes may take more fds than we are granted at first. */
static int keep_fd(struct cw_watch *watch, int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    struct rlimit limit;

    if (copy >= 0 || errno != EMFILE)
        return copy;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    }
    if (copy < 0 && !watch->names->said_limit) {
        watch->names->said_limit = true;
        cw_say("too many processes to watch them all at once: raise the limit of open files (ulimit -n)");
    }
    return copy;
}

static int open_dir_of(const char *path)
{
    char dir[PATH_MAX];
    char *end;

    snprintf(dir, sizeof dir, "%s", path);
    end = strrchr(dir, '/');
    if (!end)
        return -1;
    *end = 0;
    return open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* The ledger of before an exec: kept for its stacks. */
static void keep_image(struct cw_watched *watched, int fd)
{
    struct cw_load load;
    char why[256];

    if (cw_load_ledger(&load, fd, false, why, sizeof why) == 0)
        cw_watch_keep_image(watched, &load);
}

static void replace_ledger(struct cw_watch *watch, struct cw_watched *watched)
{
    if (watch->is_run && watched->fd >= 0) {
        struct stat ours, there;
        keep_image(watched, watched->fd);
        if (fstat(watched->fd, &ours) == 0 && lstat(watched->path, &there) == 0 && ours.st_ino == there.st_ino &&
            ours.st_dev == there.st_dev)
            unlink(watched->path);
    }
    if (watched->fd >= 0)
        close(watched->fd);
    if (watched->dir_fd >= 0)
        close(watched->dir_fd);
    free(watched->path);
    watched->fd = watched->dir_fd = -1;
    watched->path = NULL;
}

static void enter_early_status(struct cw_watch *watch, struct cw_watched *watched)
{
    for (unsigned i = 0; i < CW_WATCH_STATUSES; i++) {
        struct cw_watch_status *status = &watch->statuses[i];
        if (!status->pid || status->pid != watched->inner_pid || watched->pid_ns != watch->pid_ns)
            continue;
        watched->has_status = true;
        watched->status = status->status;
        watched->pid = status->pid;
        status->pid = 0;
    }
}

/* False: not possible now. */
static bool take_up(struct cw_watch *watch, const struct cw_found *found, const struct cw_ledger *header,
                    const struct cw_options *options)
{
    struct cw_watched *watched = cw_watch_by_identity(watch, header->pid_ns, header->pid, header->start_ticks);
    char *path = NULL;
    int fd = -1;

    /* The clock ticks every 4 ms: an exec may follow within that. */
    bool earlier = watched && (header->start_mono_ns < watched->start_mono_ns ||
                               (header->start_mono_ns == watched->start_mono_ns && header->ended == CW_ENDED_EXEC));
    if (watched && (watched->fd < 0 || earlier)) {
        keep_image(watched, found->fd);
        if (watch->is_run)
            unlink(found->path);
        return true;
    }
    path = strdup(found->path);
    fd = path ? keep_fd(watch, found->fd) : -1;
    if (fd >= 0 && !watched)
        watched = cw_watch_add(watch);
    if (fd < 0 || !watched) {
        if (fd >= 0)
            close(fd);
        free(path);
        return false;
    }
    replace_ledger(watch, watched);
    watched->pid_ns = header->pid_ns;
    watched->inner_pid = header->pid;
    watched->start_ticks = header->start_ticks;
    watched->start_mono_ns = header->start_mono_ns;
    watched->grace_ms = options->grace_ms;
    watched->path = path;
    watched->fd = fd;
    if (watch->names->root[0])
        watched->dir_fd = open_dir_of(found->path);
    enter_early_status(watch, watched);
    return true;
}

static bool each(void *ctx, const struct cw_found *found)
{
    struct cw_watch *watch = ctx;
    struct cw_ledger header;
    struct cw_options options;
    int result = read_header(found->fd, &header);

    if (result > 0)
        return true; /* the next time */
    if (result < 0 && !watch->is_run && watch->of.n_pids)
        cw_say("%s was written by another version of libcwguard.so: use the cwguard beside that", found->path);
    if (result == 0)
        choose_options(watch, &header, &options);
    bool ours = result == 0 && (!watch->is_run || !strcmp(options.run, watch->of.run)) &&
                (watch->is_run || !watch->of.n_pids || is_one_of(watch, header.pid_ns, header.pid, header.start_ticks));
    if (!ours || take_up(watch, found, &header, &options))
        remember(watch, found);
    return true;
}

/* --- where --- */

void cw_watch_find(struct cw_watch *watch)
{
    watch->names->root[0] = 0;
    cw_find_ledgers_if("", watch->of.ledger_dir ? watch->of.ledger_dir : "", wanted, each, watch);
    /* A process that may not write there, as it has given up root, puts its ledger into the usual place. */
    if (watch->is_run && watch->of.ledger_dir && *watch->of.ledger_dir)
        cw_find_ledgers_if("", "", wanted, each, watch);
}

static void find_in_mount(struct cw_watch *watch, pid_t pid)
{
    const char *ledger_dir = watch->of.ledger_dir ? watch->of.ledger_dir : "";
    char path[PATH_MAX];

    snprintf(watch->names->root, sizeof watch->names->root, "/proc/%d/root", (int)pid);
    cw_find_ledgers_if(watch->names->root, "", wanted, each, watch);
    if (*ledger_dir && (size_t)snprintf(path, sizeof path, "%s%s", watch->names->root, ledger_dir) < sizeof path)
        cw_find_ledgers_if("", path, wanted, each, watch);
    watch->names->root[0] = 0;
}

/* Of processes that were named: wherever it is that they have mapped it from. Reading a process's maps takes a lock of it, so
 * that it is asked seldom. */
static void find_mapped(struct cw_watch *watch)
{
    enum { ROUNDS = 8 };
    struct cw_found found;

    for (size_t i = 0; i < watch->of.n_pids; i++) {
        struct cw_proc proc;
        if (watch->round % ROUNDS != 1 || cw_proc_read(&proc, watch->of.pids[i]) < 0 ||
            cw_watch_by_identity(watch, proc.pid_ns, proc.inner_pid, proc.start_ticks) ||
            cw_find_mapped(&proc, &found) < 0)
            continue;
        each(watch, &found);
        close(found.fd);
    }
}

void cw_watch_find_elsewhere(struct cw_watch *watch)
{
    if (watch->is_run)
        cw_watch_tree_mounts(watch, find_in_mount);
    else
        find_mapped(watch);
}
