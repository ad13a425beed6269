#include "cli/ledger_life.h"

#include "cli/proc.h"
#include "include/cwguard_ledger.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Whether the process has a file of that device and inode mapped; also true where its maps cannot be read. */
static bool may_map(pid_t pid, int fd)
{
    char path[64], *line = NULL;
    size_t room = 0;
    struct stat status;
    bool found = false;
    FILE *maps;

    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    if (fstat(fd, &status) < 0 || !(maps = fopen(path, "re")))
        return errno != ENOENT && errno != ESRCH;
    while (!found && getline(&line, &room, maps) > 0) {
        unsigned long long inode = 0;
        found = sscanf(line, "%*s %*s %*s %*s %llu", &inode) == 1 && inode == status.st_ino && strstr(line, ".cwg");
    }
    free(line);
    fclose(maps);
    return found;
}

static enum cw_life life_here(const struct cw_found *found)
{
    struct cw_proc proc;
    int error;

    if (found->pid <= 0)
        return CW_LIFE_UNKNOWN;
    /* hidepid makes others' processes vanish from /proc, not from kill. */
    if (kill(found->pid, 0) < 0 && errno == ESRCH)
        return CW_LIFE_DEAD;
    error = cw_proc_read(&proc, found->pid);
    if (error)
        return CW_LIFE_RUNNING;
    if (proc.zombie)
        return CW_LIFE_DEAD;
    if (!found->start_ticks || proc.start_ticks == found->start_ticks)
        return CW_LIFE_RUNNING;
    /* Another process has the pid now; or /proc counts from another zero (time namespace). */
    return may_map(found->pid, found->fd) ? CW_LIFE_RUNNING : CW_LIFE_DEAD;
}

/* Whether a process that we see, by another number, is the one that a ledger of another pid namespace names. */
static bool runs_elsewhere(const struct cw_found *found)
{
    const struct dirent *entry;
    struct cw_proc proc;
    bool runs = false;
    DIR *dir = opendir("/proc");

    while (dir && !runs && (entry = readdir(dir)))
        runs = isdigit((unsigned char)entry->d_name[0]) && cw_proc_read(&proc, (pid_t)atoi(entry->d_name)) == 0 &&
               !proc.zombie && proc.inner_pid == found->pid &&
               (proc.pid_ns == found->pid_ns ||
                (!found->pid_ns && (!found->start_ticks || proc.start_ticks == found->start_ticks)));
    if (dir)
        closedir(dir);
    return runs;
}

enum cw_life cw_ledger_life(const struct cw_found *found)
{
    if (found->pid_ns && found->pid_ns == cw_proc_own_pid_ns())
        return life_here(found);
    return runs_elsewhere(found) ? CW_LIFE_RUNNING : CW_LIFE_UNKNOWN;
}

static int64_t clock_ms(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

uint64_t cw_ledger_age_ms(int fd)
{
    struct cw_ledger header;
    struct stat status;
    int64_t real_ms = clock_ms(CLOCK_REALTIME), mono_ms = clock_ms(CLOCK_MONOTONIC_COARSE), modified_ms, age_ms;

    if (fstat(fd, &status) < 0)
        return 0;
    modified_ms = (int64_t)status.st_mtim.tv_sec * 1000 + status.st_mtim.tv_nsec / 1000000;
    age_ms = real_ms > modified_ms ? real_ms - modified_ms : 0;
    if (pread(fd, &header, sizeof header, 0) != (ssize_t)sizeof header ||
        memcmp(header.magic, CW_LEDGER_MAGIC, sizeof header.magic) != 0 || header.version != CW_LEDGER_VERSION)
        return (uint64_t)age_ms;

    /* Stores through a mapping leave the file's time as it is. Only a file that somebody has dated back, or restored,
     * is older than its own beginning: then its time is all there is. */
    int64_t start_ms = (int64_t)(header.start_real_ns / 1000000),
            start_mono_ms = (int64_t)(header.start_mono_ns / 1000000);
    if (modified_ms + 60000 < start_ms)
        return (uint64_t)age_ms;
    uint32_t last_ms = header.end_ms ? header.end_ms : header.truth_ms;
    /* Differences modulo 2^32, as all times in records: never older than it is. */
    if ((uint32_t)(real_ms - start_ms) - last_ms < age_ms)
        age_ms = (uint32_t)(real_ms - start_ms) - last_ms;
    if (start_mono_ms >= 0 && start_mono_ms <= mono_ms && (uint32_t)(mono_ms - start_mono_ms) - last_ms < age_ms)
        age_ms = (uint32_t)(mono_ms - start_mono_ms) - last_ms;
    return (uint64_t)age_ms;
}

int cw_ledger_unlink(const struct cw_found *found)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(found->path, '/'), *name = slash ? slash + 1 : found->path;
    struct stat opened, there;
    int dir_fd = AT_FDCWD, error = 0;

    if (slash) {
        snprintf(dir, sizeof dir, "%.*s", slash > found->path ? (int)(slash - found->path) : 1, found->path);
        dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
            return -errno;
    }
    /* Whoever owns the directory may have put something else in its place since. */
    if (fstat(found->fd, &opened) < 0 || fstatat(dir_fd, name, &there, AT_SYMLINK_NOFOLLOW) < 0)
        error = -errno;
    else if (opened.st_ino != there.st_ino || opened.st_dev != there.st_dev)
        error = -ESTALE;
    else if (unlinkat(dir_fd, name, 0) < 0)
        error = -errno;
    if (dir_fd >= 0)
        close(dir_fd);
    return error;
}

uint64_t cw_ledger_bytes(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 ? (uint64_t)status.st_blocks * 512 : 0;
}
