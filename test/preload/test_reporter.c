/* Getting the report out of a process that ends, in every condition that process may be in.
 *
 * This program is its own tool: started as `cwguard report …` it answers what it finds itself in, as $CW_TEST_TOOL
 * says. */
#define _GNU_SOURCE
#include "test/support/ledger_harness.h"

#include "preload/ledger_parts.h"
#include "preload/probe.h"
#include "preload/reporter.h"
#include "preload/self_report.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char self_path[512];

/* --- the tool's side --- */

static int tool_main(int argc, char **argv)
{
    const char *how = getenv("CW_TEST_TOOL");
    char magic[9] = "";
    struct cw_ledger header;
    struct rlimit memory, core;
    sigset_t mask;
    unsigned blocked = 0, ignored = 0;

    if (!how || !strcmp(how, "fail"))
        return 3;
    if (!strcmp(how, "crash"))
        raise(SIGKILL);
    if (!strcmp(how, "hang"))
        for (;;)
            pause();
    printf("argv");
    for (int i = 0; i < argc; i++)
        printf(" %s", argv[i]);
    printf("\nfds");
    for (int fd = 0; fd < 4096; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            printf(" %d", fd);
    sigprocmask(SIG_SETMASK, NULL, &mask);
    for (int signal = 1; signal < 65; signal++) {
        struct sigaction action;
        blocked += sigismember(&mask, signal) == 1;
        ignored += sigaction(signal, NULL, &action) == 0 && action.sa_handler != SIG_DFL;
    }
    getrlimit(RLIMIT_AS, &memory);
    getrlimit(RLIMIT_CORE, &core);
    printf("\nblocked %u ignored %u as %lu core %lu\n", blocked, ignored, (unsigned long)memory.rlim_cur,
           (unsigned long)core.rlim_cur);
    printf("preload %s audit %s debuginfod %s options %s home %s\n", getenv("LD_PRELOAD") ? "set" : "-",
           getenv("LD_AUDIT") ? "set" : "-", getenv("DEBUGINFOD_URLS") ? "set" : "-",
           getenv("CWGUARD_OPTIONS") ? "set" : "-", getenv("HOME") ? "set" : "-");
    if (pread(3, &header, sizeof header, 0) == sizeof header)
        memcpy(magic, header.magic, 7);
    printf("ledger %s of %d\n", magic, magic[0] ? header.pid : 0);
    fflush(stdout);
    dprintf(2, "and stderr\n");
    return 0;
}

/* --- the dying process's side --- */

static void use_tool(const char *path)
{
    assert_true(strlen(path) < sizeof cw_static.options.reporter);
    strcpy(cw_static.options.reporter, path);
    cw_reporter_init();
}

static int setup(void **state)
{
    (void)state;
    harness_reset();
    harness_dir();
    unsetenv("CW_TEST_TOOL");
    use_tool(self_path);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    harness_remove_dir();
    return 0;
}

static void in_child(void (*fn)(void *))
{
    assert_int_equal(harness_in_child(fn, NULL), 0);
}

static char output[1 << 20];

/* Runs the reporter with a file as its output, which comes to stand in `output`. */
static int run_into_memory(bool may_spawn)
{
    int fd = memfd_create("output", MFD_CLOEXEC);
    HARNESS_CHECK(fd >= 0);
    int done = cw_reporter_run(fd, may_spawn);
    ssize_t n = pread(fd, output, sizeof output - 1, 0);
    HARNESS_CHECK(n >= 0);
    output[n] = 0;
    close(fd);
    return done;
}

static bool says(const char *words)
{
    bool found = strstr(output, words) != NULL;
    if (!found)
        dprintf(2, "no \"%s\" in:\n%s\n", words, output);
    return found;
}

/* Our own rendering, whole. */
static bool is_self_report(void)
{
    return says("SUMMARY: cwguard: 3 sockets left in CLOSE_WAIT by 1 code path\n") && says(HARNESS_ALLOCATES) &&
           says(HARNESS_READS) && says("eof-not-closed") && says("127.0.0.1:8080");
}

static bool is_tool_report(void)
{
    char words[64];
    snprintf(words, sizeof words, "ledger cwguard of %d\n", getpid());
    return says(words);
}

static void start(void)
{
    HARNESS_CHECK(harness_create() == 0);
    harness_leak(3);
}

/* --- the tool --- */

static void check_tool(void *arg)
{
    (void)arg;
    setenv("CW_TEST_TOOL", "ok", 1);
    setenv("LD_PRELOAD", "", 1);
    setenv("LD_AUDIT", "", 1);
    setenv("DEBUGINFOD_URLS", "x", 1);
    setenv("CWGUARD_OPTIONS", "x", 1);
    setenv("HOME", "/", 1);
    start();
    unsigned fds = harness_count_fds();
    signal(SIGUSR1, SIG_IGN);
    sigset_t mask, after;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    HARNESS_CHECK(run_into_memory(true) == 1);
    HARNESS_CHECK(says("argv cwguard report --fd 3\n"));
    HARNESS_CHECK(says("fds 0 1 2 3\n"));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    char words[64];
    snprintf(words, sizeof words, "blocked 0 ignored 0 as %lu core 0\n", 256ul << 20);
    HARNESS_CHECK(says(words));
#endif
    HARNESS_CHECK(says("preload - audit - debuginfod - options - home set\n"));
    HARNESS_CHECK(is_tool_report() && says("and stderr\n"));
    /* Nothing of it stays in the program. */
    HARNESS_CHECK(harness_count_fds() == fds);
    sigprocmask(SIG_SETMASK, NULL, &after);
    HARNESS_CHECK(!memcmp(&mask, &after, 8));
    HARNESS_CHECK(signal(SIGUSR1, SIG_DFL) == SIG_IGN);
    HARNESS_CHECK(waitpid(-1, NULL, __WALL | WNOHANG) < 0 && errno == ECHILD);

    snprintf(cw_static.options.log_path, sizeof cw_static.options.log_path, "/tmp/%%p.%%f");
    HARNESS_CHECK(run_into_memory(true) == 1 && says("argv cwguard report --fd 3 --output /tmp/%p.%f\n"));
    /* stderr gone: the report goes where log_path says. */
    HARNESS_CHECK(cw_reporter_run(-1, true) == 1);
}

static void tool(void **state)
{
    (void)state;
    in_child(check_tool);
}

static void check_low_fds_closed(void *arg)
{
    (void)arg;
    setenv("CW_TEST_TOOL", "ok", 1);
    start();
    int fd = memfd_create("output", 0), kept = dup(2);
    HARNESS_CHECK(dup2(fd, 0) == 0);
    close(1);
    close(2);
    int done = cw_reporter_run(0, true);
    HARNESS_CHECK(fcntl(1, F_GETFD) < 0 && fcntl(2, F_GETFD) < 0);
    dup2(kept, 2);
    HARNESS_CHECK(done == 1 && pread(fd, output, sizeof output - 1, 0) > 0);
    HARNESS_CHECK(says("fds 0 1 2 3\n") && is_tool_report());
}

static void low_fds_closed(void **state)
{
    (void)state;
    in_child(check_low_fds_closed);
}

static void check_tool_fails(void *arg)
{
    char words[400];
    (void)arg;
    start();
    HARNESS_CHECK(run_into_memory(true) == 0 && is_self_report());
    snprintf(words, sizeof words, "cwguard report %s\n", CW_P->ledger_path);
    HARNESS_CHECK(says(words) && access(CW_P->ledger_path, F_OK) == 0);
    setenv("CW_TEST_TOOL", "crash", 1);
    HARNESS_CHECK(run_into_memory(true) == 0 && is_self_report());
    HARNESS_CHECK(waitpid(-1, NULL, __WALL | WNOHANG) < 0 && errno == ECHILD);
}

static void tool_fails(void **state)
{
    (void)state;
    in_child(check_tool_fails);
}

static void check_tool_hangs(void *arg)
{
    struct timespec before, after;
    (void)arg;
    setenv("CW_TEST_TOOL", "hang", 1);
    start();
    clock_gettime(CLOCK_MONOTONIC, &before);
    HARNESS_CHECK(run_into_memory(true) == 0 && is_self_report());
    clock_gettime(CLOCK_MONOTONIC, &after);
    HARNESS_CHECK(after.tv_sec - before.tv_sec >= 4 && after.tv_sec - before.tv_sec <= 7);
}

static void tool_hangs(void **state)
{
    (void)state;
    in_child(check_tool_hangs);
}

static void copy_tool(const char *to)
{
    static char bytes[65536];
    int from = open(self_path, O_RDONLY), fd = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0755);
    HARNESS_CHECK(from >= 0 && fd >= 0);
    for (ssize_t n; (n = read(from, bytes, sizeof bytes)) > 0;)
        HARNESS_CHECK(write(fd, bytes, (size_t)n) == n);
    close(from);
    close(fd);
}

