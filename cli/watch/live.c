/* Live lines about the processes that are watched.
 *
 * What looks have found to have leaked is diagnosed, which takes far more than a look: all of the ledger is read. So that is
 * rationed by what it takes. A code path is counted over all processes. */
#include "cli/watch/parts.h"

#include "cli/clock.h"
#include "cli/process/sets.h"
#include "cli/process/threads.h"
#include "cli/symbols/symbols.h"
#include "core/diagnose.h"
#include "core/frames.h"
#include "core/live_text.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    LINES_PER_MINUTE = 10,
    SHARE = 256, /* of the time at most one part in so many is spent on diagnoses */
    PAUSE_MAX_MS = 60000,
    BATCH = 64 /* processes that are loaded at once */
};

#define MINUTE_NS UINT64_C(60000000000)

/* A code path that a line was due for: the count that makes the next one due. */
struct path {
    uint64_t key;
    uint64_t next;
};

struct cw_watch_live {
    struct path *paths;
    size_t n_paths, paths_room;
    uint64_t minute_begin_ns;
    unsigned minute_lines;
    uint64_t dropped;
    struct {
        struct cw_sock sock;
        int32_t fd;
        uint32_t after_ms;
    } closed[LINES_PER_MINUTE]; /* since the last lines */
    unsigned n_closed;
    uint64_t after_ns; /* no diagnoses before */
};

/* A process that is diagnosed now. */
struct patient {
    struct cw_watched *watched;
    struct cw_load load;
    struct cw_report report;
    void *scratch;
};

struct cw_watch_live *cw_watch_live_new(void)
{
    return calloc(1, sizeof(struct cw_watch_live));
}

void cw_watch_live_free(struct cw_watch_live *live)
{
    if (live)
        free(live->paths);
    free(live);
}

uint64_t cw_watch_live_dropped(struct cw_watch_live *live)
{
    uint64_t dropped = live->dropped;

    live->dropped = 0;
    return dropped;
}

/* --- writing --- */

static bool within_rate(struct cw_watch_live *live, uint64_t now_ns)
{
    if (!live->minute_begin_ns || now_ns - live->minute_begin_ns >= MINUTE_NS) {
        live->minute_begin_ns = now_ns;
        live->minute_lines = 0;
    }
    return live->minute_lines++ < LINES_PER_MINUTE;
}

/* To stderr if that is possible at once; a reader that is gone is no reason to die. */
static bool write_line(const char *text)
{
    char line[sizeof((struct cw_line *)0)->text + 16];
    struct pollfd ask = {.fd = STDERR_FILENO, .events = POLLOUT};
    sigset_t pipe_signal, old, pending;
    const struct timespec at_once = {0};
    int n = snprintf(line, sizeof line, "cwguard: %s\n", text);

    if (poll(&ask, 1, 0) != 1 || !(ask.revents & POLLOUT) || (ask.revents & (POLLERR | POLLHUP)))
        return false;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    sigprocmask(SIG_BLOCK, &pipe_signal, &old);
    sigpending(&pending);
    ssize_t written = write(STDERR_FILENO, line, (size_t)n);
    if (written < 0 && !sigismember(&pending, SIGPIPE))
        sigtimedwait(&pipe_signal, NULL, &at_once);
    sigprocmask(SIG_SETMASK, &old, NULL);
    return written == n;
}

static void say_leak(struct patient *patient, const struct cw_group *group, uint32_t count, uint32_t processes,
                     struct cw_watch_live *live)
{
    const struct cw_view *view = &patient->load.view;
    struct cw_symbols *symbols = cw_symbols_new(view, patient->watched->pid, NULL);
    struct cw_symbol room[CW_SYMBOLS_MAX];
    uint64_t frames[CW_STACK_MAX_FRAMES];
    struct cw_resolver resolver;
    struct cw_out out;
    struct cw_line line;

    if (symbols)
        resolver = cw_symbols_resolver(symbols);
    const struct cw_live_leak leak = {.view = view,
                                      .resolver = symbols ? &resolver : NULL,
                                      .symbols = room,
                                      .frames = frames,
                                      .count = count,
                                      .processes = processes,
                                      .grace_ms = patient->watched->grace_ms,
                                      .diagnosis = group->diagnosis,
                                      .open_stack = group->origin_stack,
                                      .deciding_stack = group->deciding_stack,
                                      .deciding_call = group->deciding_call,
                                      .pid = patient->watched->pid};
    cw_out_line(&out, &line);
    cw_live_text(&out, &leak);
    cw_out_flush(&out);
    live->dropped += !write_line(line.text);
    cw_symbols_free(symbols);
}

