/* Running `cwguard report` from a dying process, so that nobody in it sees a child.
 *
 * exec would reset a clone's exit signal to SIGCHLD. So there is a middle process, which execs nothing and has exit
 * signal 0; it starts the tool as its own child, waits for it, and is itself reaped with __WCLONE. Nobody else's
 * waitpid(-1) sees either of them. The middle has a copy of the fd table and closes it, so what it opens cannot fail
 * for want of numbers, as it would in a server that has leaked all of them. */
#define _GNU_SOURCE
#include "preload/reporter.h"

#include "preload/ledger_file.h"
#include "preload/ledger_parts.h"
#include "preload/probe.h"
#include "preload/self_report.h"
#include "preload/spawn.h"
#include "preload/sys.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define DEADLINE_NS (5 * UINT64_C(1000000000))
#define LEDGER_FD 3
#define MAX_ENVIRONMENT 2048u

extern char **environ;

/* The tool as it was at load. */
static struct {
    char path[1024]; /* "" if there was none */
    uint64_t dev, ino;
} tool;

/* --- at load --- */

static bool try_tool(const char *dir, size_t dir_length, const char *name)
{
    struct stat st;
    size_t n = strlen(name), at = 0;
    char path[sizeof tool.path];

    if (dir_length == 0 || dir[0] != '/') {
        /* getcwd counts the NUL; what chdir does later must not matter. */
        long length = cw_sys(SYS_getcwd, path, sizeof path - 1);
        if (length <= 1 || path[0] != '/')
            return false;
        at = (size_t)length - 1;
        path[at++] = '/';
    }
    if (at + dir_length + n >= sizeof path)
        return false;
    memcpy(path + at, dir, dir_length);
    memcpy(path + at + dir_length, name, n + 1);
    if (cw_sys(SYS_newfstatat, AT_FDCWD, path, &st, 0) != 0 || !S_ISREG(st.st_mode) || !(st.st_mode & 0111))
        return false;
    memcpy(tool.path, path, sizeof path);
    tool.dev = st.st_dev;
    tool.ino = st.st_ino;
    return true;
}

void cw_reporter_init(void)
{
    Dl_info self;
    const char *wanted = cw_static.options.reporter;

    cw_identity_init();
    tool.path[0] = 0;
    if (wanted[0]) {
        try_tool(wanted, strlen(wanted), "");
        return;
    }
    if (!dladdr((const void *)cw_reporter_init, &self) || !self.dli_fname)
        return;
    const char *slash = strrchr(self.dli_fname, '/');
    size_t dir_length = slash ? (size_t)(slash - self.dli_fname) + 1 : 0;
    /* As built; as installed in PREFIX/lib; and in PREFIX/lib/x86_64-linux-gnu. */
    if (!try_tool(self.dli_fname, dir_length, "cwguard") && !try_tool(self.dli_fname, dir_length, "../bin/cwguard"))
        try_tool(self.dli_fname, dir_length, "../../bin/cwguard");
}

/* --- in the processes of our own --- */

struct run {
    int out_fd;
    uint64_t mask;    /* the caller's, for nobody but itself */
    void *tool_stack; /* also that of our own rendering */
    bool done;        /* a complete report is out */
    bool by_tool;
    char *environment[MAX_ENVIRONMENT + 1];
};

static bool is_named(const char *entry, const char *name)
{
    size_t n = strlen(name);
    return !strncmp(entry, name, n) && entry[n] == '=';
}

/* The tool must not be watched itself, nor fetch anything from the network. */
static void make_environment(struct run *run)
{
    unsigned used = 0;
    for (char **entry = environ; entry && *entry && used < MAX_ENVIRONMENT; entry++)
        if (!is_named(*entry, "LD_PRELOAD") && !is_named(*entry, "LD_AUDIT") && !is_named(*entry, "DEBUGINFOD_URLS") &&
            !is_named(*entry, "CWGUARD_OPTIONS"))
            run->environment[used++] = *entry;
    run->environment[used] = NULL;
}

/* The limit becomes n, or stays below it. */
static void limit_to(int resource, uint64_t n)
{
    struct rlimit limit;
    if (cw_sys(SYS_prlimit64, 0, resource, 0L, &limit) != 0)
        return;
    if (limit.rlim_max > n)
        limit.rlim_max = n;
    if (limit.rlim_cur > limit.rlim_max)
        limit.rlim_cur = limit.rlim_max;
    cw_sys(SYS_prlimit64, 0, resource, &limit, 0L);
}

