/* The end of the process. */
#define _GNU_SOURCE
#include "preload/end.h"

#include "core/ages.h"
#include "core/leak.h"
#include "core/names.h"
#include "core/out.h"
#include "preload/fork.h"
#include "preload/interrupted.h"
#include "preload/kernel.h"
#include "preload/ledger_file.h"
#include "preload/ledger_parts.h"
#include "preload/live.h"
#include "preload/own_stack.h"
#include "preload/probe.h"
#include "preload/record.h"
#include "preload/reporter.h"
#include "preload/signals.h"
#include "preload/stack.h"
#include "preload/start.h"
#include "preload/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static void at_exit(int status, void *unused)
{
    (void)unused;
    cw_end(CW_END_EXIT, status);
}

static int quick_status;

static void at_quick(void)
{
    cw_end(CW_END_EXIT, CW_GET(quick_status));
}

void cw_end_quick_status(int status)
{
    CW_SET(quick_status, status);
}

/* Handlers run in the reverse order of registration, and libc registers the loader's _dl_fini, which runs every
 * library's destructors, only after preloaded constructors have run: ours comes last of all. */
void cw_end_init(void)
{
    /* Neither fails this early: libc has static room for the first 32. */
    (void)on_exit(at_exit, NULL);
    (void)at_quick_exit(at_quick);
}

/* How long ago the peer's FIN came, as near as can be told. Ages are compared, not times: the difference of two times has
 * another sign after 24 days. */
static uint32_t fin_age_of(const struct cw_conn *conn, uint32_t now_ms)
{
    uint32_t seen_ms = CW_GET(conn->fin_ms), kernel_age = cw_leak_age_ms(conn, now_ms);
    return seen_ms && cw_age(now_ms, seen_ms) > kernel_age ? cw_age(now_ms, seen_ms) : kernel_age;
}

struct findings {
    uint32_t close_wait, leaked, late, failed;
    uint32_t
        orderly; /* of close_wait: clients that closed only because the end had begun; no grace period counts them */
};

/* FINs that came after the end had begun, or after the last listener was closed, are the orderly end of clients. Not so for
 * what came over fork: a child closes the listeners that it does not need, and says nothing by that of its copies. */
static bool is_settling(const struct cw_conn *conn, uint32_t now_ms)
{
    const struct cw_ledger *header = CW_P->view.header;
    /* It may be that nothing tells when the FIN came (a filter; no sock_diag, of a socket that has no fd): then not
     * the moment of our question either. */
    bool dated = cw_kernel_may(CW_MAY_GETSOCKOPT) && (CW_GET(conn->k_last_ack_recv) || CW_GET(conn->k_last_data_sent));
    if (!dated && (CW_GET(header->flags) & CW_HEADER_NO_NETLINK))
        return false;
    uint32_t fin_age = fin_age_of(conn, now_ms), closed_ms = CW_GET(header->listeners_closed_ms);
    if (CW_GET(conn->origin) == CW_ORIGIN_FORKED)
        closed_ms = 0;
    return fin_age < cw_age(now_ms, CW_GET(header->end_ms)) || (closed_ms && fin_age < cw_age(now_ms, closed_ms));
}

static struct findings settle(uint32_t now_ms)
{
    struct findings found = {0};
    uint32_t used = cw_table_used(&cw_table, CW_SECTION_CONNS);
    for (uint32_t i = 1; i < used; i++) {
        struct cw_conn *conn = &CW_P->view.conns[i];
        uint32_t flags = CW_GET(conn->flags);
        uint8_t state = CW_GET(conn->k_state);
        if (!(flags & CW_CONN_IN_USE))
            continue;
        if (flags & CW_CONN_LATE) {
            found.late += !(flags & CW_CONN_LISTENER); /* kept only for what waited in its queue */
        } else if (state == TCP_CLOSE) {
            found.failed += cw_leak_failed(conn, now_ms, cw_static.options.exit_grace_ms);
        } else if (state == TCP_CLOSE_WAIT) {
            found.close_wait++;
            if (is_settling(conn, now_ms)) {
                found.orderly++;
                CW_OR(conn->flags, CW_CONN_SETTLING);
                CW_AND(conn->flags, ~(uint32_t)CW_CONN_LEAKED);
            } else if (flags & CW_CONN_LEAKED) {
                found.leaked++;
            }
        }
    }
    return found;
}

static bool something_found(const struct findings *found)
{
    return found->leaked || found->failed || (found->late && cw_static.options.late != CW_LATE_OFF);
}

/* Isolated from the program's terminal settings: TCGETS says whether it is one. */
static bool is_terminal(int fd)
{
    struct termios unused;
    return fd >= 0 && cw_sys(SYS_ioctl, fd, TCGETS, &unused) == 0;
}

