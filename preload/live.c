/* Live lines on stderr. */
#define _GNU_SOURCE
#include "preload/live.h"

#include "core/diagnose.h"
#include "core/frames.h"
#include "core/live_text.h"
#include "core/out.h"
#include "preload/clock.h"
#include "preload/kernel.h"
#include "preload/probe.h"
#include "preload/record.h"
#include "preload/self_report.h"
#include "preload/sys.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#define LINES_PER_MINUTE 10u
#define PATHS 1024u
#define LINE_BYTES 1024u
#define WAITING 4096u /* sockets; as many as a slice of a sweep may find */
#define SETS_AT_ONCE 64u
#define SETS_SHARE 256u /* of the time at most one part in so many is spent on asking sets */
#define SETS_PAUSE_MAX_MS 60000u

/* Leaked connections per code path (diagnosis, both stacks). Open addressing; a full table announces nothing new. */
static struct {
    uint64_t key;
    uint32_t count;
    uint32_t epoch;
} paths[PATHS];

static uint32_t minute_begin_ms, minute_lines;

int cw_stderr_fd(void)
{
    struct stat st;
    if (cw_sys(SYS_fstat, 2, &st) != 0)
        return -1;
    if (S_ISCHR(st.st_mode) && st.st_rdev == ((1 << 8) | 3)) /* /dev/null */
        return -1;
    bool same =
        cw_static.start_fd2_known && st.st_dev == cw_static.start_fd2_dev && st.st_ino == cw_static.start_fd2_ino;
    return same || CW_GET(cw_static.fd2_replaced) ? 2 : -1;
}

static bool wanted(void)
{
    return cw_static.options.live && !cw_left_to_run();
}

/* Whether this minute has room for one more line. */
static bool within_rate(uint32_t now_ms)
{
    uint32_t begin = CW_GET(minute_begin_ms);
    if (now_ms - begin >= 60000 || begin == 0) {
        CW_SET(minute_begin_ms, now_ms);
        CW_SET(minute_lines, 0);
    }
    return CW_ADD(minute_lines, 1) < LINES_PER_MINUTE;
}

/* A write raises SIGPIPE in this thread where a pipe's reader is gone, SIGXFSZ where a file has reached RLIMIT_FSIZE: blocked
 * meanwhile, and taken away if it was not pending before. SIGTTOU, which would stop a background job (stty tostop), does not
 * come at all while it is blocked. */
static long write_quietly(int fd, const char *text, size_t n)
{
    const uint64_t pipe_signal = UINT64_C(1) << (SIGPIPE - 1), size_signal = UINT64_C(1) << (SIGXFSZ - 1);
    uint64_t blocked = pipe_signal | size_signal | UINT64_C(1) << (SIGTTOU - 1), old = 0, pending = 0;
    struct timespec now = {0};
    cw_sys(SYS_rt_sigprocmask, SIG_BLOCK, &blocked, &old, 8);
    cw_sys(SYS_rt_sigpending, &pending, 8);
    long written = cw_sys(SYS_write, fd, text, n);
    uint64_t raised = (written == -EPIPE ? pipe_signal : written == -EFBIG ? size_signal : 0) & ~pending;
    if (raised)
        cw_sys(SYS_rt_sigtimedwait, &raised, 0, &now, 8);
    cw_sys(SYS_rt_sigprocmask, SIG_SETMASK, &old, 0, 8);
    return written;
}

bool cw_live_say(const char *text)
{
    char line[LINE_BYTES];
    static const char prefix[] = "cwguard: ";
    int fd = cw_kernel_may(CW_MAY_POLL | CW_MAY_SIGNALS) ? cw_stderr_fd() : -1;
    struct pollfd ask = {.fd = fd, .events = POLLOUT};
    if (fd < 0 || cw_sys(SYS_poll, &ask, 1, 0) != 1 || !(ask.revents & POLLOUT) || (ask.revents & (POLLERR | POLLHUP)))
        return false;
    size_t n = strlen(text);
    if (n > sizeof line - sizeof prefix - 1)
        n = sizeof line - sizeof prefix - 1;
    memcpy(line, prefix, sizeof prefix - 1);
    memcpy(line + sizeof prefix - 1, text, n);
    line[sizeof prefix - 1 + n] = '\n';
    return write_quietly(fd, line, sizeof prefix + n) > 0;
}

/* What making a line takes: too much for a small thread's stack, so it is mapped for the moment. */
struct work {
    struct cw_out out;
    struct cw_line line;
    struct cw_resolver resolver;
    struct cw_symbol symbols[CW_SYMBOLS_MAX];
    uint64_t frames[CW_STACK_MAX_FRAMES];
    _Alignas(16) unsigned char names[CW_SELF_SYMBOLS_BYTES];
};