static void check_other_tool(void *arg)
{
    char path[300], other[304];
    (void)arg;
    setenv("CW_TEST_TOOL", "ok", 1);
    snprintf(path, sizeof path, "%s/tool", cw_static.options.ledger_dir);
    snprintf(other, sizeof other, "%s.new", path);
    copy_tool(path);
    use_tool(path);
    start();
    HARNESS_CHECK(run_into_memory(true) == 1 && is_tool_report());
    /* Put there later: not run, whatever it is. */
    copy_tool(other);
    HARNESS_CHECK(rename(other, path) == 0);
    HARNESS_CHECK(run_into_memory(true) == 0 && is_self_report());
    HARNESS_CHECK(unlink(path) == 0);
    HARNESS_CHECK(run_into_memory(true) == 0 && is_self_report());
}

static void other_tool(void **state)
{
    (void)state;
    in_child(check_other_tool);
}

static void check_script(void *arg)
{
    char path[300];
    (void)arg;
    snprintf(path, sizeof path, "%s/tool", cw_static.options.ledger_dir);
    FILE *file = fopen(path, "w");
    fprintf(file, "#!/bin/sh\necho script: \"$@\"\n");
    fchmod(fileno(file), 0755);
    fclose(file);
    use_tool(path);
    start();
    HARNESS_CHECK(run_into_memory(true) == 1 && says("script: report --fd 3\n"));
}

