/* Load, and the beginning of recording. */
#define _GNU_SOURCE
#include "preload/start.h"

#include "core/options.h"
#include "core/out.h"
#include "preload/clock.h"
#include "preload/end.h"
#include "preload/fork.h"
#include "preload/hooks.h"
#include "preload/kernel.h"
#include "preload/ledger_file.h"
#include "preload/ledger_parts.h"
#include "preload/live.h"
#include "preload/probe.h"
#include "preload/record.h"
#include "preload/reporter.h"
#include "preload/signals.h"
#include "preload/stack.h"
#include "preload/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>

/* Warnings about options are kept until recording begins: a process without a TCP socket stays silent. `cwguard run`
 * has said them already, once for all processes. */
static char warnings[4][256];
static unsigned n_warnings;

static void keep_warning(void *ctx, const char *line)
{
    (void)ctx;
    if (n_warnings == sizeof warnings / sizeof warnings[0])
        return;
    strncpy(warnings[n_warnings], line, sizeof warnings[0] - 1);
    n_warnings++;
}

static void say_warnings(void)
{
    for (unsigned i = 0; i < n_warnings && !cw_static.options.run[0]; i++)
        cw_live_say(warnings[i]);
    n_warnings = 0;
}

void cw_switch_off(const char *reason)
{
    CW_SET(CW_P->off, 1);
    if (cw_static.options.verbosity > 0)
        cw_live_say(reason);
}

/* verbosity 1: the ledger is not where it was asked for. */
static void say_other_place(void)
{
    if (cw_static.options.verbosity == 0)
        return;
    if (CW_P->view.header->flags & CW_HEADER_ANONYMOUS)
        cw_live_say(
            "no ledger file can be made in ledger_dir or /dev/shm: recording in memory, which is lost if the process "
            "is killed");
    else if (cw_ledger_dir_error()) {
        struct cw_out out;
        struct cw_line line;
        cw_out_line(&out, &line);
        cw_out_str(&out, "ledger_dir=");
        cw_out_safe(&out, cw_static.options.ledger_dir);
        cw_out_str(&out, " cannot be used (it must be a directory of this user on a tmpfs, mode 0700): the ledger is ");
        cw_out_safe(&out, CW_P->ledger_path);
        cw_out_flush(&out);
        cw_live_say(line.text);
    }
}

/* For a child that another thread forks in the midst of this: the header, without which it looks at nothing, comes
 * last. */
static void show_view(void)
{
    struct cw_view view = CW_P->view;
    view.header = NULL;
    CW_SET(cw_static.last_view.header, NULL);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    cw_static.last_view = view;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    CW_SET(cw_static.last_view.header, CW_P->view.header);
}

static void begin(void)
{
    int failed = cw_ledger_create();
    if (failed) {
        cw_switch_off("not recording: no memory for a ledger could be had");
        return;
    }
    struct cw_ledger *header = CW_P->view.header;
    CW_P->pid = (pid_t)cw_sys(SYS_getpid);
    CW_P->epoch = ++cw_static.last_epoch;
    cw_fork_adopt();
    CW_P->t0_ns = header->start_mono_ns;
    header->grace_ms = cw_static.options.grace_ms;
    header->exit_grace_ms = cw_static.options.exit_grace_ms;
    header->flags |= CW_HEADER_READY;
    show_view();
    say_other_place();
    __atomic_store_n(&CW_P->live, 1, __ATOMIC_RELEASE);
    cw_signals_install();
    say_warnings();
}

bool cw_start(void)
{
    if (__atomic_load_n(&CW_P->live, __ATOMIC_ACQUIRE))
        return true;
    if (cw_static.disabled || CW_GET(CW_P->off) || CW_GET(cw_static.seccomp) || cw_vforked())
        return false;
    uint32_t tid = (uint32_t)cw_sys(SYS_gettid), nobody = 0;
    if (__atomic_compare_exchange_n(&CW_P->starting, &nobody, tid, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
        int saved = errno;
        begin();
        errno = saved;
    } else if (nobody != tid) {
        /* Another thread is at it: 100 µs or so. What it cannot finish in a thousand yields is not worth waiting for;
         * the socket is then found by the kernel check. */
        for (int i = 0; i < 1000 && !CW_GET(CW_P->live) && !CW_GET(CW_P->off); i++)
            cw_sys(SYS_sched_yield);
    }
    return __atomic_load_n(&CW_P->live, __ATOMIC_ACQUIRE);
}

/* --- at load --- */

static int write_fd2(void *ctx, const void *bytes, size_t n)
{
    (void)ctx;
    return cw_sys(SYS_write, 2, bytes, n) < 0 ? -EIO : 0;
}

static void say_help(void)
{
    struct cw_out out;
    cw_out_init(&out, write_fd2, NULL);
    cw_options_help(&out, &cw_static.options);
    cw_out_flush(&out);
}

static void look_at_fd2(void)
{
    struct stat st;
    if (cw_sys(SYS_fstat, 2, &st) == 0) {
        cw_static.start_fd2_dev = st.st_dev;
        cw_static.start_fd2_ino = st.st_ino;
        cw_static.start_fd2_known = 1;
    }
}

static void inherit(void *ctx, int fd)
{
    (void)ctx;
    uint8_t family, protocol;
    if (cw_kernel_is_tcp(fd, &family, &protocol))
        cw_on_found(NULL, CW_ORIGIN_INHERITED, CW_CALL_none, fd);
}

static bool program_is_wanted(void)
{
    char exe[512];
    long n =
        cw_kernel_may(CW_MAY_READLINK) ? cw_sys(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", exe, sizeof exe - 1) : -1;
    if (cw_static.options.programs[0] == '\0')
        return true;
    exe[n > 0 ? n : 0] = '\0';
    return cw_options_program_matches(&cw_static.options, exe);
}

__attribute__((constructor)) static void load(void)
{
    int saved = errno;
    cw_clock_init();
    CW_P->pid = (pid_t)cw_sys(SYS_getpid);
    cw_static.main_stack_end = (uintptr_t)getauxval(AT_RANDOM);
    cw_static.disabled = 1;
    const char *missing = cw_hooks_resolve();
    cw_options_default(&cw_static.options);
    if (missing || getauxval(AT_SECURE)) {
        errno = saved;
        return;
    }
    cw_options_parse(&cw_static.options, getenv("CWGUARD_OPTIONS"), keep_warning, NULL);
    cw_static.may = (uint32_t)cw_probe_syscalls();
    look_at_fd2();
    if (cw_static.options.help)
        say_help();
    if (program_is_wanted()) {
        cw_identity_init();
        cw_stack_init();
        cw_reporter_init();
        cw_fork_init();
        cw_thread_init();
        cw_end_init();
        cw_static.disabled = 0;
        cw_kernel_each_fd(inherit, NULL);
    }
    errno = saved;
}
