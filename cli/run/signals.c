#define _GNU_SOURCE
#include "cli/run/signals.h"

#include "cli/process/proc.h"

#include <stddef.h>
#include <time.h>
#include <unistd.h>

/* Those that are changed on the way to here: main() ignores the first two, and nobody could wait for children with the
 * third ignored. */
static const int changed[] = {SIGPIPE, SIGXFSZ, SIGCHLD};
enum { CHANGED = sizeof changed / sizeof *changed };

static struct sigaction found[CHANGED];
static sigset_t found_mask, found_ignored;

/* Before main() touches them. */
__attribute__((constructor)) static void look_at_dispositions(void)
{
    for (size_t i = 0; i < CHANGED; i++)
        sigaction(changed[i], NULL, &found[i]);
}

/* All that can be passed on; a fault, or a broken pipe, is this tool's own affair. */
static void fill(sigset_t *set)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGPIPE, SIGXFSZ, SIGXCPU};

    sigfillset(set);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        sigdelset(set, own[i]);
}

void cw_run_signals_begin(void)
{
    struct sigaction action;
    sigset_t all;

    sigemptyset(&found_ignored);
    for (int sig = 1; sig <= SIGRTMAX; sig++)
        if (sigaction(sig, NULL, &action) == 0 && !(action.sa_flags & SA_SIGINFO) && action.sa_handler == SIG_IGN)
            sigaddset(&found_ignored, sig);
    fill(&all);
    sigprocmask(SIG_BLOCK, &all, &found_mask);
    signal(SIGCHLD, SIG_DFL);
}

void cw_run_signals_restore(void)
{
    for (size_t i = 0; i < CHANGED; i++)
        sigaction(changed[i], &found[i], NULL);
    sigprocmask(SIG_SETMASK, &found_mask, NULL);
}

int cw_run_signals_take(siginfo_t *ret_info, uint32_t timeout_ms)
{
    const struct timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = (long)(timeout_ms % 1000) * 1000000};
    sigset_t all;

    fill(&all);
    int sig = sigtimedwait(&all, ret_info, &timeout);
    return sig > 0 ? sig : 0;
}

/* Whether a process is the program or descends from it. One that is gone is taken for a stranger. */
static bool is_within(pid_t pid, pid_t program)
{
    struct cw_proc proc = {.ppid = pid};

    for (int depth = 0; depth < 64 && proc.ppid > 1; depth++) {
        if (proc.ppid == program)
            return true;
        if (cw_proc_read(&proc, proc.ppid) != 0)
            return false;
    }
    return false;
}

bool cw_run_signals_is_for(pid_t program, const siginfo_t *info)
{
    if (info->si_code == SI_KERNEL)
        return getpgid(program) != getpgrp(); /* it has left the terminal's foreground, where we are */
    return info->si_pid == 0 || !is_within(info->si_pid, program);
}

void cw_run_signals_forward(pid_t program, const siginfo_t *info)
{
    if (info->si_code == SI_QUEUE)
        sigqueue(program, info->si_signo, info->si_value);
    else
        kill(program, info->si_signo);
}

bool cw_run_signals_is_stop(int sig)
{
    return (sig == SIGTERM || sig == SIGINT || sig == SIGHUP || sig == SIGQUIT) && !sigismember(&found_ignored, sig);
}