static void tool_is_a_script(void **state)
{
    (void)state;
    in_child(check_script);
}

/* --- nobody sees it --- */

static volatile sig_atomic_t children_seen;

static void count_child(int signal)
{
    (void)signal;
    children_seen++;
}

static void *wait_for_any(void *arg)
{
    (void)arg;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    return (void *)(intptr_t)waitpid(-1, NULL, 0);
}

/* In a system call that sleeps: not before, not after. */
static bool is_waiting(pid_t tid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    return cw_file_read(path, text, sizeof text) > 0 && strstr(text, ") S ");
}

static _Atomic pid_t waiter_tid;

static void *waiter(void *arg)
{
    waiter_tid = (pid_t)syscall(SYS_gettid);
    return wait_for_any(arg);
}

static void check_unseen(void *arg)
{
    const char *how = arg;
    int hold[2];
    pthread_t thread;
    void *got;
    setenv("CW_TEST_TOOL", how, 1);
    HARNESS_CHECK(pipe(hold) == 0);
    pid_t real = fork();
    if (real == 0) {
        char byte;
        close(hold[1]);
        _exit(read(hold[0], &byte, 1) == 0 ? 0 : 1);
    }
    signal(SIGCHLD, count_child);
    start();
    HARNESS_CHECK(pthread_create(&thread, NULL, waiter, NULL) == 0);
    while (!waiter_tid || !is_waiting(waiter_tid))
        sched_yield();
    for (int i = 0; i < 20; i++)
        HARNESS_CHECK(run_into_memory(true) == !strcmp(how, "ok"));
    HARNESS_CHECK(children_seen == 0);
    close(hold[1]);
    HARNESS_CHECK(pthread_join(thread, &got) == 0 && (pid_t)(intptr_t)got == real);
    HARNESS_CHECK(children_seen == 1);
}