void cw_watch_live_closed(struct cw_watch *watch, const struct cw_watch_sock *sock, uint64_t now_ns)
{
    struct cw_watch_live *live = watch->live;
    uint64_t seen_ms = (now_ns - sock->since_ns) / 1000000, fin_ms = sock->sock.last_ack_recv_ms;

    if (live->n_closed == LINES_PER_MINUTE) {
        live->dropped++;
        return;
    }
    live->closed[live->n_closed].sock = sock->sock;
    live->closed[live->n_closed].fd = sock->fd;
    live->closed[live->n_closed++].after_ms = (uint32_t)(seen_ms > fin_ms ? seen_ms : fin_ms);
}

static void say_closed(struct cw_watch_live *live)
{
    struct cw_out out;
    struct cw_line line;

    for (unsigned i = 0; i < live->n_closed; i++) {
        const struct cw_sock *sock = &live->closed[i].sock;
        cw_out_line(&out, &line);
        cw_live_text_closed(&out, live->closed[i].after_ms, live->closed[i].fd, sock->family, sock->peer,
                            sock->peer_port);
        cw_out_flush(&out);
        live->dropped += !within_rate(live, cw_watch_now_ns()) || !write_line(line.text);
    }
    live->n_closed = 0;
}

/* --- code paths --- */

static uint64_t path_key(const struct cw_report *report, const struct cw_group *group)
{
    uint64_t key = cw_hash_bytes(group->stack_id, &group->diagnosis, sizeof group->diagnosis);
    return cw_hash_str(key, cw_view_string(report->view, group->label));
}

/* NULL without memory. */
static struct path *find_path(struct cw_watch_live *live, uint64_t key)
{
    for (size_t i = 0; i < live->n_paths; i++)
        if (live->paths[i].key == key)
            return &live->paths[i];
    if (live->n_paths == live->paths_room) {
        size_t room = live->paths_room ? 2 * live->paths_room : 32;
        struct path *more = realloc(live->paths, room * sizeof *more);
        if (!more)
            return NULL;
        live->paths = more;
        live->paths_room = room;
    }
    live->paths[live->n_paths] = (struct path){.key = key, .next = 1};
    return &live->paths[live->n_paths++];
}

static uint32_t count_path(const struct cw_watch *watch, uint64_t key, uint32_t *ret_processes)
{
    uint32_t count = 0;

    *ret_processes = 0;
    for (size_t i = 0; i < watch->n_list; i++)
        for (size_t k = 0; !watch->list[i]->ended && k < watch->list[i]->n_counts; k++)
            if (watch->list[i]->counts[k].path == key) {
                count += watch->list[i]->counts[k].count;
                ++*ret_processes;
            }
    return count;
}

static bool announces(const struct cw_group *group)
{
    return group->severity == CW_SEVERITY_ERROR;
}

/* How many each of its code paths has now. */
static void recount(struct patient *patient)
{
    struct cw_watched *watched = patient->watched;
    const struct cw_report *report = &patient->report;
    uint32_t n = report->n_groups[CW_REPORT_LEAKS];

    watched->n_counts = 0;
    if (n > watched->counts_room) {
        struct cw_watch_count *more = realloc(watched->counts, n * sizeof *more);
        if (!more)
            return;
        watched->counts = more;
        watched->counts_room = n;
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct cw_group *group = &report->groups[CW_REPORT_LEAKS][i];
        if (!announces(group))
            continue;
        uint64_t key = path_key(report, group);
        size_t at = 0;
        while (at < watched->n_counts && watched->counts[at].path != key)
            at++;
        if (at == watched->n_counts)
            watched->counts[watched->n_counts++] = (struct cw_watch_count){.path = key};
        watched->counts[at].count += group->count;
    }
}

static void announce(struct cw_watch *watch, struct patient *patient)
{
    struct cw_watch_live *live = watch->live;
    const struct cw_report *report = &patient->report;

    for (uint32_t i = 0; i < report->n_groups[CW_REPORT_LEAKS]; i++) {
        const struct cw_group *group = &report->groups[CW_REPORT_LEAKS][i];
        uint64_t key = path_key(report, group);
        struct path *path = announces(group) ? find_path(live, key) : NULL;
        uint32_t processes, count = path ? count_path(watch, key, &processes) : 0;
        if (!path || count < path->next)
            continue;
        while (path->next <= count)
            path->next *= 10;
        if (within_rate(live, cw_watch_now_ns()))
            say_leak(patient, group, count, processes, live);
        else
            live->dropped++;
    }
}

