#include "cli/ledger/find.h"

#include "cli/ledger/load.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

struct search {
    bool (*wanted)(void *ctx, const struct cw_found *found); /* may be NULL */
    bool (*each)(void *ctx, const struct cw_found *found);
    void *ctx;
    unsigned count;
    bool stopped;
};

static bool parse_name(struct cw_found *found, const char *name)
{
    unsigned long long pid_ns, start_ticks, random;
    unsigned pid;
    int end = 0;

    if (sscanf(name, "%20llu.%10u.%20llu.%16llx.cwg%n", &pid_ns, &pid, &start_ticks, &random, &end) != 4)
        return false;
    if (end == 0 || name[end] || pid > INT32_MAX)
        return false;
    found->pid_ns = pid_ns;
    found->pid = (pid_t)pid;
    found->start_ticks = start_ticks;
    return true;
}

/* owner: whose directory it must be, or -1 for whoever's the user has named. */
static void search_dir(struct search *search, const char *path, long owner)
{
    int dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (owner >= 0 ? O_NOFOLLOW : 0));
    const struct dirent *entry;
    struct stat status;
    struct cw_found found;
    DIR *dir;

    if (dir_fd < 0)
        return;
    /* Anybody can make a directory in /dev/shm with another user's number in its name. */
    if (fstat(dir_fd, &status) < 0 || (owner >= 0 && (long)status.st_uid != owner) || !(dir = fdopendir(dir_fd))) {
        close(dir_fd);
        return;
    }
    while (!search->stopped && (entry = readdir(dir))) {
        found.fd = -1;
        if (!parse_name(&found, entry->d_name) ||
            (size_t)snprintf(found.path, sizeof found.path, "%s/%s", path, entry->d_name) >= sizeof found.path ||
            (search->wanted && !search->wanted(search->ctx, &found)))
            continue;
        found.fd = openat(dir_fd, entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (found.fd < 0)
            continue;
        search->count++;
        search->stopped = !search->each(search->ctx, &found);
        close(found.fd);
    }
    closedir(dir);
}

unsigned cw_find_ledgers(const char *root, const char *ledger_dir,
                         bool (*each)(void *ctx, const struct cw_found *found), void *ctx)
{
    return cw_find_ledgers_if(root, ledger_dir, NULL, each, ctx);
}

unsigned cw_find_ledgers_if(const char *root, const char *ledger_dir,
                            bool (*wanted)(void *ctx, const struct cw_found *found),
                            bool (*each)(void *ctx, const struct cw_found *found), void *ctx)
{
    struct search search = {.wanted = wanted, .each = each, .ctx = ctx};
    char path[PATH_MAX];
    const struct dirent *entry;
    DIR *shm;

    if (*ledger_dir) {
        search_dir(&search, ledger_dir, -1);
        return search.count;
    }
    snprintf(path, sizeof path, "%s/dev/shm", root);
    shm = opendir(path);
    if (!shm)
        return 0;
    while (!search.stopped && (entry = readdir(shm))) {
        unsigned uid;
        int end = 0;
        if (sscanf(entry->d_name, "cwguard-%u%n", &uid, &end) != 1 || entry->d_name[end])
            continue;
        if ((size_t)snprintf(path, sizeof path, "%s/dev/shm/%s", root, entry->d_name) < sizeof path)
            search_dir(&search, path, (long)uid);
    }
    closedir(shm);
    return search.count;
}

/* --- by what the process has mapped --- */

/* One line of /proc/PID/maps that names a ledger. */
struct mapping {
    unsigned long long start, end;
    dev_t dev;
    unsigned long long inode;
    char path[PATH_MAX]; /* as the process has it */
};

static bool parse_mapping(struct mapping *ret, char *line)
{
    static const char deleted[] = " (deleted)";
    unsigned major, minor;
    int at = 0;
    size_t n;

    line[strcspn(line, "\n")] = 0;
    if (sscanf(line, "%llx-%llx %*s %*x %x:%x %llu %n", &ret->start, &ret->end, &major, &minor, &ret->inode, &at) !=
            5 ||
        !at || line[at] != '/')
        return false;
    n = strlen(line + at);
    if (n > sizeof deleted && !strcmp(line + at + n - (sizeof deleted - 1), deleted))
        n -= sizeof deleted - 1;
    if (n < 4 || n >= sizeof ret->path || memcmp(line + at + n - 4, ".cwg", 4) != 0)
        return false;
    memcpy(ret->path, line + at, n);
    ret->path[n] = 0;
    ret->dev = makedev(major, minor);
    return true;
}

/* The file at path if it is the mapped one: an fd, or negative errno. */
static int open_mapped(const char *path, int flags, const struct mapping *mapping)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | flags);

    if (fd < 0)
        return -errno;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_dev == mapping->dev &&
        status.st_ino == mapping->inode)
        return fd;
    close(fd);
    return -ENOENT;
}

static bool shares_mounts(pid_t pid)
{
    char path[64];
    struct stat ours, theirs;

    snprintf(path, sizeof path, "/proc/%d/ns/mnt", (int)pid);
    return stat("/proc/self/ns/mnt", &ours) == 0 && stat(path, &theirs) == 0 && ours.st_ino == theirs.st_ino;
}

/* What the kernel hands out as the mapped file itself takes CAP_CHECKPOINT_RESTORE, but it is there when no path
 * leads to the file any more. */
static int open_mapping(const struct cw_proc *proc, const struct mapping *mapping, struct cw_found *ret)
{
    char path[64];

    if ((size_t)snprintf(ret->path, sizeof ret->path, "%s", mapping->path) >= sizeof ret->path)
        return -ENAMETOOLONG;
    if (!shares_mounts(proc->pid) && (size_t)snprintf(ret->path, sizeof ret->path, "/proc/%d/root%s", (int)proc->pid,
                                                      mapping->path) >= sizeof ret->path)
        return -ENAMETOOLONG;
    snprintf(path, sizeof path, "/proc/%d/map_files/%llx-%llx", (int)proc->pid, mapping->start, mapping->end);
    ret->fd = open_mapped(path, 0, mapping);
    if (ret->fd < 0)
        ret->fd = open_mapped(ret->path, O_NOFOLLOW, mapping);
    return ret->fd < 0 ? ret->fd : 0;
}

int cw_find_mapped(const struct cw_proc *proc, struct cw_found *ret)
{
    char path[64], *line = NULL;
    size_t line_bytes = 0;
    struct mapping mapping;
    int result = -ENOENT;
    FILE *maps;

    snprintf(path, sizeof path, "/proc/%d/maps", (int)proc->pid);
    maps = fopen(path, "re");
    if (!maps)
        return errno == ENOENT ? -ESRCH : -errno;
    while (result && (errno = 0, getline(&line, &line_bytes, maps) > 0)) {
        if (!parse_mapping(&mapping, line) || !parse_name(ret, strrchr(mapping.path, '/') + 1))
            continue;
        /* A forked child has its parent's mapped as well. */
        if (ret->pid == proc->inner_pid && ret->start_ticks == proc->start_ticks &&
            (!proc->pid_ns || ret->pid_ns == proc->pid_ns))
            result = open_mapping(proc, &mapping, ret);
    }
    if (result && errno)
        result = -errno;
    free(line);
    fclose(maps);
    return result;
}
