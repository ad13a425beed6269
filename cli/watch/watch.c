#define _GNU_SOURCE /* qsort_r */
/* The watcher: its list of processes, and a look from beginning to end. */
#include "cli/watch/parts.h"

#include "cli/cli.h"
#include "cli/clock.h"
#include "cli/process/sets.h"
#include "cli/process/threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- what the parts share --- */

uint64_t cw_watch_now_ns(void)
{
    return cw_clock_ns(CLOCK_MONOTONIC_COARSE);
}

uint32_t cw_watch_ms(const struct cw_watched *watched, uint64_t at_ns)
{
    uint64_t since_ns = at_ns > watched->start_mono_ns ? at_ns - watched->start_mono_ns : 0;
    uint32_t ms = (uint32_t)(since_ns / 1000000);
    return ms ? ms : 1;
}

struct cw_watched *cw_watch_by_identity(const struct cw_watch *watch, uint64_t pid_ns, pid_t inner_pid,
                                        uint64_t start_ticks)
{
    /* From the end: who is asked for is mostly one of those that came last. */
    for (size_t i = watch->n_list; i--;) {
        struct cw_watched *watched = watch->list[i];
        if (watched->inner_pid == inner_pid && watched->start_ticks == start_ticks && watched->pid_ns == pid_ns)
            return watched;
    }
    return NULL;
}

struct cw_watched *cw_watch_add(struct cw_watch *watch)
{
    struct cw_watched *watched = calloc(1, sizeof *watched);

    if (watched && watch->n_list == watch->list_room) {
        size_t room = watch->list_room ? 2 * watch->list_room : 64;
        struct cw_watched **more = realloc(watch->list, room * sizeof(struct cw_watched *));
        if (!more) {
            free(watched);
            return NULL;
        }
        watch->list = more;
        watch->list_room = room;
    }
    if (!watched)
        return NULL;
    watched->fd = watched->dir_fd = -1;
    watch->list[watch->n_list++] = watched;
    return watched;
}

void cw_watched_close(struct cw_watched *watched)
{
    if (watched->fd >= 0)
        close(watched->fd);
    if (watched->dir_fd >= 0)
        close(watched->dir_fd);
    watched->fd = watched->dir_fd = -1;
    free(watched->socks);
    watched->socks = NULL;
    watched->n_socks = watched->socks_room = 0;
    free(watched->counts);
    watched->counts = NULL;
    watched->n_counts = watched->counts_room = 0;
    watched->fresh = 0;
}

static void free_watched(struct cw_watched *watched)
{
    cw_watched_close(watched);
    if (watched->kept)
        cw_load_free(&watched->load);
    for (size_t i = 0; i < watched->n_images; i++)
        cw_load_free(&watched->images[i]);
    free(watched->images);
    free(watched->path);
    free(watched);
}

/* --- from the cradle to the grave --- */

struct cw_watch *cw_watch_new(const struct cw_watch_of *of)
{
    struct cw_watch *watch = calloc(1, sizeof *watch);

    if (!watch)
        return NULL;
    watch->of = *of;
    watch->is_run = of->run && *of->run;
    watch->pid_ns = cw_proc_own_pid_ns();
    watch->tree = cw_watch_tree_new();
    watch->names = cw_watch_names_new();
    watch->eyes = cw_watch_eyes_new();
    watch->live = cw_watch_live_new();
    if (!watch->tree || !watch->names || !watch->eyes || !watch->live) {
        cw_watch_free(watch);
        return NULL;
    }
    if (of->root)
        cw_watch_tree_root(watch->tree, of->root);
    return watch;
}

void cw_watch_free(struct cw_watch *watch)
{
    if (!watch)
        return;
    for (size_t i = 0; i < watch->n_list; i++) {
        if (watch->is_run && !watch->list[i]->ended)
            cw_watch_leave(watch->list[i]);
        free_watched(watch->list[i]);
    }
    free(watch->list);
    cw_watch_tree_free(watch->tree);
    cw_watch_names_free(watch->names);
    cw_watch_eyes_free(watch->eyes);
    cw_watch_live_free(watch->live);
    free(watch);
}

/* --- a look --- */

/* Whether it runs; its pid as seen from here is settled here. */
static bool lives(const struct cw_watch *watch, struct cw_watched *watched)
{
    const struct cw_proc *proc = cw_watch_tree_find(watch, watched->pid_ns, watched->inner_pid, watched->start_ticks);

    if (proc) {
        watched->missing = 0;
        watched->pid = proc->pid;
        watched->ppid = proc->ppid;
        return true;
    }
    /* One of another pid namespace may have begun after /proc was read. */
    return watched->pid_ns != watch->pid_ns && !watched->pid && watched->missing++ < 1;
}

/* Those that have not left anything to report are not kept beyond this many: each takes a few KiB. */
enum { CLEAN_MAX = 512 };

static bool is_worth_keeping(struct cw_watch *watch, const struct cw_watched *watched)
{
    if (!watch->is_run || !watched->ended)
        return !watched->ended;
    if (!watched->kept)
        return false;
    /* A clean one holds no records. */
    if (watched->load.view.n_conns > 1 || watched->pid == watch->of.root || watch->n_clean < CLEAN_MAX) {
        watch->n_clean += watched->load.view.n_conns <= 1;
        return true;
    }
    watch->clean_dropped++;
    return false;
}

