#define _GNU_SOURCE
#include "cli/run/loop.h"

#include "cli/cli.h"
#include "cli/clock.h"
#include "cli/run/child.h"
#include "cli/run/report.h"
#include "cli/run/signals.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SOON_MS = 100,        /* a look that many ends together ask for */
    SOCKETLESS_MS = 2000, /* how long a process that was left behind may take to open its first socket */
    SAY_AFTER_MS = 500,   /* workers that go with their server are no matter for a message */
    AFTER_STOP_MS = 5000, /* the same, for those that were told to end */
    STOP_ASKED_MS = 2000, /* a stop of the program within this time is the answer to the terminal's */
    NAMES_MAX = 5
};

struct state {
    const struct cw_run_loop *run;
    bool ended; /* the program */
    int status; /* its wait status */
    bool told;  /* to come to an end, by a signal */
    bool told_after;
    bool empty; /* the last look after the program's end has found nobody left */
    bool reported, fails, said;
    uint64_t ended_ms, stop_asked_ms;
    uint64_t looked_ms, look_ms; /* the last look, the next one */
    uint64_t report_ms;          /* when the report must be out, whatever runs; 0 never */
};

static bool is_init(void)
{
    return getpid() == 1;
}

/* --- looking, reporting --- */

static void look(struct state *state)
{
    bool waits = state->ended && !state->said;

    cw_watch_look(state->run->watch);
    if (state->run->options->live && !state->reported)
        cw_watch_announce(state->run->watch);
    state->looked_ms = cw_clock_ms(CLOCK_MONOTONIC);
    state->look_ms =
        state->looked_ms + (waits && state->run->interval_ms > SOON_MS ? SOON_MS : state->run->interval_ms);
}

static void look_within(struct state *state, uint32_t ms)
{
    uint64_t at_ms = cw_clock_ms(CLOCK_MONOTONIC) + ms;
    if (at_ms < state->look_ms)
        state->look_ms = at_ms;
}

static void report(struct state *state)
{
    if (state->reported)
        return;
    if (cw_clock_ms(CLOCK_MONOTONIC) - state->looked_ms > SOON_MS)
        look(state);
    state->fails = cw_run_report(state->run->watch, state->run->options);
    state->reported = true;
}

/* --- signals --- */

/* State T of /proc/PID/stat. */
static bool is_stopped(pid_t pid)
{
    char path[32], text[512];

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (cw_proc_read_small(path, text, sizeof text) <= 0)
        return false;
    const char *behind = strrchr(text, ')');
    return behind && behind[1] == ' ' && behind[2] == 'T';
}

/* The shell waits for this process: it stops with the program, so that the job can be continued as one. */
static void on_stop(struct state *state)
{
    if (!state->stop_asked_ms || cw_clock_ms(CLOCK_MONOTONIC) - state->stop_asked_ms > STOP_ASKED_MS || is_init())
        return;
    state->stop_asked_ms = 0;
    raise(SIGSTOP);
}

static void be_told(struct state *state, const siginfo_t *info)
{
    state->told = true;
    state->told_after |= state->ended;
    /* Whoever sends it by hand at a terminal can wait as well. */
    if (state->run->stop_timeout_ms && !state->report_ms && info->si_code != SI_KERNEL)
        state->report_ms = cw_clock_ms(CLOCK_MONOTONIC) + (uint64_t)state->run->stop_timeout_ms * 4 / 5;
}

static void on_signal(struct state *state, int sig, const siginfo_t *info)
{
    pid_t program = state->run->program;
    bool is_for = !state->ended && cw_run_signals_is_for(program, info);

    switch (sig) {
    case SIGCHLD:
        return;
    case SIGTSTP:
    case SIGTTIN:
    case SIGTTOU:
        /* It is the program that decides whether it stops, or does something first: see on_stop. */
        state->stop_asked_ms = cw_clock_ms(CLOCK_MONOTONIC);
        if (is_for)
            cw_run_signals_forward(program, info);
        if (state->ended ? sig == SIGTSTP : is_stopped(program)) /* we may have learned of its stop before */
            on_stop(state);
        return;
    case SIGCONT:
        if (is_for && is_stopped(program)) /* else the shell has sent it to the whole job */
            cw_run_signals_forward(program, info);
        return;
    default:
        if (cw_run_signals_is_stop(sig) && (is_for || state->ended || info->si_code == SI_KERNEL))
            be_told(state, info);
        if (is_for)
            cw_run_signals_forward(program, info);
        else if (state->ended && is_init())
            kill(-1, sig); /* they are all that is left of the program, and end with this process */
    }
}

/* --- children --- */