/* The one line without a leak. */
static void say_clean(const struct findings *found)
{
    struct cw_out out;
    struct cw_line line;
    if (!cw_kernel_may(CW_MAY_POLL | CW_MAY_SIGNALS) ||
        (cw_static.options.verbosity == 0 && !is_terminal(cw_stderr_fd())))
        return;
    cw_out_line(&out, &line);
    cw_out_str(&out, "no sockets left in CLOSE_WAIT (");
    uint64_t connections = CW_GET(CW_P->view.header->counters[CW_COUNTER_connections]);
    cw_out_count(&out, connections);
    cw_out_str(&out, connections == 1 ? " TCP connection" : " TCP connections");
    if (found->close_wait) {
        cw_out_str(&out, ", ");
        cw_out_count(&out, found->close_wait);
        cw_out_str(&out, " settling");
        if (cw_static.options.exit_grace_ms && found->orderly < found->close_wait) {
            cw_out_str(&out, " for less than ");
            cw_out_age(&out, cw_static.options.exit_grace_ms);
            cw_out_str(&out, ": exit_grace=0 counts them");
        }
    }
    cw_out_char(&out, ')');
    cw_out_flush(&out);
    cw_live_say(line.text);
}

/* A forked child that never touched a socket: whether one that it inherited is in CLOSE_WAIT now. */
static bool child_has_something(void)
{
    if (!cw_fork_pending() || !cw_kernel_may(CW_MAY_POLL | CW_MAY_GETSOCKOPT))
        return false;
    for (uint32_t fd = 0, n = cw_fork_slots(); fd < n; fd++) {
        struct pollfd ask = {.fd = (int)fd, .events = POLLRDHUP};
        struct cw_sock sock;
        if (cw_fork_knows((int)fd) && cw_sys(SYS_poll, &ask, 1, 0) == 1 && (ask.revents & POLLRDHUP) &&
            cw_kernel_sock((int)fd, &sock) && sock.state == TCP_CLOSE_WAIT)
            return true;
    }
    return false;
}