static struct work *begin_line(void)
{
    long memory = cw_sys(SYS_mmap, 0, sizeof(struct work), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory < 0 && memory > -4096)
        return NULL;
    struct work *work = (struct work *)memory;
    cw_self_symbols(&work->resolver, work->names);
    cw_out_line(&work->out, &work->line);
    return work;
}

static void end_line(struct work *work)
{
    cw_out_flush(&work->out);
    if (!cw_live_say(work->line.text))
        cw_count(CW_COUNTER_lines_dropped);
    cw_sys(SYS_munmap, work, sizeof *work);
}

static uint64_t path_key(const struct cw_conn *conn, enum cw_diagnosis_id diagnosis, uint32_t deciding)
{
    uint64_t key = cw_hash_bytes(CW_HASH_START, &diagnosis, sizeof diagnosis);
    key = cw_hash_bytes(key, &conn->open_stack, sizeof conn->open_stack);
    key = cw_hash_bytes(key, &deciding, sizeof deciding);
    return key ? key : 1;
}

/* Raises the path's count: the new one, or 0 when the table is full. */
static uint32_t path_raise(uint64_t key)
{
    uint32_t epoch = CW_GET(CW_P->epoch);
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t at = (uint32_t)(key + i) % PATHS;
        uint64_t old = CW_GET(paths[at].key);
        if (old != key && old != 0 && CW_GET(paths[at].epoch) == epoch)
            continue;
        if (old != key || CW_GET(paths[at].epoch) != epoch) {
            CW_SET(paths[at].key, key);
            CW_SET(paths[at].epoch, epoch);
            CW_SET(paths[at].count, 0);
        }
        return CW_ADD(paths[at].count, 1) + 1;
    }
    return 0;
}

static bool power_of_ten(uint32_t n)
{
    while (n >= 10 && n % 10 == 0)
        n /= 10;
    return n == 1;
}

static void say_leak(const struct cw_conn *conn, enum cw_diagnosis_id diagnosis, const struct cw_decision *decision,
                     uint32_t count)
{
    struct work *work = begin_line();
    if (!work)
        return;
    const struct cw_live_leak leak = {.view = &CW_P->view,
                                      .resolver = &work->resolver,
                                      .symbols = work->symbols,
                                      .frames = work->frames,
                                      .count = count,
                                      .processes = 1,
                                      .grace_ms = cw_static.options.grace_ms,
                                      .diagnosis = diagnosis,
                                      .open_stack = conn->open_stack,
                                      .deciding_stack = decision->stack,
                                      .deciding_call = decision->call,
                                      .pid = CW_P->pid};
    cw_live_text(&work->out, &leak);
    end_line(work);
}

/* --- sockets that have leaked, and what they have leaked by --- */

/* Diagnosed together at the end of a slice of a sweep: asking the kernel what an epoll set holds takes as long for
 * one socket as for all of it. One thread at a time, as sweeps are. */
static struct {
    uint32_t index;
    uint16_t generation;
} waiting[WAITING];
static uint32_t n_waiting, waiting_epoch, sets_asked_ms, sets_pause_ms;

void cw_live_leaked(const struct cw_conn *conn)
{
    if (!wanted())
        return;
    if (CW_GET(waiting_epoch) != CW_GET(CW_P->epoch)) {
        CW_SET(waiting_epoch, CW_GET(CW_P->epoch));
        CW_SET(n_waiting, 0);
    }
    uint32_t n = CW_GET(n_waiting);
    if (n >= WAITING) {
        cw_count(CW_COUNTER_lines_dropped);
        return;
    }
    CW_SET(waiting[n].index, (uint32_t)(conn - CW_P->view.conns));
    CW_SET(waiting[n].generation, CW_GET(conn->generation));
    CW_SET(n_waiting, n + 1);
}

/* NULL: it was closed, or used again, before anything could be said of it. */
static struct cw_conn *still_leaked(uint32_t at)
{
    const uint32_t of = CW_CONN_IN_USE | CW_CONN_LEAKED | CW_CONN_LATE;
    struct cw_conn *conn = &CW_P->view.conns[CW_GET(waiting[at].index)];
    bool same = CW_GET(conn->generation) == CW_GET(waiting[at].generation);
    return same && (CW_GET(conn->flags) & of) == (CW_CONN_IN_USE | CW_CONN_LEAKED) ? conn : NULL;
}

/* Whether a one-shot registration, spent or not, may make a pause in reading of what looks like an event ignored: no
 * hook sees which socket an event was for. */
static bool needs_its_set(const struct cw_conn *conn)
{
    return (CW_GET(conn->flags) & (CW_CONN_WATCHED | CW_CONN_EOF_SEEN)) == CW_CONN_WATCHED &&
           CW_GET(conn->in_first_ms) && (CW_GET(conn->epoll_mask) & EPOLLONESHOT) && CW_GET(conn->epoll_set);
}

struct asked {
    uint16_t sets[SETS_AT_ONCE];
    unsigned n;
};

