#define _GNU_SOURCE /* ppoll, memfd_create */
#include "cli/top/terminal.h"

#include <curses.h>
#include <errno.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <term.h>
#include <termios.h>
#include <unistd.h>

enum { MESSAGES_KEPT = 10, MESSAGE_BYTES = 512, ESCAPE_MS = 100 };

static struct {
    SCREEN *screen;
    struct termios before;
    char restore[256]; /* what puts the terminal back, written in one go */
    size_t restore_bytes;
    sigset_t outside; /* the signal mask before */
    volatile sig_atomic_t ended;
    bool hung_up;
    int stderr_fd, kept_fd; /* -1: stderr is as it was */
    long taken;             /* bytes of what is kept that were looked at */
    char messages[MESSAGES_KEPT][MESSAGE_BYTES];
    unsigned n_messages;
} terminal = {.stderr_fd = -1, .kept_fd = -1};

static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
static const int crashing[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
enum { ENDING = sizeof ending / sizeof *ending, CRASHING = sizeof crashing / sizeof *crashing };

/* --- signals --- */

static void on_ending(int number)
{
    terminal.ended = number;
}

/* endwin is no function for a signal handler: the same with what is. */
static void on_crash(int number)
{
    ssize_t written = write(STDOUT_FILENO, terminal.restore, terminal.restore_bytes);

    (void)written;
    tcsetattr(STDIN_FILENO, TCSANOW, &terminal.before);
    if (terminal.stderr_fd >= 0)
        dup2(terminal.stderr_fd, STDERR_FILENO);
    signal(number, SIG_DFL);
    raise(number);
}

static void catch_signals(void)
{
    static char stack[64 * 1024];
    const stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction ended = {.sa_handler = on_ending}, crashed = {.sa_handler = on_crash};
    sigset_t blocked;

    /* They are let in while we wait, and only then: nothing is lost between a look at `ended` and the wait. */
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGWINCH);
    for (unsigned i = 0; i < ENDING; i++)
        sigaddset(&blocked, ending[i]);
    sigprocmask(SIG_BLOCK, &blocked, &terminal.outside);
    for (unsigned i = 0; i < ENDING; i++)
        sigaction(ending[i], &ended, NULL);
    sigaltstack(&other, NULL);
    crashed.sa_flags = SA_ONSTACK | (int)SA_RESETHAND;
    for (unsigned i = 0; i < CRASHING; i++)
        sigaction(crashing[i], &crashed, NULL);
}

static void release_signals(void)
{
    for (unsigned i = 0; i < CRASHING; i++)
        signal(crashing[i], SIG_DFL);
    for (unsigned i = 0; i < ENDING; i++)
        signal(ending[i], SIG_DFL);
    sigprocmask(SIG_SETMASK, &terminal.outside, NULL);
}

int cw_terminal_ended(void)
{
    return terminal.ended;
}

/* --- messages --- */

static void keep_stderr(void)
{
    fflush(stderr);
    terminal.kept_fd = memfd_create("messages", MFD_CLOEXEC);
    terminal.stderr_fd = dup(STDERR_FILENO);
    if (terminal.kept_fd < 0 || terminal.stderr_fd < 0 || dup2(terminal.kept_fd, STDERR_FILENO) < 0) {
        close(terminal.kept_fd);
        close(terminal.stderr_fd);
        terminal.kept_fd = terminal.stderr_fd = -1;
    }
}

static bool is_kept(const char *line)
{
    for (unsigned i = 0; i < terminal.n_messages; i++)
        if (!strcmp(terminal.messages[i], line))
            return true;
    return false;
}

const char *cw_terminal_message(void)
{
    static char line[MESSAGE_BYTES], last[MESSAGE_BYTES];
    char bytes[4096];
    size_t used = 0;
    ssize_t n;

    last[0] = 0;
    fflush(stderr);
    while (terminal.kept_fd >= 0 && (n = pread(terminal.kept_fd, bytes, sizeof bytes, terminal.taken)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (bytes[i] != '\n') {
                if (used < sizeof line - 1)
                    line[used++] = bytes[i];
                continue;
            }
            line[used] = 0;
            used = 0;
            strcpy(last, line);
            if (terminal.n_messages < MESSAGES_KEPT && !is_kept(line))
                strcpy(terminal.messages[terminal.n_messages++], line);
        }
        terminal.taken += n;
    }
    /* Looked at: the file is not to grow with every look. */
    if (terminal.kept_fd >= 0 && terminal.taken && ftruncate(terminal.kept_fd, 0) == 0) {
        lseek(terminal.kept_fd, 0, SEEK_SET);
        terminal.taken = 0;
    }
    return last;
}

static void release_stderr(void)
{
    cw_terminal_message();
    if (terminal.stderr_fd < 0)
        return;
    fflush(stderr);
    dup2(terminal.stderr_fd, STDERR_FILENO);
    close(terminal.stderr_fd);
    close(terminal.kept_fd);
    terminal.stderr_fd = terminal.kept_fd = -1;
    for (unsigned i = 0; i < terminal.n_messages; i++)
        fprintf(stderr, "%s\n", terminal.messages[i]);
}

/* --- the terminal --- */

/* A capability's bytes without the padding that slow terminals of old wanted. */
static void add_capability(const char *name)
{
    const char *text = tigetstr(name);

    if (!text || text == (char *)-1)
        return;
    for (; *text && terminal.restore_bytes < sizeof terminal.restore; text++) {
        const char *end = text[0] == '$' && text[1] == '<' ? strchr(text, '>') : NULL;
        if (end)
            text = end;
        else
            terminal.restore[terminal.restore_bytes++] = *text;
    }
}

int cw_terminal_begin(char *why, size_t why_bytes)
{
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");

    setlocale(LC_CTYPE, "");
    if (tcgetattr(STDIN_FILENO, &terminal.before) < 0) {
        snprintf(why, why_bytes, "stdin is no terminal (%s)", strerror(errno));
        return -1;
    }
    catch_signals();
    terminal.screen = newterm(NULL, stdout, stdin);
    if (!terminal.screen || !tigetstr("cup") || tigetstr("cup") == (char *)-1) {
        if (terminal.screen) {
            endwin();
            delscreen(terminal.screen);
            terminal.screen = NULL;
        }
        release_signals();
        snprintf(why, why_bytes, "the terminal '%s' cannot move its cursor, or is not known here", term ? term : "");
        return -1;
    }
    add_capability("sgr0");
    add_capability("rmkx");
    add_capability("rmcup");
    add_capability("cnorm");
    cbreak();
    noecho();
    nonl();
    curs_set(0);
    keypad(stdscr, TRUE);
    nodelay(stdscr, TRUE);
    set_escdelay(ESCAPE_MS);
    if (has_colors() && !(no_color && *no_color)) {
        start_color();
        use_default_colors();
        init_pair(1, COLOR_RED, -1);
        init_pair(2, COLOR_YELLOW, -1);
    }
    keep_stderr();
    return 0;
}

void cw_terminal_end(void)
{
    endwin();
    delscreen(terminal.screen);
    terminal.screen = NULL;
    release_signals();
    release_stderr();
}

void cw_terminal_wait(unsigned timeout_ms)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    struct timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L};

    if (ppoll(&input, 1, &timeout, &terminal.outside) > 0 && (input.revents & (POLLHUP | POLLERR | POLLNVAL)))
        terminal.hung_up = true;
}

bool cw_terminal_lives(void)
{
    return !terminal.hung_up;
}