static void check_sigchld_ignored(void *arg)
{
    (void)arg;
    setenv("CW_TEST_TOOL", "ok", 1);
    signal(SIGCHLD, SIG_IGN);
    start();
    HARNESS_CHECK(run_into_memory(true) == 1 && is_tool_report());
}

static void unseen(void **state)
{
    (void)state;
    assert_int_equal(harness_in_child(check_unseen, (void *)(uintptr_t) "ok"), 0);
    assert_int_equal(harness_in_child(check_unseen, (void *)(uintptr_t) "fail"), 0);
    in_child(check_sigchld_ignored);
}

static _Atomic bool stop;

static void *keep_busy(void *arg)
{
    (void)arg;
    while (!stop) {
        free(malloc(100000));
        int fd = open("/dev/null", O_RDONLY);
        HARNESS_CHECK(fd >= 0);
        close(fd);
    }
    return NULL;
}

static void check_parallel(void *arg)
{
    pthread_t threads[3];
    (void)arg;
    setenv("CW_TEST_TOOL", "ok", 1);
    start();
    for (unsigned i = 0; i < 3; i++)
        HARNESS_CHECK(pthread_create(&threads[i], NULL, keep_busy, NULL) == 0);
    for (int i = 0; i < 10; i++) {
        HARNESS_CHECK(run_into_memory(true) == 1 && is_tool_report());
        HARNESS_CHECK(run_into_memory(false) == 0 && is_self_report());
    }
    stop = true;
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
}

static void threads_run_on(void **state)
{
    (void)state;
    in_child(check_parallel);
}

/* --- processes in a bad way --- */

static void check_no_fds_left(void *arg)
{
    struct rlimit files = {64, 64};
    (void)arg;
    setenv("CW_TEST_TOOL", "ok", 1);
    start();
    int fd = memfd_create("output", 0);
    setrlimit(RLIMIT_NOFILE, &files);
    while (dup(2) >= 0)
        ;
    HARNESS_CHECK(cw_reporter_run(fd, true) == 1);
    HARNESS_CHECK(pread(fd, output, sizeof output - 1, 0) > 0 && says("fds 0 1 2 3\n") && is_tool_report());

    char path[300];
    struct stat st;
    setenv("CW_TEST_TOOL", "fail", 1);
    snprintf(path, sizeof path, "%s/report", cw_static.options.ledger_dir);
    snprintf(cw_static.options.log_path, sizeof cw_static.options.log_path, "%s", path);
    HARNESS_CHECK(cw_reporter_run(fd, true) == 0 && stat(path, &st) == 0 && st.st_size > 100);
}

static void no_fds_left(void **state)
{
    (void)state;
    in_child(check_no_fds_left);
}

static void check_elsewhere(void *arg)
{
    char path[300];
    (void)arg;
    setenv("CW_TEST_TOOL", "ok", 1);
    start();
    snprintf(path, sizeof path, "%s/gone", cw_static.options.ledger_dir);
    HARNESS_CHECK(mkdir(path, 0700) == 0 && chdir(path) == 0 && rmdir(path) == 0);
    HARNESS_CHECK(run_into_memory(true) == 1 && is_tool_report());
    HARNESS_CHECK(chdir("/") == 0);
    if (geteuid() != 0)
        return;
    HARNESS_CHECK(mkdir(path, 0755) == 0 && chroot(path) == 0 && chdir("/") == 0);
    HARNESS_CHECK(run_into_memory(true) == 0 && is_self_report());
}

static void cwd_gone_and_chroot(void **state)
{
    (void)state;
    in_child(check_elsewhere);
}

static void check_setuid(void *arg)
{
    char path[300];
    (void)arg;
    setenv("CW_TEST_TOOL", "ok", 1);
    snprintf(path, sizeof path, "/dev/shm/cwguard-test-tool.%d", getpid());
    copy_tool(path);
    use_tool(path);
    start();
    HARNESS_CHECK(setgid(65534) == 0 && setuid(65534) == 0);
    HARNESS_CHECK(access(CW_P->ledger_path, R_OK) != 0);
    int done = run_into_memory(true);
    HARNESS_CHECK(done == 1 && is_tool_report());
}