static void end_the_dead(struct cw_watch *watch)
{
    size_t kept = 0;

    for (size_t i = 0; i < watch->n_list; i++) {
        struct cw_watched *watched = watch->list[i];
        bool keep = true;
        if (!watched->ended && !lives(watch, watched)) {
            watched->ended = true;
            if (watch->is_run)
                cw_watch_take_in(watch, watched);
            cw_watched_close(watched);
            keep = is_worth_keeping(watch, watched);
        }
        if (keep)
            watch->list[kept++] = watched;
        else
            free_watched(watched);
    }
    watch->n_list = kept;
}

void cw_watch_look(struct cw_watch *watch)
{
    watch->round++;
    /* Ledgers before processes: who has a ledger by then and is not in /proc afterwards has ended. */
    cw_watch_find(watch);
    cw_watch_tree_look(watch);
    cw_watch_find_elsewhere(watch);
    end_the_dead(watch);
    cw_watch_look_at_all(watch);
}

void cw_watch_ended(struct cw_watch *watch, pid_t pid, int status)
{
    for (size_t i = watch->n_list; i--;) {
        struct cw_watched *watched = watch->list[i];
        if (watched->pid == pid && !watched->has_status) {
            watched->has_status = true;
            watched->status = status;
            return;
        }
    }
    watch->statuses[watch->n_statuses++ % CW_WATCH_STATUSES] = (struct cw_watch_status){.pid = pid, .status = status};
}

/* --- the report --- */

/* Who has waited for it knows best how it ended. */
static void enter_status(struct cw_ledger *header, int status)
{
    if (WIFEXITED(status)) {
        header->ended = CW_ENDED_EXIT;
        header->end_status = WEXITSTATUS(status);
    } else if (WIFSIGNALED(status)) {
        header->ended = CW_ENDED_SIGNAL;
        header->end_status = WTERMSIG(status);
    }
}

static void add_ended(struct cw_watch *watch, struct cw_render *render, struct cw_watched *watched)
{
    if (!watched->kept)
        return;
    watched->kept = false;
    if (watched->has_status)
        enter_status(watched->load.view.header, watched->status);
    if (watch->clean_dropped && !watched->load.remark[0])
        snprintf(watched->load.remark, sizeof watched->load.remark,
                 "%llu more processes of the run have ended and left nothing in CLOSE_WAIT: they are not listed",
                 (unsigned long long)watch->clean_dropped);
    watch->clean_dropped = 0;
    if (watched->pid && watched->pid != watched->inner_pid) {
        /* Of another pid namespace: the number by which everybody here knows it. */
        watched->load.view.header->pid = watched->pid;
        watched->load.view.header->ppid = watched->ppid;
        watched->load.view.header->pid_ns = watch->pid_ns;
    }
    cw_render_add(render, &watched->load, watched->path, CW_RENDER_ENDED, NULL);
}

static void add_running(const struct cw_watch *watch, struct cw_render *render, const struct cw_watched *watched)
{
    struct cw_load load;
    struct cw_proc proc;
    char why[256];

    if (cw_proc_read(&proc, watched->pid) < 0 || proc.start_ticks != watched->start_ticks)
        return;
    if (cw_load_ledger(&load, watched->fd, true, why, sizeof why) < 0) {
        cw_say("the ledger of pid %d %s", (int)watched->pid, why);
        return;
    }
    cw_watch_adopt(watch, watched, &load);
    if (!watch->is_run && watched->look_ns) {
        cw_watch_enter(&load, watched);
        load.view.header->truth = CW_TRUTH_KERNEL;
        cw_sets_check(&load.view, &proc);
        cw_threads_states(&load, &proc, cw_watch_ms(watched, watched->look_ns));
        cw_render_add(render, &load, watched->path, CW_RENDER_CHECKED, &proc);
    } else {
        cw_render_add(render, &load, watched->path, CW_RENDER_RUNNING, &proc);
    }
}

/* The first process of a run first, then by age. */
static int compare_watched(const void *a, const void *b, void *ctx)
{
    const struct cw_watched *x = *(struct cw_watched *const *)a, *y = *(struct cw_watched *const *)b;
    const struct cw_watch *watch = ctx;
    bool root_x = watch->is_run && x->pid == watch->of.root, root_y = watch->is_run && y->pid == watch->of.root;

    if (root_x != root_y)
        return root_x ? -1 : 1;
    if (x->start_ticks != y->start_ticks)
        return x->start_ticks < y->start_ticks ? -1 : 1;
    return (x->inner_pid > y->inner_pid) - (x->inner_pid < y->inner_pid);
}

/* What the first one's report says was not written: lines of all of them. */
static void enter_dropped_lines(struct cw_watch *watch)
{
    uint64_t dropped = cw_watch_live_dropped(watch->live);

    for (size_t i = 0; dropped && i < watch->n_list; i++)
        if (watch->list[i]->kept) {
            watch->list[i]->load.view.header->counters[CW_COUNTER_lines_dropped] += dropped;
            return;
        }
}

struct cw_render *cw_watch_render(struct cw_watch *watch)
{
    struct cw_render *render;
    size_t n = 0;

    for (size_t i = 0; i < watch->n_list; i++)
        n += watch->list[i]->kept || !watch->list[i]->ended;
    if (!n)
        return NULL;
    render = cw_render_new(watch->of.request);
    if (!render) {
        cw_say("no memory for the report");
        return NULL;
    }
    qsort_r(watch->list, watch->n_list, sizeof(struct cw_watched *), compare_watched, watch);
    enter_dropped_lines(watch);
    for (size_t i = 0; i < watch->n_list; i++)
        if (watch->list[i]->ended)
            add_ended(watch, render, watch->list[i]);
        else
            add_running(watch, render, watch->list[i]);
    return render;
}
