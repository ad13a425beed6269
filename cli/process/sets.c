#include "cli/process/sets.h"

#include "core/fdinfo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Whether the fd is an epoll set: it may mean another file by now. 0, or the errno of what says otherwise. */
static int check_epoll(pid_t pid, int fd)
{
    char path[64], target[64];
    ssize_t n;

    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, fd);
    n = readlink(path, target, sizeof target - 1);
    if (n < 0)
        return errno;
    target[n] = 0;
    return strcmp(target, "anon_inode:[eventpoll]") ? EBADF : 0;
}

static bool add(struct cw_watch **watches, size_t *n, size_t *room, const struct cw_watch *watch)
{
    if (*n == *room) {
        *room = *room ? 2 * *room : 256;
        struct cw_watch *more = realloc(*watches, *room * sizeof *more);
        if (!more)
            return false;
        *watches = more;
    }
    (*watches)[(*n)++] = *watch;
    return true;
}

/* What the file holds: 0 with *ret_watches to be freed, in any case, or an errno. */
static int read_watches(const char *path, struct cw_watch **ret_watches, size_t *ret_n)
{
    char line[CW_FDINFO_LINE_BYTES];
    struct cw_watch watch;
    size_t room = 0;
    int error = 0;
    FILE *file = fopen(path, "re");

    if (!file)
        return errno;
    while (!error && (errno = 0, fgets(line, sizeof line, file)))
        if (cw_fdinfo_watch(line, strcspn(line, "\n"), &watch) && !add(ret_watches, ret_n, &room, &watch))
            error = ENOMEM;
    if (!error && ferror(file))
        error = errno ? errno : EIO;
    fclose(file);
    return error;
}

static void check_set(struct cw_view *view, pid_t pid, uint32_t index)
{
    struct cw_watch *watches = NULL;
    size_t n = 0;
    char path[64];
    int fd = view->sets[index].fd, error;

    snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", (int)pid, fd);
    error = check_epoll(pid, fd);
    if (!error)
        error = read_watches(path, &watches, &n);
    if (!error)
        error = check_epoll(pid, fd);
    if (error)
        cw_fdinfo_refused(view, index, error);
    else
        cw_fdinfo_enter(view, index, watches, n);
    free(watches);
}

void cw_sets_check(struct cw_view *view, const struct cw_proc *proc)
{
    uint32_t conns = view->header->sections[CW_SECTION_CONNS].used;
    uint32_t sets = view->header->sections[CW_SECTION_SETS].used;
    bool wanted = false;

    for (uint32_t i = 1; i < conns && i < view->n_conns && !wanted; i++)
        wanted = cw_fdinfo_wanted(&view->conns[i]);
    for (uint32_t i = 1; wanted && i < sets && i < view->n_sets; i++)
        if ((view->sets[i].flags & 1) && view->sets[i].fd >= 0)
            check_set(view, proc->pid, i);
}
