#include "cli/sets.h"

#include "core/fdinfo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The fd may mean another file by now. */
static bool is_epoll(pid_t pid, int fd)
{
    char path[64], target[64];
    ssize_t n;

    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, fd);
    n = readlink(path, target, sizeof target - 1);
    if (n <= 0)
        return false;
    target[n] = 0;
    return !strcmp(target, "anon_inode:[eventpoll]");
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

static void check_set(struct cw_view *view, pid_t pid, uint32_t index)
{
    struct cw_watch *watches = NULL, watch;
    size_t n = 0, room = 0;
    char path[64], line[CW_FDINFO_LINE_BYTES];
    int fd = view->sets[index].fd;
    bool whole = true;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", (int)pid, fd);
    if (!is_epoll(pid, fd) || !(file = fopen(path, "re")))
        return;
    while (whole && fgets(line, sizeof line, file))
        if (cw_fdinfo_watch(line, strcspn(line, "\n"), &watch))
            whole = add(&watches, &n, &room, &watch);
    whole &= !ferror(file);
    fclose(file);
    if (whole && is_epoll(pid, fd))
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
