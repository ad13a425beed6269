#include "cli/selftest/selftest.h"

#include "cli/cli.h"
#include "cli/ledger/ledger_life.h"
#include "cli/ledger/load.h"
#include "cli/process/proc.h"
#include "cli/process/snapshot.h"
#include "cli/process/sock_dump.h"
#include "cli/process/tasks.h"
#include "cli/selftest/child.h"
#include "cli/selftest/process.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SOCKETS ((unsigned)CW_SELFTEST_SOCKETS)

/* All that the checks look at: gathered while the child runs, then after its end. */
struct facts {
    const char *library, *missing;
    struct cw_selftest_process child;
    struct cw_proc proc;
    /* by the kernel: the child's sockets in CLOSE_WAIT, and the fds it has for them */
    struct cw_sock sockets[SOCKETS];
    int fds[SOCKETS];
    unsigned in_close_wait;
    int netlink_errno;
    struct cw_found ledger; /* what it has mapped; ledger_errno: or why not */
    int ledger_errno;
    struct cw_load load;
    bool loaded;
    char load_why[256];
    mode_t ledger_mode;
    int ptrace_errno;
    bool ptrace_right; /* the place agrees with what /proc says of the thread */
    char *err;         /* what it and the reporter wrote in the end */
    const char *report;
    bool ledger_kept;
};

/* --- gathering --- */

static int ask_kernel(struct facts *facts, char *why, size_t why_bytes)
{
    struct cw_sock_dump dump = {0};
    struct cw_proc_socket *open = NULL;
    size_t count = 0;
    int error = cw_sock_dump(&dump, facts->child.pid, 1u << TCP_CLOSE_WAIT);

    facts->netlink_errno = -dump.refused;
    if (!error)
        error = cw_proc_sockets(facts->child.pid, &open, &count);
    if (error)
        snprintf(why, why_bytes, "the kernel does not say which sockets are in CLOSE_WAIT: %s", strerror(-error));
    for (size_t i = 0; i < dump.count && !error; i++)
        for (size_t k = 0; k < count; k++)
            if (dump.socks[i].local_port == facts->child.port && open[k].inode == dump.socks[i].inode) {
                if (facts->in_close_wait < SOCKETS) {
                    facts->fds[facts->in_close_wait] = open[k].fd;
                    facts->sockets[facts->in_close_wait] = dump.socks[i];
                }
                facts->in_close_wait++;
            }
    cw_sock_dump_free(&dump);
    free(open);
    if (!error && facts->in_close_wait != SOCKETS) {
        snprintf(why, why_bytes, "the kernel shows %u sockets of the child in CLOSE_WAIT instead of %u",
                 facts->in_close_wait, SOCKETS);
        error = -EPROTO;
    }
    return error;
}

static void look_at_ledger(struct facts *facts)
{
    struct stat status;

    facts->ledger_errno = -cw_find_mapped(&facts->proc, &facts->ledger);
    if (facts->ledger_errno)
        return;
    facts->ledger_mode = fstat(facts->ledger.fd, &status) == 0 ? status.st_mode & 07777 : 0;
    facts->loaded = cw_load_ledger(&facts->load, facts->ledger.fd, false, facts->load_why, sizeof facts->load_why) == 0;
}

/* Once it waits for its end, so that the kernel can say where: it has nothing left to do but that. */
static int wait_until_asleep(pid_t pid, struct cw_task_call *ret)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    int error = cw_task_call(pid, pid, ret);

    for (int i = 0; i < 500 && !error && ret->nr != SYS_poll && ret->nr != SYS_restart_syscall; i++) {
        nanosleep(&pause, NULL);
        error = cw_task_call(pid, pid, ret);
    }
    return error;
}

static void look_at_thread(struct facts *facts)
{
    struct cw_snapshot *snapshot = cw_snapshot_new();
    pid_t pid = facts->child.pid;
    struct cw_task_call call;

    facts->ptrace_errno = snapshot ? -wait_until_asleep(pid, &call) : ENOMEM;
    if (!facts->ptrace_errno)
        facts->ptrace_errno = -cw_snapshot_take(snapshot, pid, pid);
    if (!facts->ptrace_errno)
        facts->ptrace_right =
            snapshot->registers[CW_SNAPSHOT_PC] == call.pc && snapshot->registers[CW_SNAPSHOT_SP] == call.sp;
    cw_snapshot_free(snapshot);
}