static void reap(struct state *state)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
        if (WIFSTOPPED(status)) {
            if (pid == state->run->program)
                on_stop(state);
            continue;
        }
        cw_watch_ended(state->run->watch, pid, status);
        if (pid == state->run->program) {
            state->ended = true;
            state->status = status;
            state->ended_ms = cw_clock_ms(CLOCK_MONOTONIC);
            if (state->told && is_init())
                kill(-1, SIGTERM); /* what it has left is to end with it */
        }
        look_within(state, state->ended ? 0 : SOON_MS);
    }
}

/* --- what is left behind --- */

static void print_end(char *text, size_t text_bytes, int status)
{
    if (WIFSIGNALED(status))
        snprintf(text, text_bytes, "SIG%s", sigabbrev_np(WTERMSIG(status)) ? sigabbrev_np(WTERMSIG(status)) : "?");
    else
        snprintf(text, text_bytes, "status %d", WEXITSTATUS(status));
}

static void say_following(struct state *state, const struct cw_watch_process *left, size_t count)
{
    char end[32], names[NAMES_MAX * 48] = "";
    size_t used = 0;

    print_end(end, sizeof end, state->status);
    for (size_t i = 0; i < count && i < NAMES_MAX; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s pid %d (%s)", i ? "," : "", (int)left[i].pid,
                                 left[i].name);
    const char *what = count == 1 ? "process" : "processes", *more = count > NAMES_MAX ? ", ..." : "";
    if (state->told && !is_init())
        cw_say("%s has ended (%s); %zu %s that it left may take %d s to end:%s%s; another signal: report at once",
               state->run->name, end, count, what, AFTER_STOP_MS / 1000, names, more);
    else
        cw_say("%s has ended (%s); following %zu %s that it left:%s%s; Ctrl-C or SIGTERM ends this and reports",
               state->run->name, end, count, what, names, more);
    state->said = true;
}

/* Whether there is nothing more to wait for. After a look. */
static bool is_over(struct state *state)
{
    struct cw_watch_process left[256];
    size_t count, listed, with_ledger = 0;
    uint64_t since_ms;

    if (!state->ended)
        return false;
    count = cw_watch_processes(state->run->watch, left, sizeof left / sizeof *left);
    listed = count < sizeof left / sizeof *left ? count : sizeof left / sizeof *left;
    for (size_t i = 0; i < listed; i++)
        with_ledger += left[i].has_ledger;
    if (state->told_after && !is_init())
        return true;
    if (count == 0) {
        /* A look can miss a child that begins as its parent ends: the next one cannot. */
        bool sure = state->empty;
        state->empty = true;
        look_within(state, 0);
        return sure;
    }
    state->empty = false;
    since_ms = cw_clock_ms(CLOCK_MONOTONIC) - state->ended_ms;
    if (with_ledger > 0 && since_ms >= SAY_AFTER_MS && !state->said && !(state->told && is_init()))
        say_following(state, left, count);
    if (state->told && !is_init())
        return since_ms >= AFTER_STOP_MS;
    return with_ledger == 0 && since_ms >= SOCKETLESS_MS;
}

/* --- the loop --- */

static uint32_t pause_ms(const struct state *state)
{
    uint64_t at_ms = state->look_ms, now = cw_clock_ms(CLOCK_MONOTONIC);

    if (state->report_ms && !state->reported && state->report_ms < at_ms)
        at_ms = state->report_ms;
    return at_ms > now ? (uint32_t)(at_ms - now) : 0;
}

int cw_run_loop(const struct cw_run_loop *run)
{
    struct state state = {.run = run};
    siginfo_t info;

    state.look_ms = cw_clock_ms(CLOCK_MONOTONIC) + SOON_MS;
    for (;;) {
        int sig = cw_run_signals_take(&info, pause_ms(&state));
        if (sig)
            on_signal(&state, sig, &info);
        reap(&state);
        if (state.report_ms && cw_clock_ms(CLOCK_MONOTONIC) >= state.report_ms) {
            report(&state);
            state.report_ms = 0;
            if (state.ended)
                break;
        }
        if (state.told_after && !is_init())
            break;
        if (cw_clock_ms(CLOCK_MONOTONIC) < state.look_ms)
            continue;
        look(&state);
        if (is_over(&state))
            break;
    }
    report(&state);
    return state.fails && run->exitcode ? run->exitcode : cw_run_child_code(state.status);
}

int cw_run_loop_wait(pid_t program)
{
    siginfo_t info;
    int status = 0;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) != program) {
        if (pid < 0)
            return CW_EXIT_FAILED;
        if (pid == 0 && cw_run_signals_take(&info, SOCKETLESS_MS) && info.si_signo != SIGCHLD &&
            cw_run_signals_is_for(program, &info))
            cw_run_signals_forward(program, &info);
    }
    return cw_run_child_code(status);
}