static bool end_claimed(void)
{
    if (cw_static.disabled || cw_vforked())
        return false;
    if (!CW_GET(CW_P->live) && !(child_has_something() && cw_start()))
        return false;
    bool may_ask = !CW_GET(cw_static.seccomp);
    if (may_ask && (pid_t)cw_sys(SYS_getpid) != CW_P->pid)
        return false;
    uint32_t nobody = 0, tid = may_ask ? (uint32_t)cw_sys(SYS_gettid) : 1;
    return __atomic_compare_exchange_n(&CW_P->ending, &nobody, tid, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* The program has installed a seccomp filter: not a system call of ours from here on. The ledger's file stays, with the
 * state of the last sweep, for `cwguard report --dead`; one in memory only is rendered with plain writes. */
static void end_under_filter(const struct findings *found)
{
    if (something_found(found) && !CW_P->path_known && cw_static.start_fd2_known)
        cw_reporter_run(2, false);
}

struct end {
    enum cw_end_how how;
    int status;
    const struct cw_interrupted *at; /* of this thread, NULL unless a signal has interrupted it */
};

/* Gets it out, and the ledger away. failed: the kernel could not be asked; then whoever can, may look at the ledger. */
static void report(const struct findings *found, bool something, bool failed)
{
    struct cw_ledger *header = CW_P->view.header;
    int out_fd = cw_stderr_fd();
    bool needed = something || (failed && found->close_wait);
    if (cw_left_to_run()) {
        /* It takes the file in and removes it; if it is no more, nobody else need look at one without findings. */
        if (!needed && cw_run_is_gone())
            cw_ledger_remove();
        else if (!needed)
            CW_OR(header->flags, CW_HEADER_REPORTED);
    } else if (!needed) {
        if (!failed)
            say_clean(found);
        cw_ledger_remove();
    } else if (something && (out_fd >= 0 || cw_static.options.log_path[0])) {
        if (cw_reporter_run(out_fd, cw_kernel_may(CW_MAY_CLONE))) {
            CW_OR(header->flags, CW_HEADER_REPORTED);
            cw_ledger_remove();
        }
    }
}

static void do_end(void *arg)
{
    const struct end *end = arg;
    if (!end_claimed())
        return;
    int saved = errno;
    struct cw_ledger *header = CW_P->view.header;
    CW_SET(header->end_ms, cw_now_ms());
    CW_SET(header->end_status, end->status);
    CW_SET(header->end_thread, cw_thread_self(CW_GET(header->end_ms)));
    CW_SET(header->ended, end->how == CW_END_SIGNAL ? CW_ENDED_SIGNAL : CW_ENDED_EXIT);
    /* Under a filter that was there at start, what the process has done since may show that a child is survived. */
    if (cw_static.may != CW_MAY_ALL && cw_kernel_may(0))
        cw_static.may |= (uint32_t)cw_probe_again(CW_GET(header->counters[CW_COUNTER_forks]) > 0 ||
                                                  cw_table_used(&cw_table, CW_SECTION_THREADS) > 2);
    /* A program that has used up its fds is worth a report above all: the reporter, which has its own, asks in its place. */
    bool no_fds = cw_kernel_no_fds();
    if (no_fds)
        CW_OR(header->flags, CW_HEADER_NO_FDS);
    int failed = cw_kernel_check_all(cw_static.options.exit_grace_ms, end->at);
    uint32_t now_ms = cw_now_ms();
    struct findings found = settle(now_ms);
    if (CW_GET(cw_static.seccomp)) {
        end_under_filter(&found);
        CW_SET(CW_P->ended, 1);
        errno = saved;
        return;
    }
    report(&found, something_found(&found) || no_fds, failed != 0);
    CW_SET(CW_P->ended, 1);
    errno = saved;
}

/* What the end may need of a stack. */
#define END_STACK_BYTES 65536u

static bool end_possible(void)
{
    return !cw_static.disabled && !cw_vforked() && !CW_GET(CW_P->ending) && (CW_GET(CW_P->live) || cw_fork_pending());
}

void cw_end(enum cw_end_how how, int status)
{
    struct end end = {how, status, NULL};
    if (!end_possible())
        return;
    /* Only where it must be on a stack of our own: a collector that scans this thread's stack meanwhile should find us on it. */
    if (cw_stack_left(END_STACK_BYTES) < END_STACK_BYTES)
        cw_own_stack_call(do_end, &end);
    else
        do_end(&end);
}

void cw_end_signal(int sig, const void *ucontext)
{
    struct cw_interrupted at;
    struct end end = {CW_END_SIGNAL, sig, &at};
    if (!end_possible())
        return;
    cw_interrupted_take(ucontext, &at);
    /* Always: we may be on a signal's stack, or on whatever the program was on, and do not come back. */
    cw_own_stack_call(do_end, &end);
}

/* Whether the next program gets a socket of this one. */
static bool sockets_survive(void)
{
    uint32_t n = CW_GET(CW_P->view.header->sections[CW_SECTION_SLOTS].used), ready = CW_GET(CW_P->slots_ready);
    if (!CW_P->path_known || !cw_kernel_may(CW_MAY_FILES))
        return false;
    for (uint32_t fd = 0; fd < n && fd < ready; fd++) {
        if (CW_SLOT_KIND(CW_GET(CW_P->view.slots[fd])) != CW_SLOT_CONN)
            continue;
        long flags = cw_sys(SYS_fcntl, fd, F_GETFD, 0L);
        if (flags >= 0 && !(flags & FD_CLOEXEC))
            return true;
    }
    return false;
}

void cw_end_exec_begin(const char *path)
{
    if (!CW_GET(CW_P->live) || cw_vforked())
        return;
    struct cw_ledger *header = CW_P->view.header;
    bool fails = path && cw_kernel_may(CW_MAY_FILES) && cw_sys(SYS_faccessat, AT_FDCWD, path, X_OK) != 0;
    if (!fails && ((cw_left_to_run() && !cw_run_is_gone()) || sockets_survive()))
        CW_OR(header->flags, CW_HEADER_REPORTED); /* nobody need ask for it by itself */
    else if (!fails)
        cw_ledger_remove();
    CW_SET(header->end_ms, cw_now_ms());
    CW_SET(header->ended, CW_ENDED_EXEC);
}

void cw_end_exec_failed(void)
{
    if (!CW_GET(CW_P->live) || cw_vforked())
        return;
    struct cw_ledger *header = CW_P->view.header;
    CW_AND(header->flags, ~(uint32_t)CW_HEADER_REPORTED);
    CW_SET(header->ended, CW_ENDED_RUNNING);
    CW_SET(header->end_ms, 0);
}

bool cw_end_filter_before(void)
{
    bool before = CW_GET(cw_static.seccomp);
    if (before || cw_vforked())
        return before;
    if (CW_GET(CW_P->live))
        cw_signals_remove();
    CW_SET(cw_static.seccomp, 1);
    return false;
}

void cw_end_filter_after(bool before, bool installed)
{
    if (before || installed)
        return;
    CW_SET(cw_static.seccomp, 0);
    if (CW_GET(CW_P->live) && !cw_vforked())
        cw_signals_install();
}
