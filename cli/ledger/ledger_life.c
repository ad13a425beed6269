#include "cli/ledger/ledger_life.h"

#include "cli/process/proc.h"
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

/* All processes that we see, for there may be thousands of ledgers; gathered anew after MACHINE_MS. */
enum { MACHINE_MS = 1000 };

static struct {
    struct cw_proc *list;
    size_t count, room;
    struct timespec real; /* by the clock of file times, before they were read */
    int64_t mono_ms;
} machine;

static int64_t clock_ms(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool note_process(const struct cw_proc *proc)
{
    if (machine.count == machine.room) {
        size_t room = machine.room ? 2 * machine.room : 256;
        struct cw_proc *more = realloc(machine.list, room * sizeof *more);
        if (!more)
            return false;
        machine.list = more;
        machine.room = room;
    }
    machine.list[machine.count++] = *proc;
    return true;
}

/* False: there is no memory for it, or no /proc. */
static bool read_machine(void)
{
    const struct dirent *entry;
    struct cw_proc proc;
    bool whole = true;
    DIR *dir = opendir("/proc");

    machine.count = 0;
    machine.mono_ms = clock_ms(CLOCK_MONOTONIC);
    clock_gettime(CLOCK_REALTIME_COARSE, &machine.real);
    while (dir && whole && (entry = readdir(dir)))
        if (isdigit((unsigned char)entry->d_name[0]) && cw_proc_read(&proc, (pid_t)atoi(entry->d_name)) == 0 &&
            !proc.zombie)
            whole = note_process(&proc);
    if (dir)
        closedir(dir);
    if (!dir || !whole)
        machine.mono_ms = 0; /* to be read again */
    return dir && whole;
}

/* Whoever began a ledger was there before the file was. */
static bool is_younger_than_machine(int fd)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return true;
    return status.st_ctim.tv_sec > machine.real.tv_sec ||
           (status.st_ctim.tv_sec == machine.real.tv_sec && status.st_ctim.tv_nsec >= machine.real.tv_nsec);
}

static bool is_process_of(const struct cw_proc *proc, const struct cw_found *found)
{
    return proc->inner_pid == found->pid &&
           (proc->pid_ns == found->pid_ns ||
            (!found->pid_ns && (!found->start_ticks || proc->start_ticks == found->start_ticks)));
}

/* Whether a process that we see, by another number, is the one that a ledger of another pid namespace names. Where that
 * cannot be looked up it may. */
static bool runs_elsewhere(const struct cw_found *found)
{
    bool fresh = machine.mono_ms && clock_ms(CLOCK_MONOTONIC) - machine.mono_ms < MACHINE_MS;

    if ((!fresh || is_younger_than_machine(found->fd)) && !read_machine())
        return true;
    for (size_t i = 0; i < machine.count; i++)
        if (is_process_of(&machine.list[i], found))
            return true;
    return false;
}

enum cw_life cw_ledger_life(const struct cw_found *found)
{
    if (found->pid_ns && found->pid_ns == cw_proc_own_pid_ns())
        return life_here(found);
    return runs_elsewhere(found) ? CW_LIFE_RUNNING : CW_LIFE_UNKNOWN;
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

bool cw_ledger_is_one(int fd)
{
    static const char nothing[sizeof CW_LEDGER_MAGIC - 1];
    char magic[sizeof CW_LEDGER_MAGIC - 1] = "";
    struct stat status;

    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        return false;
    ssize_t n = pread(fd, magic, sizeof magic, 0);
    if (status.st_size == 0 && n == 0)
        return true;
    return n == (ssize_t)sizeof magic &&
           (!memcmp(magic, CW_LEDGER_MAGIC, sizeof magic) || !memcmp(magic, nothing, sizeof magic));
}

uint64_t cw_ledger_bytes(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 ? (uint64_t)status.st_blocks * 512 : 0;
}
