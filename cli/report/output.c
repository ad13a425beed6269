#define _GNU_SOURCE /* renameat2 */
#include "cli/report/output.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Longer than any sane reader pauses; the dying process gives the tool 5 s in all. */
enum { BLOCKED_MAX_MS = 4000 };

/* A process under RLIMIT_AS has its report in this. */
enum { FIRST_ROOM = 16384 };

static int write_all(int fd, const char *bytes, size_t n)
{
    while (n) {
        ssize_t done = write(fd, bytes, n);
        if (done >= 0) {
            bytes += done;
            n -= (size_t)done;
        } else if (errno == EAGAIN) {
            /* A descriptor shared with the program may be non-blocking. */
            struct pollfd wait = {.fd = fd, .events = POLLOUT};
            if (poll(&wait, 1, BLOCKED_MAX_MS) <= 0)
                return -EAGAIN;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

static const char *program_name(const char *exe)
{
    const char *slash = strrchr(exe, '/');
    const char *name = slash ? slash + 1 : exe;
    return *name ? name : "unknown";
}

int cw_output_expand(char *path, size_t path_bytes, const char *pattern, const struct cw_output_names *names)
{
    size_t used = 0;

    for (const char *p = pattern; *p; p++) {
        char number[16], single[3] = {*p, 0, 0};
        const char *piece = single;
        if (*p == '%' && p[1]) {
            p++;
            snprintf(number, sizeof number, "%d", names->pid);
            single[1] = *p;
            piece = *p == 'p'   ? number
                    : *p == 'e' ? program_name(names->exe)
                    : *p == 'f' ? names->format
                    : *p == '%' ? "%"
                                : single;
        }
        size_t n = strlen(piece);
        if (n >= path_bytes - used)
            return -1;
        memcpy(path + used, piece, n);
        /* A program's name comes from a ledger: it must not bring control characters into a file's name. */
        for (size_t i = 0; i < n; i++)
            if (iscntrl((unsigned char)path[used + i]))
                path[used + i] = '_';
        used += n;
    }
    path[used] = 0;
    return 0;
}

/* The pid that the report in a file speaks of; 0 where the file holds no report. */
static int pid_of_report(const char *path)
{
    static char head[65536];
    const char *at = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n;

    if (fd < 0)
        return 0;
    n = read(fd, head, sizeof head - 1);
    close(fd);
    if (n <= 0)
        return 0;
    head[n] = 0;
    if ((at = strstr(head, "== cwguard ")) && (at = strstr(at, "(pid ")))
        at += 5;
    else if (strstr(head, "\"cwguard-report/") && (at = strstr(head, "\"pid\"")))
        at += 5 + strspn(at + 5, " :\t\n");
    return at ? atoi(at) : 0;
}

/* Gives the finished file its name; never over another process's report, not even one that appears at this moment. */
static int put_in_place(const char *temporary, char *path, size_t path_bytes, int pid)
{
    size_t n = strlen(path);
    int other;

    if (renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EEXIST && errno != EINVAL && errno != ENOSYS)
        return -errno;
    other = pid_of_report(path);
    if (other && other != pid && (size_t)snprintf(path + n, path_bytes - n, ".%d", pid) >= path_bytes - n)
        return -ENAMETOOLONG;
    return rename(temporary, path) ? -errno : 0;
}

/* /dev/stderr, a FIFO: opened and written to. What /dev/stdout leads to may be a regular file, but not one to be
 * replaced or cut. */
static bool is_direct(const char *path)
{
    struct stat status;

    return !strncmp(path, "/dev/fd/", 8) || !strncmp(path, "/dev/std", 8) || !strncmp(path, "/proc/", 6) ||
           (stat(path, &status) == 0 && !S_ISREG(status.st_mode));
}

/* Opens what the report goes to. 0 or negative errno. */
static int open_target(struct cw_output *output)
{
    char resolved[PATH_MAX];
    struct stat status;

    if (cw_output_expand(output->path, sizeof output->path, output->pattern, output->names) < 0) {
        output->path[0] = 0;
        return -ENAMETOOLONG;
    }
    output->owned = true;
    if (is_direct(output->path)) {
        output->fd = open(output->path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        return output->fd < 0 ? -errno : 0;
    }
    /* The file behind a symbolic link is replaced, not the link. */
    if (lstat(output->path, &status) == 0 && S_ISLNK(status.st_mode) && realpath(output->path, resolved))
        snprintf(output->path, sizeof output->path, "%s", resolved);
    snprintf(output->temporary, sizeof output->temporary, "%s.tmp.%d", output->path, (int)getpid());
    output->fd = open(output->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (output->fd >= 0)
        return 0;
    output->temporary[0] = 0; /* not ours to remove */
    return -errno;
}

static int put_out(struct cw_output *output)
{
    int error = output->fd < 0 ? open_target(output) : 0;

    if (!error)
        error = write_all(output->fd, output->bytes, output->used);
    output->used = 0;
    return error;
}

/* More room, up to CW_OUTPUT_GATHERED. Without memory for it what there is has to do. */
static void grow(struct cw_output *output)
{
    size_t room = output->room ? 4 * output->room : FIRST_ROOM;
    char *more = room > CW_OUTPUT_GATHERED ? NULL : realloc(output->bytes, room);

    if (!more)
        return;
    output->bytes = more;
    output->room = room;
}

static int gather(void *ctx, const void *bytes, size_t n)
{
    struct cw_output *output = ctx;

    for (size_t done = 0, some; done < n; done += some) {
        if (output->used == output->room)
            grow(output);
        if (!output->room)
            return -ENOMEM;
        int error = output->used == output->room ? put_out(output) : 0;
        if (error)
            return error;
        some = n - done < output->room - output->used ? n - done : output->room - output->used;
        memcpy(output->bytes + output->used, (const char *)bytes + done, some);
        output->used += some;
    }
    return 0;
}

void cw_output_begin(struct cw_output *output, int fd, const char *pattern, const struct cw_output_names *names)
{
    *output = (struct cw_output){.fd = *pattern ? -1 : fd, .pattern = pattern, .names = names};
    cw_out_init(&output->out, gather, output);
}

int cw_output_end(struct cw_output *output, char *why, size_t why_bytes)
{
    int error = cw_out_flush(&output->out);

    if (!error)
        error = put_out(output);
    if (output->owned && output->fd >= 0 && close(output->fd) < 0 && !error)
        error = -errno;
    if (!error && *output->temporary)
        error = put_in_place(output->temporary, output->path, sizeof output->path, output->names->pid);
    if (error && *output->temporary)
        unlink(output->temporary);
    free(output->bytes);
    output->bytes = NULL;
    if (!error)
        return 0;
    snprintf(why, why_bytes, "the report could not be written to %.200s: %s",
             *output->path                 ? output->path
             : output->fd == STDERR_FILENO ? "standard error"
                                           : "standard output",
             strerror(-error));
    return -1;
}