static void end_child(struct facts *facts)
{
    struct stat opened, there;

    facts->err = cw_selftest_end(&facts->child);
    facts->report = facts->err ? strchr(facts->err, '{') : NULL;
    if (facts->ledger_errno)
        return;
    facts->ledger_kept = fstat(facts->ledger.fd, &opened) == 0 && stat(facts->ledger.path, &there) == 0 &&
                         opened.st_ino == there.st_ino && opened.st_dev == there.st_dev;
    if (facts->ledger_kept) /* nobody is to be told of a test later on */
        cw_ledger_unlink(&facts->ledger);
}

/* --- judging: whether all is well; what was seen in *seen --- */

#define SEEN(...) snprintf(seen, seen_bytes, __VA_ARGS__)

/* What the loader or the library has complained of, "" if of nothing. */
static const char *complaint(const struct facts *facts)
{
    static char line[256];

    snprintf(line, sizeof line, "%.*s", facts->err ? (int)strcspn(facts->err, "\n{") : 0, facts->err ? facts->err : "");
    return line;
}

static bool names_socket(const char *report, uint32_t inode)
{
    char member[48];
    snprintf(member, sizeof member, "\"inode\": %u,", inode);
    return strstr(report, member) != NULL;
}

static unsigned sockets_in_report(const struct facts *facts)
{
    unsigned n = 0;
    for (unsigned i = 0; i < SOCKETS && facts->report; i++)
        n += names_socket(facts->report, facts->sockets[i].inode);
    return n;
}

static unsigned sockets_in_ledger(const struct facts *facts)
{
    unsigned n = 0;

    for (uint32_t c = 1; facts->loaded && c < facts->load.view.n_conns; c++) {
        const struct cw_conn *conn = &facts->load.view.conns[c];
        for (unsigned i = 0; i < SOCKETS; i++)
            n += (conn->flags & CW_CONN_IN_USE) && conn->fd == facts->fds[i] &&
                 conn->peer_port == facts->sockets[i].peer_port && conn->origin == CW_ORIGIN_ACCEPT &&
                 conn->open_stack && (conn->flags & CW_CONN_EOF_CONSUMED);
    }
    return n;
}

static bool check_hooks(struct facts *facts, char *seen, size_t seen_bytes)
{
    unsigned n = facts->loaded ? sockets_in_ledger(facts) : sockets_in_report(facts);

    if (!*facts->library) {
        SEEN("%s", facts->missing);
        return false;
    }
    if (!facts->loaded && facts->report && !strstr(facts->report, "\"diagnosis\": \"eof-not-closed\""))
        n = 0;
    if (n != SOCKETS) {
        const char *line = complaint(facts);
        SEEN("%u of %u accepted sockets were seen by %s%s%s", n, SOCKETS, facts->library, *line ? ": " : "", line);
        return false;
    }
    SEEN("%s has seen accept and the end of stream of all %u sockets that the kernel has in CLOSE_WAIT", facts->library,
         SOCKETS);
    return true;
}

static bool check_ledger(struct facts *facts, char *seen, size_t seen_bytes)
{
    const char *line = complaint(facts);

    if (facts->ledger_errno)
        SEEN("the child has no ledger file (%s)%s%s", strerror(facts->ledger_errno), *line ? ": " : "", line);
    else if (!facts->loaded)
        SEEN("%s %s", facts->ledger.path, facts->load_why);
    else if (facts->ledger_mode != 0600)
        SEEN("%s has mode %03o instead of 600", facts->ledger.path, (unsigned)facts->ledger_mode);
    else if (sockets_in_ledger(facts) != SOCKETS)
        SEEN("%s knows %u of %u sockets", facts->ledger.path, sockets_in_ledger(facts), SOCKETS);
    else {
        SEEN("%s was written by the child and read from outside", facts->ledger.path);
        return true;
    }
    return false;
}