static void dropped_root(void **state)
{
    char command[] = "rm -f /dev/shm/cwguard-test-tool.*";
    (void)state;
    if (geteuid() != 0)
        skip();
    int status = harness_in_child(check_setuid, NULL);
    assert_int_equal(system(command), 0);
    assert_int_equal(status, 0);
}

static void check_limits(void *arg)
{
    struct rlimit none = {0, 0}, processes = {1, 1};
    (void)arg;
    setenv("CW_TEST_TOOL", "ok", 1);
    start();
    setrlimit(RLIMIT_FSIZE, &none);
    int ends[2];
    HARNESS_CHECK(pipe(ends) == 0 && cw_reporter_run(ends[1], true) == 1);
    ssize_t n = read(ends[0], output, sizeof output - 1);
    HARNESS_CHECK(n > 0 && !(output[n] = 0) && is_tool_report());
    /* A file may not even be begun: no SIGXFSZ, and the ledger is kept. */
    char path[300];
    snprintf(path, sizeof path, "%s/report", cw_static.options.ledger_dir);
    snprintf(cw_static.options.log_path, sizeof cw_static.options.log_path, "%s", path);
    for (int may_spawn = 0; may_spawn < 2; may_spawn++) {
        setenv("CW_TEST_TOOL", "fail", 1);
        HARNESS_CHECK(cw_reporter_run(ends[1], may_spawn) == 0 && access(path, F_OK) != 0);
    }
    sigset_t pending;
    HARNESS_CHECK(sigpending(&pending) == 0 && sigisemptyset(&pending));
    cw_static.options.log_path[0] = 0;
    if (geteuid() == 0)
        HARNESS_CHECK(setgid(65534) == 0 && setuid(65534) == 0);
    setrlimit(RLIMIT_NPROC, &processes);
    HARNESS_CHECK(cw_reporter_run(ends[1], true) == 0);
    n = read(ends[0], output, sizeof output - 1);
    HARNESS_CHECK(n > 0 && !(output[n] = 0) && is_self_report());
}

static void limits(void **state)
{
    (void)state;
    in_child(check_limits);
}

static void check_closed_pipe(void *arg)
{
    int ends[2];
    (void)arg;
    start();
    HARNESS_CHECK(pipe(ends) == 0 && close(ends[0]) == 0);
    HARNESS_CHECK(cw_reporter_run(ends[1], false) == 0);
    HARNESS_CHECK(cw_reporter_run(ends[1], true) == 0);
    setenv("CW_TEST_TOOL", "ok", 1);
    HARNESS_CHECK(cw_reporter_run(ends[1], true) == 0);
    HARNESS_CHECK(cw_reporter_run(-1, true) == 1);
    sigset_t pending, mask;
    HARNESS_CHECK(sigpending(&pending) == 0 && sigisemptyset(&pending));
    HARNESS_CHECK(sigprocmask(SIG_SETMASK, NULL, &mask) == 0 && sigisemptyset(&mask));

    /* One that was pending before is not swallowed. */
    sigset_t pipe_only;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    sigprocmask(SIG_BLOCK, &pipe_only, NULL);
    raise(SIGPIPE);
    HARNESS_CHECK(cw_reporter_run(ends[1], false) == 0);
    HARNESS_CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE));
}

static void check_full_pipe(void *arg)
{
    static char filler[4096];
    int ends[2];
    (void)arg;
    start();
    HARNESS_CHECK(pipe2(ends, O_NONBLOCK) == 0);
    while (write(ends[1], filler, sizeof filler) > 0)
        ;
    fcntl(ends[1], F_SETFL, 0); /* a blocking writer would now stay for ever */
    alarm(8);
    HARNESS_CHECK(cw_reporter_run(ends[1], false) == 0);
}

static void closed_and_full_pipe(void **state)
{
    (void)state;
    in_child(check_closed_pipe);
    in_child(check_full_pipe);
}