/* --- diagnosing --- */

static void mark_told(struct cw_watched *watched, int fd)
{
    struct cw_watch_sock *sock = cw_watch_sock_at(watched, fd);

    if (sock)
        sock->told = true;
}

/* Those that were counted, here or for another process that has them open too. */
static void mark_all_told(struct patient *patient)
{
    const struct cw_view *view = &patient->load.view;
    struct cw_watched *watched = patient->watched;
    uint32_t queued = 0;

    for (uint32_t i = 1; i < view->n_conns; i++) {
        const struct cw_conn *conn = &view->conns[i];
        bool counted = conn->flags & (CW_CONN_LEAKED | CW_CONN_ELSEWHERE);
        if (!(conn->flags & CW_CONN_IN_USE) || (conn->flags & CW_CONN_LATE) || conn->k_state != TCP_CLOSE_WAIT ||
            !counted)
            continue;
        if (conn->origin == CW_ORIGIN_QUEUED)
            queued++;
        else
            mark_told(watched, conn->fd);
    }
    watched->queued_told = queued;
    watched->fresh = 0; /* until the next look has counted anew */
}

static bool admit(struct cw_watch *watch, struct patient *patient, struct cw_watched *watched)
{
    struct cw_proc proc;
    char why[256];

    *patient = (struct patient){.watched = watched};
    if (cw_proc_read(&proc, watched->pid) < 0 || proc.start_ticks != watched->start_ticks ||
        cw_load_ledger(&patient->load, watched->fd, true, why, sizeof why) < 0)
        return false;
    cw_watch_adopt(watch, watched, &patient->load);
    cw_watch_enter(&patient->load, watched);
    cw_sets_check(&patient->load.view, &proc);
    cw_threads_states(&patient->load, &proc, cw_watch_ms(watched, watched->look_ns));
    return true;
}

static bool diagnose(struct patient *patient)
{
    const struct cw_report_input in = {.now_ms = cw_watch_ms(patient->watched, patient->watched->look_ns),
                                       .grace_ms = patient->watched->grace_ms,
                                       .late = CW_LATE_OFF};
    size_t bytes = cw_report_scratch_bytes(&patient->load.view);

    patient->scratch = malloc(bytes);
    return patient->scratch &&
           cw_report_build(&patient->report, &patient->load.view, &in, patient->scratch, bytes) == 0;
}

static void share(struct patient *patients, uint32_t n)
{
    struct cw_view *views[BATCH];

    for (uint32_t i = 0; i < n; i++)
        views[i] = &patients[i].load.view;
    size_t bytes = cw_document_share_bytes((const struct cw_view *const *)views, n);
    void *scratch = malloc(bytes + 1);
    if (scratch)
        cw_document_share(views, n, scratch, bytes);
    free(scratch);
}

static void treat(struct cw_watch *watch, struct patient *patients, uint32_t n)
{
    share(patients, n);
    for (uint32_t i = 0; i < n; i++)
        if (diagnose(&patients[i])) {
            recount(&patients[i]);
            mark_all_told(&patients[i]);
        } else {
            patients[i].report.n_groups[CW_REPORT_LEAKS] = 0;
        }
    for (uint32_t i = 0; i < n; i++)
        announce(watch, &patients[i]);
    for (uint32_t i = 0; i < n; i++) {
        free(patients[i].scratch);
        cw_load_free(&patients[i].load);
    }
}

void cw_watch_announce(struct cw_watch *watch)
{
    struct cw_watch_live *live = watch->live;
    struct patient *patients = NULL;
    uint32_t n = 0;

    say_closed(live);
    for (size_t i = 0; i < watch->n_list; i++)
        n += !watch->list[i]->ended && watch->list[i]->fresh;
    if (!n || cw_watch_now_ns() < live->after_ns)
        return;
    uint64_t begin_ns = cw_clock_ns(CLOCK_THREAD_CPUTIME_ID);
    patients = calloc(n < BATCH ? n : BATCH, sizeof *patients);
    n = 0;
    for (size_t i = 0; patients && i < watch->n_list && n < BATCH; i++)
        if (!watch->list[i]->ended && watch->list[i]->fresh)
            n += admit(watch, &patients[n], watch->list[i]);
    if (n)
        treat(watch, patients, n);
    free(patients);
    uint64_t pause_ns = (cw_clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin_ns) * SHARE,
             max_ns = PAUSE_MAX_MS * UINT64_C(1000000);
    live->after_ns = cw_watch_now_ns() + (pause_ns < max_ns ? pause_ns : max_ns);
}
