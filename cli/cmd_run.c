/* cwguard run [OPTION...] [--] PROGRAM [ARGUMENT...]: starts a program under the library, watches all its processes,
 * reports. */
#define _GNU_SOURCE
#include "cli/cli.h"
#include "cli/flags.h"
#include "cli/library.h"
#include "cli/run/child.h"
#include "cli/run/loop.h"
#include "cli/run/preload_env.h"
#include "cli/run/program.h"
#include "cli/run/report.h"
#include "cli/run/signals.h"
#include "cli/watch/watch.h"

#include "core/options.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_EXITCODE = 0x2000, KEY_LIBRARY, KEY_STOP_TIMEOUT, KEY_INTERVAL };
enum { INIT_STOP_TIMEOUT_MS = 10000, INTERVAL_MS = 1000 };

struct arguments {
    struct cw_flags flags;
    struct cw_options options; /* CWGUARD_OPTIONS, with the flags on top: what the recorders get */
    struct cw_run_loop run;
    char **command;
    const char *library;
};

/* --- options --- */

static void warn(void *ctx, const char *line)
{
    (void)ctx;
    cw_say("CWGUARD_OPTIONS: %s", line);
}

/* The recorders take them from one text, so what was in the environment and what is not said otherwise by a flag goes
 * in too. */
static int settle_options(struct arguments *arguments)
{
    const struct cw_request *request = &arguments->flags.request;
    struct cw_options *options = &arguments->options;
    uint64_t random = 0;

    cw_options_default(options);
    cw_options_parse(options, getenv("CWGUARD_OPTIONS"), warn, NULL);
    for (unsigned i = 0; i < request->flag_count; i++)
        cw_options_set(options, request->flags[i].name, request->flags[i].value, NULL, NULL);
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random) {
        cw_say("no random numbers: %s", strerror(errno));
        return -1;
    }
    snprintf(options->run, sizeof options->run, "%016llx", (unsigned long long)random);
    return 0;
}

/* Durations are written as those of the options. */
static uint32_t parse_ms(const char *text, const struct argp_state *state, const char *flag)
{
    struct cw_options scratch;

    cw_options_default(&scratch);
    if (cw_options_set(&scratch, "grace", text, NULL, NULL) < 0)
        argp_error(state, "%s: '%s' is no duration: 30, 30s, 500ms, 2m", flag, text);
    return scratch.grace_ms;
}

static int parse_exitcode(const char *text, const struct argp_state *state)
{
    char *end;
    long number = strtol(text, &end, 10);

    if (*end || end == text || number < 1 || number > 255)
        argp_error(state, "--exitcode: '%s' is none of 1 to 255", text);
    return (int)number;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &arguments->flags;
        return 0;
    case KEY_EXITCODE:
        arguments->run.exitcode = parse_exitcode(value, state);
        return 0;
    case KEY_LIBRARY:
        arguments->library = value;
        return 0;
    case KEY_STOP_TIMEOUT:
        arguments->run.stop_timeout_ms = parse_ms(value, state, "--stop-timeout");
        return 0;
    case KEY_INTERVAL:
        arguments->run.interval_ms = parse_ms(value, state, "--interval");
        if (arguments->run.interval_ms == 0)
            argp_error(state, "--interval: 0 would be no pause at all");
        return 0;
    case ARGP_KEY_ARG:
        /* The rest is the program's. */
        arguments->command = &state->argv[state->next - 1];
        state->next = state->argc;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "what is to be run? cwguard run ./server ARGUMENT...");
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp *cw_argp_run(void)
{
    static const struct argp_option options[] = {
        {"exitcode", KEY_EXITCODE, "N", 0, "exit with N instead of the program's own status where leaks were found", 1},
        {"library", KEY_LIBRARY, "FILE", 0,
         "libcwguard.so; without this it is looked for beside this tool, in ../lib and ../lib/x86_64-linux-gnu", 1},
        {"stop-timeout", KEY_STOP_TIMEOUT, "TIME", 0,
         "how long after SIGTERM whoever sent it sends SIGKILL: the report is out after four fifths of it, even if the "
         "program still runs; 10s as PID 1 of a container, else none",
         1},
        {"interval", KEY_INTERVAL, "TIME", OPTION_HIDDEN, "between two looks: 1s", 1},
        {0}};
    static struct argp_child children[] = {{NULL, 0, "Options of the library and of the report:", 2}, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .children = children,
        .args_doc = "PROGRAM [ARGUMENT...]",
        .doc =
            "Runs a program under libcwguard.so and watches it and all processes that come of it. Reports at the end "
            "of the last of them, however they have ended, once for all; meanwhile a line on stderr tells of each code "
            "path that begins to leak.\v"
            "Options end at the first word that is none. CWGUARD_OPTIONS holds too; flags win. Signals are passed on "
            "to the program, stdin, stdout, stderr and the terminal are its own. A process that it leaves behind (a "
            "daemon) is followed until it ends, or until Ctrl-C or SIGTERM; what runs then is judged by --exit-grace "
            "as well.\n\n"
            "As the entry point of a container (PID 1) it passes signals on, reaps orphans, and has its report out "
            "before the runtime's patience ends: ENTRYPOINT [\"cwguard\", \"run\", \"--\", \"/usr/bin/server\"].\n\n"
            "Exit code: the program's, 128 + N if signal N has ended it; --exitcode where leaks were found; 127 if "
            "there is no such program, 126 if it cannot be executed, 2 for wrong usage.",
    };

    children[0].argp = cw_flags_argp_run();
    return &argp;
}