/* --- our own rendering --- */

static void read_file(const char *path)
{
    int fd = open(path, O_RDONLY);
    HARNESS_CHECK(fd >= 0);
    ssize_t n = read(fd, output, sizeof output - 1);
    HARNESS_CHECK(n > 0);
    output[n] = 0;
    close(fd);
}

static void check_log_path(void *arg)
{
    char path[400], pattern[300];
    int fd = memfd_create("output", 0);
    struct stat st;
    (void)arg;
    start();
    snprintf(pattern, sizeof pattern, "%s/%%e.%%f", cw_static.options.ledger_dir);
    snprintf(cw_static.options.log_path, sizeof cw_static.options.log_path, "%s", pattern);
    for (int may_spawn = 0; may_spawn < 2; may_spawn++) {
        const char *slash = strrchr(CW_P->view.header->exe, '/');
        HARNESS_CHECK(cw_reporter_run(fd, may_spawn) == 0);
        snprintf(path, sizeof path, "%s/%s.text", cw_static.options.ledger_dir, slash + 1);
        read_file(path);
        HARNESS_CHECK(is_self_report() && fstat(fd, &st) == 0 && st.st_size == 0);
        /* Never over what is there. */
        HARNESS_CHECK(cw_reporter_run(fd, may_spawn) == 0);
        snprintf(path + strlen(path), 32, ".%d", getpid());
        read_file(path);
        HARNESS_CHECK(is_self_report() && unlink(path) == 0);
        *strrchr(path, '.') = 0;
        HARNESS_CHECK(unlink(path) == 0);
    }
    snprintf(cw_static.options.log_path, sizeof cw_static.options.log_path, "%s/%%p%%%%.%%f",
             cw_static.options.ledger_dir);
    cw_static.options.format = CW_FORMAT_JSON;
    for (int i = 0; i < 2; i++) {
        HARNESS_CHECK(cw_reporter_run(fd, false) == 0);
        snprintf(path, sizeof path, "%s/%d%%.json", cw_static.options.ledger_dir, getpid());
        read_file(path);
        HARNESS_CHECK(output[0] == '{' && says("\"cwguard-report/1\"") && says("\"" HARNESS_READS "\""));
        HARNESS_CHECK(output[strlen(output) - 2] == '}' && output[strlen(output) - 1] == '\n');
    }
    HARNESS_CHECK(fstat(fd, &st) == 0 && st.st_size == 0);
    snprintf(path, sizeof path, "ls %s | grep -c tmp > /dev/null", cw_static.options.ledger_dir);
    HARNESS_CHECK(system(path) != 0);
    /* No such place: nothing is out, the ledger stays. */
    snprintf(cw_static.options.log_path, sizeof cw_static.options.log_path, "/dev/shm/cwguard-no/such/place");
    HARNESS_CHECK(cw_self_report(fd, CW_SELF_IN_PROGRAM) == false);
}

static void log_path(void **state)
{
    (void)state;
    in_child(check_log_path);
}

static void check_names(void *arg)
{
    char memory[CW_SELF_SYMBOLS_BYTES] __attribute__((aligned(16)));
    struct cw_resolver resolver;
    struct cw_symbol symbol;
    (void)arg;
    start();
    memset(memory, 0, sizeof memory);
    cw_self_symbols(&resolver, memory);
    struct cw_view *view = &CW_P->view;
    uint64_t load = view->modules[1].load, at = harness_code(HARNESS_READS) - 4 - load;
    HARNESS_CHECK(resolver.resolve(resolver.ctx, view, CW_FRAME(1, at + 1), &symbol, 1) == 1);
    HARNESS_CHECK(!strcmp(symbol.function, HARNESS_READS) && !symbol.file && !symbol.line);
    /* A return address at a function's first byte belongs to the call before it. */
    unsigned n = resolver.resolve(resolver.ctx, view, CW_FRAME(1, at), &symbol, 1);
    HARNESS_CHECK(n == 0 || strcmp(symbol.function, HARNESS_READS) != 0);
    HARNESS_CHECK(resolver.resolve(resolver.ctx, view, CW_FRAME(0, at), &symbol, 1) == 0);
    HARNESS_CHECK(resolver.resolve(resolver.ctx, view, CW_FRAME(9, at), &symbol, 1) == 0);
    HARNESS_CHECK(resolver.resolve(resolver.ctx, view, CW_FRAME(1, UINT64_C(0x7FFFFFFFFFFF)), &symbol, 1) == 0);
    HARNESS_CHECK(resolver.resolve(resolver.ctx, view, CW_FRAME(1, at + 1), &symbol, 0) == 0);
    /* Another object lies there now. */
    view->modules[1].load -= 4096;
    HARNESS_CHECK(resolver.resolve(resolver.ctx, view, CW_FRAME(1, at + 4097), &symbol, 1) == 0);
}