static bool was_asked(const struct asked *asked, uint16_t set)
{
    for (unsigned i = 0; i < asked->n; i++)
        if (asked->sets[i] == set)
            return true;
    return false;
}

/* Asks the kernel what the sets of those sockets hold, SETS_AT_ONCE of them; none as long as the last time takes too
 * large a share of the time since. */
static void ask_sets(struct asked *ret, uint32_t now_ms)
{
    ret->n = 0;
    if (now_ms - CW_GET(sets_asked_ms) < CW_GET(sets_pause_ms))
        return;
    uint64_t begin_ns = cw_clock_ns(CLOCK_MONOTONIC);
    for (uint32_t i = 0, n = CW_GET(n_waiting); i < n && ret->n < SETS_AT_ONCE; i++) {
        const struct cw_conn *conn = still_leaked(i);
        uint16_t set = conn && needs_its_set(conn) ? CW_GET(conn->epoll_set) : 0;
        if (!set || was_asked(ret, set))
            continue;
        ret->sets[ret->n++] = set;
        cw_kernel_check_set(set);
    }
    if (!ret->n)
        return;
    uint64_t pause_ms = (cw_clock_ns(CLOCK_MONOTONIC) - begin_ns) * SETS_SHARE / 1000000;
    CW_SET(sets_asked_ms, now_ms);
    CW_SET(sets_pause_ms, pause_ms < SETS_PAUSE_MAX_MS ? (uint32_t)pause_ms : SETS_PAUSE_MAX_MS);
}

static bool is_set_known(uint16_t index)
{
    const struct cw_set *set = cw_view_set(&CW_P->view, index);
    return set && !CW_GET(set->k_errno);
}

/* Recv-Q and Send-Q, where the two counts tell them: the FIN is not counted, so that none unread may mean 0 or 1
 * (net/ipv4/tcp.c, tcp_inq). */
static void ask_queues(struct cw_conn *conn)
{
    int fd = CW_GET(conn->fd), unread = 0, unsent = 0;
    if (!cw_kernel_may(CW_MAY_POLL) || cw_sys(SYS_ioctl, fd, SIOCINQ, &unread) != 0 || unread <= 0 ||
        cw_sys(SYS_ioctl, fd, SIOCOUTQ, &unsent) != 0)
        return;
    CW_SET(conn->k_recv_q, (uint32_t)unread + 1);
    CW_SET(conn->k_send_q, (uint32_t)unsent);
    CW_SET(conn->k_flags, (uint8_t)(CW_GET(conn->k_flags) | CW_K_QUEUES));
}

static void announce(struct cw_conn *conn, uint32_t now_ms)
{
    struct cw_facts facts = {
        .view = &CW_P->view, .conn = conn, .now_ms = now_ms, .grace_ms = cw_static.options.grace_ms};
    ask_queues(conn);
    enum cw_diagnosis_id diagnosis = cw_diagnose(&facts);
    struct cw_decision decision = cw_decide(diagnosis, &facts);
    if (cw_diagnoses[diagnosis].severity != CW_SEVERITY_ERROR)
        return;
    cw_count(CW_COUNTER_reports);
    uint32_t count = path_raise(path_key(conn, diagnosis, decision.stack));
    CW_OR(conn->flags, CW_CONN_ANNOUNCED);
    if (!power_of_ten(count))
        return;
    if (within_rate(now_ms))
        say_leak(conn, diagnosis, &decision, count);
    else
        cw_count(CW_COUNTER_lines_dropped);
}

void cw_live_announce(uint32_t now_ms)
{
    uint32_t n = CW_GET(n_waiting), kept = 0;
    struct asked asked;
    if (!n || CW_GET(waiting_epoch) != CW_GET(CW_P->epoch))
        return;
    ask_sets(&asked, now_ms);
    for (uint32_t i = 0; i < n; i++) {
        struct cw_conn *conn = still_leaked(i);
        if (!conn)
            continue;
        uint16_t set = needs_its_set(conn) ? CW_GET(conn->epoll_set) : 0;
        if (set && !was_asked(&asked, set))
            waiting[kept++] = waiting[i]; /* the next time */
        else if (set && !is_set_known(set))
            cw_count(CW_COUNTER_lines_dropped);
        else
            announce(conn, now_ms);
    }
    CW_SET(n_waiting, kept);
}

void cw_live_closed(const struct cw_conn *conn)
{
    uint32_t now_ms = cw_now_ms();
    if (!wanted() || CW_GET(CW_P->ending))
        return;
    if (!within_rate(now_ms)) {
        cw_count(CW_COUNTER_lines_dropped);
        return;
    }
    struct work *work = begin_line();
    if (!work)
        return;
    cw_live_text_closed(&work->out, now_ms - CW_GET(conn->fin_ms), CW_GET(conn->fd), conn->family, conn->peer,
                        conn->peer_port);
    end_line(work);
}
