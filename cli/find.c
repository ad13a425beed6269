#include "cli/find.h"

#include "cli/load.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct search {
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
        if (!parse_name(&found, entry->d_name))
            continue;
        found.fd = openat(dir_fd, entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (found.fd < 0)
            continue;
        if ((size_t)snprintf(found.path, sizeof found.path, "%s/%s", path, entry->d_name) < sizeof found.path) {
            search->count++;
            search->stopped = !search->each(search->ctx, &found);
        }
        close(found.fd);
    }
    closedir(dir);
}

unsigned cw_find_ledgers(const char *root, const char *ledger_dir,
                         bool (*each)(void *ctx, const struct cw_found *found), void *ctx)
{
    struct search search = {.each = each, .ctx = ctx};
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