static void names(void **state)
{
    (void)state;
    in_child(check_names);
}

static void check_many(void *arg)
{
    struct timespec before, after;
    (void)arg;
    HARNESS_CHECK(harness_create() == 0);
    harness_leak(19000);
    clock_gettime(CLOCK_MONOTONIC, &before);
    HARNESS_CHECK(run_into_memory(false) == 0 &&
                  says("SUMMARY: cwguard: 19,000 sockets left in CLOSE_WAIT by 1 code path\n"));
    clock_gettime(CLOCK_MONOTONIC, &after);
    HARNESS_CHECK(after.tv_sec - before.tv_sec < 3);
}

static void many(void **state)
{
    (void)state;
    in_child(check_many);
}

/* --- seccomp --- */

/* Kills (or answers) when system call nr is made, with first argument `value` unless that is -1. */
static void filter(unsigned nr, long value, unsigned answer)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)value, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, answer),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    if (value < 0)
        code[3] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JA, 0, 0, 0);
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    HARNESS_CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    HARNESS_CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void check_probe_all(void *arg)
{
    (void)arg;
    HARNESS_CHECK(cw_probe_syscalls() == CW_MAY_ALL);
}

/* Under the same filters as its parent, which made it: children can be made, so the rest is tried. */
static void inner_probe(void *arg)
{
    int expected = *(const int *)arg;
    unsigned fds = harness_count_fds();
    signal(SIGCHLD, count_child);
    int may = cw_probe_syscalls();
    if (may != expected)
        dprintf(2, "may %#x, expected %#x\n", (unsigned)may, (unsigned)expected);
    HARNESS_CHECK(may == expected && harness_count_fds() == fds && children_seen == 0);
    HARNESS_CHECK(waitpid(-1, NULL, __WALL | WNOHANG) < 0 && errno == ECHILD);
}

static void check_probe_tries(void *arg)
{
    int expected = CW_MAY_ALL & ~(CW_MAY_GETSOCKOPT | CW_MAY_NETLINK | CW_MAY_FILES | CW_MAY_POLL);
    (void)arg;
    filter(SYS_getsockopt, -1, SECCOMP_RET_KILL_PROCESS);
    filter(SYS_socket, AF_NETLINK, SECCOMP_RET_KILL_PROCESS);
    filter(SYS_fstatfs, -1, SECCOMP_RET_KILL_PROCESS);
    filter(SYS_poll, -1, SECCOMP_RET_TRAP);
    filter(SYS_process_vm_readv, -1, SECCOMP_RET_ERRNO | EPERM); /* answered, not punished */
    HARNESS_CHECK(harness_in_child(inner_probe, &expected) == 0);
}

