/* cwguard top [PID...]: a live view on a terminal, else a plain table every interval. */
#include "cli/cli.h"
#include "cli/clock.h"
#include "cli/flags.h"
#include "cli/top/look.h"
#include "cli/top/screen.h"
#include "cli/top/table.h"
#include "cli/top/terminal.h"

#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { INTERVAL_MS = 2000, INTERVAL_MS_MIN = 100, INTERVAL_MS_MAX = 3600000, PAUSE_MS = 3600000 };

struct arguments {
    struct cw_flags flags;
    pid_t *pids;
    size_t n_pids;
    uint32_t interval_ms;
    uint64_t count; /* looks to take, 0 no end */
    bool batch;
};

/* --- arguments --- */

/* Options of core/options.inc that a live view depends on. */
static const char *const of_options[] = {"grace", "late", "ledger_dir"};
enum { OPTIONS = sizeof of_options / sizeof *of_options };
enum { KEY_INTERVAL = 0x1000, KEY_COUNT, KEY_OPTION };

static error_t set_option(struct arguments *arguments, const char *name, const char *value)
{
    struct cw_request *request = &arguments->flags.request;
    unsigned at = 0;

    if (cw_options_set(&arguments->flags.options, name, value, cw_say_refusal, NULL) < 0)
        exit(CW_EXIT_FAILED);
    while (at < request->flag_count && strcmp(request->flags[at].name, name) != 0)
        at++; /* the last one counts */
    request->flags[at].name = name;
    request->flags[at].value = value;
    request->flag_count += at == request->flag_count;
    return 0;
}

/* "2", "2s", "500ms", "1m". */
static uint32_t parse_interval(const char *text, const struct argp_state *state)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = {{"", 1000}, {"s", 1000}, {"ms", 1}, {"m", 60000}};
    char *end;
    double number = strtod(text, &end), ms = -1;

    for (unsigned i = 0; end != text && i < sizeof units / sizeof *units; i++)
        if (!strcmp(end, units[i].unit))
            ms = number * units[i].ms;
    if (!(ms >= INTERVAL_MS_MIN && ms <= INTERVAL_MS_MAX))
        argp_error(state, "--interval: '%s' is no time from 100ms to 1h, such as 2s or 500ms", text);
    return (uint32_t)ms;
}

static uint64_t parse_whole(const char *text, uint64_t most, const char *what, const struct argp_state *state)
{
    char *end;
    uint64_t number;

    errno = 0;
    number = strtoull(text, &end, 10);
    if (errno || *end || *text < '0' || *text > '9' || !number || number > most)
        argp_error(state, "%s '%s' is no number from 1 to %llu", what, text, (unsigned long long)most);
    return number;
}

