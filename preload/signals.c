/* The shim's own handler. */
#define _GNU_SOURCE
#include "preload/signals.h"

#include "preload/end.h"
#include "preload/hooks.h"
#include "preload/kernel.h"
#include "preload/probe.h"
#include "preload/state.h"
#include "preload/sys.h"

#include <errno.h>
#include <string.h>
#include <time.h>

static const int watched[] = {SIGTERM, SIGINT, SIGHUP};

/* The default action as it was before ours took its place: what sigaction must show (flags and mask may be set with it). */
static struct sigaction replaced[sizeof watched / sizeof watched[0]];

/* Default action, this signal unblocked, and sent to ourselves again: the parent sees death by that signal. */
static void die_of(int sig)
{
    struct sigaction dfl;
    sigset_t set;
    memset(&dfl, 0, sizeof dfl);
    dfl.sa_handler = SIG_DFL;
    CW_REAL(sigaction)(sig, &dfl, NULL);
    long pid = cw_sys(SYS_getpid), tid = cw_sys(SYS_gettid);
    sigemptyset(&set);
    sigaddset(&set, sig);
    cw_sys(SYS_tgkill, pid, tid, sig);
    cw_sys(SYS_rt_sigprocmask, SIG_UNBLOCK, &set, 0, 8);
}

/* Another thread is ending the process: it gets the time that a report may take. */
static void wait_for_end(void)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    for (int i = 0; i < 1400 && !CW_GET(CW_P->ended); i++)
        cw_sys(SYS_nanosleep, &pause, 0);
}

static void on_signal(int sig, siginfo_t *info, void *ucontext)
{
    (void)info;
    int saved = errno;
    uint32_t ending = CW_GET(CW_P->ending);
    if (ending == (uint32_t)cw_sys(SYS_gettid) && !CW_GET(CW_P->ended))
        return; /* it was about to be gone anyway: its exit goes on, with its own status */
    if (ending)
        wait_for_end();
    /* A vfork child shares the handler and the memory, not the process: nothing may be touched there. */
    if (CW_GET(CW_P->live) ? (pid_t)cw_sys(SYS_getpid) == CW_P->pid : true)
        cw_end_signal(sig, ucontext);
    die_of(sig);
    errno = saved;
}

static bool is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == on_signal;
}

bool cw_signals_is_ours(sighandler_t handler)
{
    return (void (*)(void))handler == (void (*)(void))on_signal;
}

static size_t place_of(int sig)
{
    size_t i = 0;
    while (i < sizeof watched / sizeof watched[0] && watched[i] != sig)
        i++;
    return i;
}

static bool wanted(int sig)
{
    return place_of(sig) < sizeof watched / sizeof watched[0];
}

void cw_signals_show(int sig, struct sigaction *old)
{
    if (is_ours(old) && wanted(sig))
        *old = replaced[place_of(sig)];
}

static void install(int sig)
{
    struct sigaction ours, old = {.sa_flags = 0};
    if (CW_REAL(sigaction)(sig, NULL, &old) != 0 || (old.sa_flags & SA_SIGINFO) || old.sa_handler != SIG_DFL)
        return;
    replaced[place_of(sig)] = old;
    memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = on_signal;
    ours.sa_flags = SA_ONSTACK | SA_RESTART | SA_SIGINFO;
    sigfillset(&ours.sa_mask);
    CW_REAL(sigaction)(sig, &ours, NULL);
}

static bool allowed(void)
{
    return cw_static.options.handle_signals && CW_P->pid != 1 && cw_kernel_may(CW_MAY_SIGNALS);
}

void cw_signals_install(void)
{
    int saved = errno;
    if (allowed())
        for (size_t i = 0; i < sizeof watched / sizeof watched[0]; i++)
            install(watched[i]);
    errno = saved;
}

void cw_signals_remove(void)
{
    int saved = errno;
    struct sigaction dfl, old = {.sa_flags = 0};
    memset(&dfl, 0, sizeof dfl);
    dfl.sa_handler = SIG_DFL;
    for (size_t i = 0; i < sizeof watched / sizeof watched[0]; i++)
        if (CW_REAL(sigaction)(watched[i], NULL, &old) == 0 && is_ours(&old))
            CW_REAL(sigaction)(watched[i], &dfl, NULL);
    errno = saved;
}

void cw_signals_after_set(int sig)
{
    int saved = errno;
    if (wanted(sig) && CW_GET(CW_P->live) && !cw_vforked() && allowed())
        install(sig);
    errno = saved;
}