/* Does not return if all is well. */
static void exec_tool(void *arg)
{
    const struct run *run = arg;
    const char *argv[8] = {"cwguard", "report", "--fd", "3"};
    struct stat st;

    if (cw_static.options.log_path[0]) {
        argv[4] = "--output";
        argv[5] = cw_static.options.log_path;
    }
    long fd = cw_sys(SYS_openat, AT_FDCWD, tool.path, O_PATH | O_CLOEXEC, 0);
    if (fd < 0 || cw_sys(SYS_fstat, fd, &st) != 0 || st.st_dev != tool.dev || st.st_ino != tool.ino)
        cw_spawn_exit(127);
    cw_spawn_reset_signals(0);
    limit_to(RLIMIT_CORE, 0);
#if !defined(__SANITIZE_ADDRESS__) &&                                                                                  \
    !defined(__SANITIZE_THREAD__) /* their shadow memory takes terabytes of addresses */
    limit_to(RLIMIT_AS, cw_static.options.reporter_mem_bytes);
#endif
    long failed = cw_sys(SYS_execveat, fd, "", argv, run->environment, AT_EMPTY_PATH);
    if (failed == -ENOENT) {
        /* A script: its interpreter opens it by the fd's number, which must then stay. */
        cw_sys(SYS_fcntl, fd, F_SETFD, 0L);
        cw_sys(SYS_execveat, fd, "", argv, run->environment, AT_EMPTY_PATH);
    }
    cw_spawn_exit(127);
}

static bool ended_well(int status)
{
    return status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool run_tool(struct run *run)
{
    if (!tool.path[0])
        return false;
    int ledger = cw_ledger_open_again();
    if (ledger < 0 || (ledger != LEDGER_FD && cw_sys(SYS_dup2, ledger, LEDGER_FD) < 0))
        return false;
    if (ledger == LEDGER_FD)
        cw_sys(SYS_fcntl, LEDGER_FD, F_SETFD, 0L);
    else
        cw_sys(SYS_close, ledger);
    make_environment(run);
    uint64_t deadline_ns = cw_spawn_now_ns() + DEADLINE_NS;
    long pid = cw_spawn(CLONE_VFORK | SIGCHLD, run->tool_stack, exec_tool, run);
    return pid > 0 && ended_well(cw_spawn_wait(pid, deadline_ns));
}

static void self_main(void *arg)
{
    struct run *run = arg;
    run->done = cw_self_report(2, CW_SELF_OWN_PROCESS);
}

/* Our own rendering, in a process as well: it has fds to spare there, and can be killed if its output blocks. */
static void run_self(struct run *run)
{
    uint64_t deadline_ns = cw_spawn_now_ns() + DEADLINE_NS;
    long pid = cw_spawn(SIGCHLD, run->tool_stack, self_main, run);
    if (pid > 0)
        cw_spawn_wait(pid, deadline_ns);
}

static void middle_main(void *arg)
{
    struct run *run = arg;
    cw_spawn_reset_signals(~UINT64_C(0));
    cw_spawn_take_fds(run->out_fd);
    run->done = run->by_tool = run_tool(run);
    if (!run->done)
        run_self(run);
}

/* --- in the dying process --- */

/* True if the middle process could be started and has ended. */
static bool run_middle(struct run *run)
{
    uint64_t all = ~UINT64_C(0), before = 0;
    void *stack = cw_spawn_map(CW_SPAWN_STACK_BYTES);
    run->tool_stack = cw_spawn_map(CW_SPAWN_STACK_BYTES);
    if (!stack || !run->tool_stack)
        return false;
    cw_sys(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, 8L);
    long pid = cw_spawn(CLONE_VFORK, stack, middle_main, run);
    if (pid > 0)
        cw_spawn_wait(pid, 0);
    cw_sys(SYS_rt_sigprocmask, SIG_SETMASK, &before, 0L, 8L);
    return pid > 0;
}

int cw_reporter_run(int out_fd, bool may_spawn)
{
    struct run *run = may_spawn ? cw_spawn_map(sizeof *run) : NULL;
    if (run) {
        run->out_fd = out_fd;
        if (run_middle(run))
            return run->by_tool;
    }
    /* After our own rendering the ledger is kept: it still knows files and lines. */
    cw_self_report(out_fd, CW_SELF_IN_PROGRAM);
    return 0;
}