/* --- before the start --- */

/* A report that cannot be written is noticed while nothing is lost yet; what an earlier run has left under that name is
 * no longer true. */
static int prepare_output(const char *path)
{
    char folder[PATH_MAX];
    struct stat st;

    if (!*path || !strncmp(path, "/dev/", 5) || !strncmp(path, "/proc/", 6))
        return 0;
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    snprintf(slash ? slash + 1 : folder, 2, ".");
    if (!strchr(folder, '%') && access(folder, W_OK | X_OK) != 0) {
        cw_say("the report cannot be written to %s: %s", path, strerror(errno));
        return -1;
    }
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        cw_say("the report cannot be written to %s: it is a directory", path);
        return -1;
    }
    if (!strchr(path, '%') && lstat(path, &st) == 0 && S_ISREG(st.st_mode))
        unlink(path);
    return 0;
}

/* --output=/dev/fd/N, as the shell's >(COMMAND) gives it. */
static int fd_of_output(const char *path)
{
    int fd = -1, end = 0;

    if ((sscanf(path, "/dev/fd/%d%n", &fd, &end) == 1 || sscanf(path, "/proc/self/fd/%d%n", &fd, &end) == 1) &&
        !path[end])
        return fd;
    return -1;
}

static void say_obstacle(const char *name, const struct cw_run_program *program)
{
    if (!program->obstacle[0])
        return;
    if (strcmp(program->subject, program->path) != 0)
        cw_say("%s: its interpreter %s %s: nothing will be recorded in it; cwguard doctor %s says more", name,
               program->subject, program->obstacle, name);
    else
        cw_say("%s %s: nothing will be recorded in it; cwguard doctor %s says more", name, program->obstacle, name);
}

static char **make_environment(const struct arguments *arguments, struct cw_run_program *program)
{
    char library[PATH_MAX], text[8192], why[PATH_MAX + 256];
    char **environment = NULL;

    if (cw_library_find(library, sizeof library, arguments->library, why, sizeof why) == 0 &&
        cw_preload_env_options(text, sizeof text, &arguments->options, why, sizeof why) == 0) {
        if (!program->runtime[0])
            cw_run_program_runtime(program->runtime, library);
        environment =
            cw_preload_env(environ, program->no_preload ? NULL : library, program->runtime, text, why, sizeof why);
    }
    if (!environment)
        cw_say("%s", why);
    return environment;
}

/* --- running it --- */

static int follow(struct arguments *arguments, pid_t program)
{
    static struct cw_request request;
    const struct cw_watch_of of = {.run = arguments->options.run,
                                   .root = program,
                                   .ledger_dir = arguments->options.ledger_dir,
                                   .request = &request};

    request.colour = arguments->flags.request.colour;
    request.redact = arguments->flags.request.redact;
    arguments->run.program = program;
    arguments->run.options = &arguments->options;
    if (cw_run_report_request(&request, &arguments->options) == 0)
        arguments->run.watch = cw_watch_new(&of);
    if (!arguments->run.watch) {
        /* It runs already, and is not to suffer. */
        cw_say("not enough memory to watch %s: afterwards, cwguard report --dead shows what it has left",
               arguments->run.name);
        return cw_run_loop_wait(program);
    }
    int code = cw_run_loop(&arguments->run);
    cw_watch_free(arguments->run.watch);
    return code;
}

int cw_cmd_run(int argc, char **argv)
{
    static struct arguments arguments = {.run = {.interval_ms = INTERVAL_MS}};
    static struct cw_run_program program;
    static char **environment;
    char why[PATH_MAX + 256];

    if (getpid() == 1)
        arguments.run.stop_timeout_ms = INIT_STOP_TIMEOUT_MS;
    cw_flags_begin(&arguments.flags);
    if (argp_parse(cw_argp_run(), argc, argv, ARGP_IN_ORDER, NULL, &arguments) != 0 || settle_options(&arguments) < 0)
        return CW_EXIT_FAILED;
    arguments.run.name = arguments.command[0];
    int code = cw_run_program_find(&program, arguments.command[0], why, sizeof why);
    if (code) {
        cw_say("%s: %s", arguments.command[0], why);
        return code;
    }
    environment = make_environment(&arguments, &program);
    if (!environment || prepare_output(arguments.options.log_path) < 0)
        return CW_EXIT_FAILED;
    say_obstacle(arguments.command[0], &program);

    cw_run_signals_begin();
    pid_t pid = cw_run_child_start(program.path, arguments.command, environment);
    if (pid < 0) {
        cw_say("%s cannot be run: %s%s", arguments.command[0], strerror(-pid),
               pid == -ENOENT ? " (the file is there: its interpreter or loader is not)" : "");
        return pid == -ENOENT ? 127 : 126;
    }
    cw_run_child_release(fd_of_output(arguments.options.log_path));
    return follow(&arguments, pid);
}
