#include "cli/process/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

pid_t cw_proc_parse_pid(const char *word)
{
    char *end;

    if (!*word || word[strspn(word, "0123456789")])
        return 0;
    errno = 0;
    long pid = strtol(word, &end, 10);
    return errno || pid <= 0 || pid > INT_MAX ? -1 : (pid_t)pid;
}

ssize_t cw_proc_read_small(const char *path, char *to, size_t n)
{
    size_t used = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    while (used < n - 1) {
        ssize_t got = read(fd, to + used, n - 1 - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int error = errno;
            close(fd);
            return -error;
        }
        if (got == 0)
            break;
        used += (size_t)got;
    }
    close(fd);
    to[used] = 0;
    return (ssize_t)used;
}

void cw_proc_thread_name(pid_t pid, pid_t tid, char to[16])
{
    char path[64], text[32];

    memset(to, 0, 16);
    snprintf(path, sizeof path, "/proc/%d/task/%d/comm", (int)pid, (int)tid);
    if (cw_proc_read_small(path, text, sizeof text) <= 0)
        return;
    text[strcspn(text, "\n")] = 0;
    memcpy(to, text, strnlen(text, 15));
}

/* The last number of status' NSpid line. */
pid_t cw_proc_inner_pid(pid_t pid)
{
    char path[64], status[8192];
    const char *line;
    pid_t inner = pid;

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    if (cw_proc_read_small(path, status, sizeof status) < 0 || !(line = strstr(status, "\nNSpid:")))
        return pid;
    for (line += 7; *line && *line != '\n';) {
        char *end;
        long number = strtol(line, &end, 10);
        if (end == line)
            break;
        inner = (pid_t)number;
        line = end;
    }
    return inner;
}

static uint64_t read_pid_ns(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? (uint64_t)status.st_ino : 0;
}

uint64_t cw_proc_own_pid_ns(void)
{
    return read_pid_ns("/proc/self/ns/pid");
}

/* What /proc/PID/stat says: ppid, start_ticks, zombie. 0, or negative errno. */
static int read_stat(struct cw_proc *proc)
{
    char path[64], text[2048], state;
    unsigned long long start_ticks;
    long threads;
    int ppid;
    const char *rest;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)proc->pid);
    ssize_t got = cw_proc_read_small(path, text, sizeof text);
    if (got < 0)
        return got == -ENOENT ? -ESRCH : (int)got;
    /* The second field is the program's name in parentheses and may hold anything, ')' too. */
    rest = strrchr(text, ')');
    if (!rest || sscanf(rest + 1, " %c %d %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %ld %*s %llu",
                        &state, &ppid, &threads, &start_ticks) != 4)
        return -EPROTO;
    proc->ppid = ppid;
    proc->start_ticks = start_ticks;
    /* A leader that has ended is shown as a zombie while its other threads run on. */
    proc->zombie = (state == 'Z' || state == 'X') && threads <= 1;
    return 0;
}

int cw_proc_read(struct cw_proc *ret, pid_t pid)
{
    struct cw_proc proc = {.pid = pid};
    struct stat status;
    char path[64];

    if (pid <= 0)
        return -ESRCH;
    int error = read_stat(&proc);
    if (error)
        return error;
    snprintf(path, sizeof path, "/proc/%d", (int)pid);
    if (stat(path, &status) < 0)
        return -ESRCH;
    proc.uid = status.st_uid;
    proc.inner_pid = cw_proc_inner_pid(pid);
    snprintf(path, sizeof path, "/proc/%d/ns/pid", (int)pid);
    proc.pid_ns = read_pid_ns(path);
    *ret = proc;
    return 0;
}

int cw_proc_again(struct cw_proc *proc)
{
    struct cw_proc now = *proc;
    int error = read_stat(&now);

    if (error)
        return error;
    if (now.start_ticks != proc->start_ticks)
        return cw_proc_read(proc, proc->pid);
    *proc = now;
    return 0;
}

bool cw_proc_lives(uint64_t pid_ns, pid_t pid, uint64_t start_ticks, bool *ret_known)
{
    struct cw_proc proc;
    bool known = pid_ns == cw_proc_own_pid_ns();

    if (ret_known)
        *ret_known = known;
    return known && cw_proc_read(&proc, pid) == 0 && proc.start_ticks == start_ticks && !proc.zombie;
}

int cw_proc_find(struct cw_proc *ret, uint64_t pid_ns, pid_t inner_pid, uint64_t start_ticks)
{
    const struct dirent *entry;
    struct cw_proc proc = {0};
    bool found = false;
    DIR *dir;

    if (pid_ns == cw_proc_own_pid_ns()) {
        found = cw_proc_read(&proc, inner_pid) == 0 && proc.start_ticks == start_ticks && !proc.zombie;
        if (found)
            *ret = proc;
        return found ? 0 : -ESRCH;
    }
    dir = opendir("/proc");
    while (dir && !found && (entry = readdir(dir))) {
        /* Few have started in the same tick, so that little has to be read of all others. */
        struct cw_proc seen = {.pid = (pid_t)atoi(entry->d_name)};
        found = seen.pid > 0 && read_stat(&seen) == 0 && seen.start_ticks == start_ticks &&
                cw_proc_read(&proc, seen.pid) == 0 && proc.start_ticks == start_ticks && proc.pid_ns == pid_ns &&
                proc.inner_pid == inner_pid && !proc.zombie;
    }
    if (dir)
        closedir(dir);
    if (found)
        *ret = proc;
    return found ? 0 : -ESRCH;
}

static int by_inode_then_fd(const void *a, const void *b)
{
    const struct cw_proc_socket *x = a, *y = b;
    if (x->inode != y->inode)
        return x->inode < y->inode ? -1 : 1;
    return (x->fd > y->fd) - (x->fd < y->fd);
}

int cw_proc_sockets(pid_t pid, struct cw_proc_socket **ret, size_t *ret_count)
{
    char path[64], target[64];
    struct cw_proc_socket *sockets = NULL;
    size_t count = 0, room = 0;
    const struct dirent *entry;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    if (!dir)
        return errno == ENOENT ? -ESRCH : -errno;
    while ((entry = readdir(dir))) {
        unsigned long inode;
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
        /* Root without CAP_SYS_PTRACE may list the fds, but not see what they are. */
        if (n < 0 && (errno == EACCES || errno == EPERM)) {
            int error = errno;
            free(sockets);
            closedir(dir);
            return -error;
        }
        if (n <= 0)
            continue;
        target[n] = 0;
        if (sscanf(target, "socket:[%lu]", &inode) != 1)
            continue;
        if (count == room) {
            room = room ? 2 * room : 256;
            struct cw_proc_socket *more = realloc(sockets, room * sizeof *sockets);
            if (!more) {
                free(sockets);
                closedir(dir);
                return -ENOMEM;
            }
            sockets = more;
        }
        sockets[count++] = (struct cw_proc_socket){.inode = (uint32_t)inode, .fd = atoi(entry->d_name)};
    }
    closedir(dir);
    if (count)
        qsort(sockets, count, sizeof *sockets, by_inode_then_fd);
    *ret = sockets;
    *ret_count = count;
    return 0;
}