static bool check_reporter(struct facts *facts, char *seen, size_t seen_bytes)
{
    unsigned n = sockets_in_report(facts);

    if (!facts->report)
        SEEN("no report came when the child ended: %s", *complaint(facts) ? complaint(facts) : "nothing on stderr");
    else if (n != SOCKETS || !strstr(facts->report, "\"leaked\": 3,"))
        SEEN("the report at the child's end names %u of the %u sockets that the kernel had in CLOSE_WAIT", n, SOCKETS);
    else if (facts->ledger_kept)
        SEEN("the library has printed the report itself: it could not run the tool");
    else {
        SEEN("the report at the child's end names the same %u sockets as the kernel", SOCKETS);
        return true;
    }
    return false;
}

static bool check_symbols(struct facts *facts, char *seen, size_t seen_bytes)
{
    const char *frame = facts->report ? strstr(facts->report, "\"function\": \"cw_selftest_accept\"") : NULL, *line,
               *next;
    char member[32];

    if (!facts->report) {
        SEEN("there is no report whose frames could be looked at");
        return false;
    }
    if (!frame) {
        SEEN("the report does not know the function that has called accept by name");
        return false;
    }
    snprintf(member, sizeof member, "\"line\": %d,", facts->child.line);
    line = strstr(frame, member);
    next = strstr(frame + 1, "\"function\": ");
    if (!line || (next && line > next)) {
        SEEN("the report knows the function that has called accept, but not its file and line");
        return false;
    }
    SEEN("the report names the call of accept: cw_selftest_accept, child.c:%d", facts->child.line);
    return true;
}

static bool check_ptrace(struct facts *facts, char *seen, size_t seen_bytes)
{
    char scope[8] = "0";

    cw_proc_read_small("/proc/sys/kernel/yama/ptrace_scope", scope, sizeof scope);
    if (facts->ptrace_errno)
        SEEN("the child's thread cannot be looked at: %s%s%.1s", strerror(facts->ptrace_errno),
             scope[0] != '0' ? "; kernel.yama.ptrace_scope=" : "", scope[0] != '0' ? scope : "");
    else if (!facts->ptrace_right)
        SEEN("the child's thread is not where the kernel says that it is");
    else
        SEEN("the registers and stack of the child's thread can be read");
    return !facts->ptrace_errno && facts->ptrace_right;
}

static bool check_netlink(struct facts *facts, char *seen, size_t seen_bytes)
{
    if (facts->netlink_errno) {
        SEEN("sock_diag is refused: %s", strerror(facts->netlink_errno));
        return false;
    }
    SEEN("sock_diag lists the %u sockets, with their inodes", SOCKETS);
    return true;
}

int cw_selftest_run(const char *library, const char *missing,
                    void (*say)(void *ctx, const char *id, const char *seen, const char *advice), void *ctx)
{
    static const struct {
        const char *id, *advice;
        bool (*check)(struct facts *facts, char *seen, size_t seen_bytes);
    } checks[] = {
#define CW_SELFTEST(id, advice) {#id, advice, check_##id},
#include "cli/selftest/selftest.inc"
    };
    struct facts facts = {.library = library, .missing = missing};
    char seen[PATH_MAX + 512], why[512];
    int failed = 0, error;

    if (cw_selftest_start(&facts.child, library, why, sizeof why) < 0) {
        cw_say("the test cannot be made: %s", why);
        return -1;
    }
    error = cw_proc_read(&facts.proc, facts.child.pid);
    if (error)
        snprintf(why, sizeof why, "/proc does not show the child: %s", strerror(-error));
    else
        error = ask_kernel(&facts, why, sizeof why);
    if (!error) {
        look_at_ledger(&facts);
        look_at_thread(&facts);
    } else {
        facts.ledger_errno = ENOENT;
    }
    end_child(&facts);
    if (error)
        cw_say("the test cannot be made: %s", why);
    for (size_t i = 0; i < sizeof checks / sizeof *checks && !error; i++) {
        bool good = checks[i].check(&facts, seen, sizeof seen);
        failed += !good;
        say(ctx, checks[i].id, seen, good ? NULL : checks[i].advice);
    }
    if (facts.loaded)
        cw_load_free(&facts.load);
    if (!facts.ledger_errno)
        close(facts.ledger.fd);
    free(facts.err);
    return error ? -1 : failed;
}