/* A filter of our own: that clone is survived is known of nobody, so nothing is tried; the process lives. */
static void check_probe_clone_kills(void *arg)
{
    (void)arg;
    filter(SYS_clone, -1, SECCOMP_RET_KILL_PROCESS);
    filter(SYS_clone3, -1, SECCOMP_RET_KILL_PROCESS);
    filter(SYS_fork, -1, SECCOMP_RET_KILL_PROCESS);
    filter(SYS_vfork, -1, SECCOMP_RET_KILL_PROCESS);
    filter(SYS_getsockopt, -1, SECCOMP_RET_KILL_PROCESS);
    filter(SYS_ftruncate, -1, SECCOMP_RET_KILL_PROCESS);
    filter(SYS_getdents64, -1, SECCOMP_RET_KILL_PROCESS);
    filter(SYS_madvise, -1, SECCOMP_RET_KILL_PROCESS);
    filter(SYS_uname, -1, SECCOMP_RET_KILL_PROCESS);
    filter(SYS_rt_sigtimedwait, -1, SECCOMP_RET_KILL_PROCESS);
    filter(SYS_poll, -1, SECCOMP_RET_KILL_PROCESS);
    cw_static.may = (uint32_t)cw_probe_syscalls();
    HARNESS_CHECK(cw_static.may == 0 && cw_probe_again(false) == 0);
    start();
    HARNESS_CHECK(!CW_P->path_known);
    HARNESS_CHECK(run_into_memory(cw_static.may & CW_MAY_CLONE) == 0 && is_self_report());
}

static void check_probe_again(void *arg)
{
    (void)arg;
    filter(SYS_getsockopt, -1, SECCOMP_RET_KILL_PROCESS);
    HARNESS_CHECK(cw_probe_syscalls() == 0);
    HARNESS_CHECK(cw_probe_again(true) == (CW_MAY_ALL & ~CW_MAY_GETSOCKOPT));
}

static void probe(void **state)
{
    (void)state;
    in_child(check_probe_all);
    in_child(check_probe_tries);
    in_child(check_probe_clone_kills);
    in_child(check_probe_again);
}

/* The program has locked itself up: SECCOMP_MODE_STRICT leaves read, write and exit, and kills on all else. */
static void check_own_filter(void *arg)
{
    int fd = *(const int *)arg;
    cw_static.may = 0; /* an anonymous ledger */
    start();
    cw_static.seccomp = 1;
    HARNESS_CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
    int done = cw_reporter_run(fd, false);
    cw_ledger_remove();
    syscall(SYS_exit, done == 0 ? 0 : 97);
}

/* With a file the ledger is left to `cwguard report --dead`, without a single call. */
static void check_own_filter_file(void *arg)
{
    int fd = *(const int *)arg;
    start();
    HARNESS_CHECK(CW_P->path_known);
    cw_static.seccomp = 1;
    HARNESS_CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
    int done = cw_reporter_run(fd, false);
    cw_ledger_remove();
    syscall(SYS_exit, done == 0 ? 0 : 97);
}

static void own_filter(void **state)
{
    struct stat st;
    (void)state;
    int fd = memfd_create("output", 0);
    assert_int_equal(harness_in_child(check_own_filter_file, &fd), 0);
    assert_true(fstat(fd, &st) == 0 && st.st_size == 0);
    assert_int_equal(harness_in_child(check_own_filter, &fd), 0);
    ssize_t n = pread(fd, output, sizeof output - 1, 0);
    assert_true(n > 0);
    output[n] = 0;
    assert_true(says("SUMMARY: cwguard: 3 sockets left in CLOSE_WAIT by 1 code path\n"));
    close(fd);
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[0], "cwguard") && !strcmp(argv[1], "report"))
        return tool_main(argc, argv);
    ssize_t n = readlink("/proc/self/exe", self_path, sizeof self_path - 1);
    if (n <= 0 || n > 250)
        return 2;
    const struct CMUnitTest tests[] = {
#define CW_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        CW_TEST(tool),
        CW_TEST(low_fds_closed),
        CW_TEST(tool_fails),
        CW_TEST(tool_hangs),
        CW_TEST(other_tool),
        CW_TEST(tool_is_a_script),
        CW_TEST(unseen),
        CW_TEST(threads_run_on),
        CW_TEST(no_fds_left),
        CW_TEST(cwd_gone_and_chroot),
        CW_TEST(dropped_root),
        CW_TEST(limits),
        CW_TEST(closed_and_full_pipe),
        CW_TEST(log_path),
        CW_TEST(names),
        CW_TEST(many),
        CW_TEST(probe),
        CW_TEST(own_filter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