static void add_pid(struct arguments *arguments, pid_t pid)
{
    for (size_t i = 0; i < arguments->n_pids; i++)
        if (arguments->pids[i] == pid)
            return;
    arguments->pids[arguments->n_pids++] = pid;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    if (key >= KEY_OPTION && key < KEY_OPTION + OPTIONS)
        return set_option(arguments, of_options[key - KEY_OPTION], value);
    switch (key) {
    case KEY_INTERVAL:
    case 'd':
        arguments->interval_ms = parse_interval(value, state);
        return 0;
    case KEY_COUNT:
    case 'n':
        arguments->count = parse_whole(value, UINT64_MAX, "count", state);
        return 0;
    case 'b':
        arguments->batch = true;
        return 0;
    case ARGP_KEY_ARG:
        if (!arguments->pids) /* room for all that may come */
            arguments->pids = calloc((size_t)state->argc, sizeof *arguments->pids);
        if (!arguments->pids)
            return ENOMEM;
        add_pid(arguments, (pid_t)parse_whole(value, INT_MAX, "pid", state));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp *cw_argp_top(void)
{
    static struct argp_option options[OPTIONS * 2 + 4] = {
        {"interval", 'd', "TIME", 0, "from one look to the next: 2s unless given", 0},
        {"count", 'n', "N", 0, "end after so many looks", 0},
        {"batch", 'b', 0, 0, "a plain table, as without a terminal", 0},
    };
    static char names[OPTIONS][32];
    static struct argp argp = {
        .options = options,
        .parser = parse_option,
        .args_doc = "[PID...]",
        .doc =
            "Shows live which processes have how many connections, in which states, and the code paths that leave "
            "sockets in "
            "CLOSE_WAIT: of these processes, or of all that keep a ledger which may be read.\v"
            "On a terminal: ? lists the keys. Otherwise a plain table is written at each look, until nobody reads it "
            "any "
            "more or the processes asked for have ended. Exit code: 0, or 2 after a message when it could not begin.",
    };
    struct argp_option *to = options;

    if (names[0][0])
        return &argp;
    while (to->name)
        to++;
    for (int i = 0; i < OPTIONS; i++) {
        const struct cw_option *option = cw_options_table;
        while (strcmp(option->name, of_options[i]) != 0)
            option++;
        for (size_t k = 0; of_options[i][k]; k++)
            names[i][k] = of_options[i][k] == '_' ? '-' : of_options[i][k];
        *to++ = (struct argp_option){names[i], KEY_OPTION + i, "VALUE", 0, option->sentence, 0};
        if (strcmp(names[i], of_options[i]) != 0)
            *to++ = (struct argp_option){of_options[i], KEY_OPTION + i, NULL, OPTION_ALIAS | OPTION_HIDDEN, NULL, 0};
    }
    return &argp;
}

/* --- time --- */

static void sleep_until(uint64_t ms)
{
    const struct timespec until = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
}

/* When the next look is due: on the beat, where that is not over already. */
static uint64_t next_ms(uint64_t last, uint32_t interval_ms)
{
    uint64_t next = last + interval_ms, now = cw_clock_ms(CLOCK_MONOTONIC);
    return next > now ? next : now;
}

/* --- without a terminal --- */

static const char waiting[] =
    "no process with a ledger that may be read so far, waiting for one: start it with cwguard run, or with "
    "LD_PRELOAD=/path/to/libcwguard.so in its environment";

/* What a user should be told of a look, NULL for nothing. */
static const char *remark(const struct cw_top_look *look)
{
    static char text[256];

    if (look->n_outside) {
        snprintf(text, sizeof text,
                 "pid %d is seen from outside: libcwguard.so is not in it, or has met no connection yet; more: "
                 "cwguard report %d",
                 (int)look->outside, (int)look->outside);
        return text;
    }
    return look->model.n_processes || look->n_pids ? NULL : waiting;
}

static int show_tables(struct cw_top_look *look, const struct arguments *arguments)
{
    static struct cw_out out;
    const char *last = NULL;
    uint64_t beat = cw_clock_ms(CLOCK_MONOTONIC);
    int error;

    cw_out_stdout(&out);
    for (uint64_t n = 1;; n++) {
        cw_top_look_take(look, false);
        const char *now = remark(look);
        if (now && now != last)
            cw_say("%s", now);
        last = now;
        if (look->n_pids && !look->n_alive) {
            cw_say("%s: done", look->n_pids == 1 ? "the process has ended" : "the processes have ended");
            return CW_EXIT_OK;
        }
        cw_top_model_sort(&look->model, CW_TOP_BY_COUNT);
        error = cw_top_table(&out, &look->model, look->real_ns);
        if (error == -EPIPE)
            return CW_EXIT_OK; /* who has read enough */
        if (error) {
            cw_say("the table cannot be written: %s", strerror(-error));
            return CW_EXIT_FAILED;
        }
        if (n == arguments->count)
            return CW_EXIT_OK;
        beat = next_ms(beat, arguments->interval_ms);
        sleep_until(beat);
    }
}

/* --- on a terminal --- */

static void follow(struct cw_top_screen *screen, struct cw_top_look *look)
{
    time_t seconds = (time_t)(look->real_ns / UINT64_C(1000000000));
    const char *message = cw_terminal_message();
    static pid_t told;
    struct tm local;

    /* Once: where it stands, the keys are not. */
    if (!*message && look->n_outside && look->outside != told)
        message = remark(look);
    told = look->n_outside ? look->outside : 0;
    if (!*message && look->n_pids && !look->n_alive)
        message = look->n_pids == 1 ? "the process has ended: q quits" : "the processes have ended: q quits";
    if (*message)
        snprintf(screen->message, sizeof screen->message, "%s", message);
    if (localtime_r(&seconds, &local))
        strftime(screen->clock, sizeof screen->clock, "%H:%M:%S", &local);
    cw_top_model_sort(&look->model, screen->sort);
    cw_top_screen_follow(screen, &look->model);
}

static void open_group(struct cw_top_screen *screen, struct cw_top_look *look)
{
    if (!screen->paused) {
        cw_top_look_take(look, true);
        follow(screen, look);
    }
    if (!cw_top_screen_open(screen))
        snprintf(screen->message, sizeof screen->message, "these sockets are gone");
}

/* Takes the keys that were typed. False: quit. */
static bool take_keys(struct cw_top_screen *screen, struct cw_top_look *look, uint32_t interval_ms)
{
    enum cw_top_sort sort = screen->sort;
    enum cw_top_wish wish;

    while (cw_top_screen_key(screen, &wish)) {
        if (wish == CW_TOP_QUIT)
            return false;
        if (screen->sort != sort) {
            sort = screen->sort;
            cw_top_model_sort(&look->model, sort);
            cw_top_screen_follow(screen, &look->model);
        }
        if (wish == CW_TOP_OPEN)
            open_group(screen, look);
        if (wish != CW_TOP_NOTHING)
            cw_top_screen_draw(screen, interval_ms);
    }
    return true;
}

static void show_screen(struct cw_top_look *look, const struct arguments *arguments)
{
    struct cw_top_screen screen = {.focus = CW_TOP_GROUPS, .model = &look->model};
    uint64_t beat = cw_clock_ms(CLOCK_MONOTONIC), n = 0;
    bool on = true;

    while (on && !cw_terminal_ended() && cw_terminal_lives()) {
        uint64_t now = cw_clock_ms(CLOCK_MONOTONIC);
        if (now >= beat && !screen.paused) {
            cw_top_look_take(look, false);
            follow(&screen, look);
            cw_top_screen_draw(&screen, arguments->interval_ms);
            if (++n == arguments->count)
                break;
            beat = next_ms(beat, arguments->interval_ms);
            now = cw_clock_ms(CLOCK_MONOTONIC);
        }
        cw_terminal_wait(screen.paused ? PAUSE_MS : beat > now ? (unsigned)(beat - now) : 0);
        on = take_keys(&screen, look, arguments->interval_ms);
    }
    cw_top_screen_free(&screen);
}

/* --- */

/* The pids asked for must be there when we begin. */
static bool all_there(const struct arguments *arguments)
{
    struct cw_proc proc;
    bool there = true;

    for (size_t i = 0; i < arguments->n_pids; i++)
        if (cw_proc_read(&proc, arguments->pids[i]) < 0 || proc.zombie) {
            cw_say("pid %d: there is no such process; cwguard ledgers lists those that keep a ledger",
                   (int)arguments->pids[i]);
            there = false;
        }
    return there;
}

static int show(struct cw_top_look *look, const struct arguments *arguments)
{
    bool table = arguments->batch || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO);
    char why[256];
    int number;

    if (!table && cw_terminal_begin(why, sizeof why) < 0) {
        cw_say("%s: a plain table instead", why);
        table = true;
    }
    if (table)
        return show_tables(look, arguments);
    show_screen(look, arguments);
    number = cw_terminal_ended();
    cw_terminal_end();
    if (number && number != SIGINT)
        raise(number); /* so that who sent it sees that it was obeyed */
    return CW_EXIT_OK;
}

int cw_cmd_top(int argc, char **argv)
{
    struct arguments arguments = {.interval_ms = INTERVAL_MS};
    struct cw_top_look look = {.request = &arguments.flags.request};
    int code = CW_EXIT_FAILED;

    cw_flags_begin(&arguments.flags);
    if (argp_parse(cw_argp_top(), argc, argv, 0, NULL, &arguments) != 0)
        return CW_EXIT_FAILED;
    setlocale(LC_CTYPE, "");
    arguments.flags.request.names = cw_names_new();
    look.pids = arguments.pids;
    look.n_pids = arguments.n_pids;
    if (all_there(&arguments) && cw_top_look_begin(&look, arguments.flags.options.ledger_dir) == 0)
        code = show(&look, &arguments);
    cw_top_look_end(&look);
    cw_names_free(arguments.flags.request.names);
    free(arguments.pids);
    return code;
}
