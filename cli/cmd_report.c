/* cwguard report PID | FILE.cwg | --dead | --fd N: picks the ledgers and has each rendered. */
#include "cli/cli.h"
#include "cli/find.h"
#include "cli/render.h"

#include "core/options.h"

#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Options of core/options.inc that make sense as flags here; --output is another name of log_path. */
static const char *const flag_options[] = {"grace", "exit_grace", "late", "format", "ledger_dir", "log_path"};
enum { FLAG_OPTIONS = sizeof flag_options / sizeof *flag_options };

enum { KEY_FLAG = 0x1000, KEY_DEAD = 0x2000, KEY_FD, KEY_COLOR, KEY_OUTPUT };

struct arguments {
    struct cw_request request;
    struct cw_options options; /* what the flags say, for what is needed before a ledger is read */
    const char *target;
    bool dead, have_fd;
    int fd;
};

/* --- finding --- */

struct by_process {
    const struct cw_proc *proc;
    struct cw_load best;
    char best_name[PATH_MAX];
    bool found;
};

/* A process that has called exec has more than one ledger: the running one counts, then the younger one. */
static bool is_better(const struct cw_ledger *a, const struct cw_ledger *b)
{
    if ((a->ended == CW_ENDED_RUNNING) != (b->ended == CW_ENDED_RUNNING))
        return a->ended == CW_ENDED_RUNNING;
    return a->start_mono_ns > b->start_mono_ns;
}

static bool keep_best(void *ctx, const struct cw_found *found)
{
    struct by_process *wanted = ctx;
    struct cw_load load;
    char why[256];

    if (found->pid != wanted->proc->inner_pid || found->start_ticks != wanted->proc->start_ticks ||
        (wanted->proc->pid_ns && found->pid_ns != wanted->proc->pid_ns))
        return true;
    if (cw_load_ledger(&load, found->fd, true, why, sizeof why) < 0) {
        cw_say("%s %s", found->path, why);
        return true;
    }
    if (wanted->found && !is_better(load.view.header, wanted->best.view.header)) {
        cw_load_free(&load);
        return true;
    }
    if (wanted->found)
        cw_load_free(&wanted->best);
    wanted->best = load;
    wanted->found = true;
    snprintf(wanted->best_name, sizeof wanted->best_name, "%s", found->path);
    return true;
}

/* Says why a process has no ledger that we could read. */
static void explain_no_ledger(pid_t pid)
{
    char path[64], line[PATH_MAX + 128];
    bool found = false;
    FILE *maps;

    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    maps = fopen(path, "re");
    if (!maps) {
        cw_say("pid %d has no ledger that can be read here, and whether it runs under libcwguard.so cannot be seen "
               "(%s): run "
               "as its user, or as root with CAP_SYS_PTRACE",
               (int)pid, strerror(errno));
        return;
    }
    while (!found && fgets(line, sizeof line, maps))
        found = strstr(line, "/libcwguard.so") != NULL;
    fclose(maps);
    if (found)
        cw_say("pid %d runs under libcwguard.so but has no ledger that can be read here: it has had no TCP socket yet, "
               "or option programs leaves it out, or its ledger_dir is another one (give --ledger-dir), or that is not "
               "a tmpfs or not writable for it",
               (int)pid);
    else
        cw_say("pid %d was not started under libcwguard.so: start it with LD_PRELOAD=/path/to/libcwguard.so in its "
               "environment",
               (int)pid);
}

static int report_process(const struct arguments *arguments, pid_t pid)
{
    struct by_process wanted = {0};
    struct cw_proc proc;
    char root[32] = "";
    int error = cw_proc_read(&proc, pid), result;

    if (error || proc.zombie) {
        cw_say("pid %d: %s; cwguard report --dead shows what ended processes have left", (int)pid,
               !error || error == -ESRCH ? "there is no such process" : strerror(-error));
        return CW_EXIT_FAILED;
    }
    wanted.proc = &proc;
    cw_find_ledgers("", arguments->options.ledger_dir, keep_best, &wanted);
    if (!wanted.found && !arguments->options.ledger_dir[0] && proc.pid_ns != cw_proc_own_pid_ns()) {
        snprintf(root, sizeof root, "/proc/%d/root", (int)pid);
        cw_find_ledgers(root, "", keep_best, &wanted);
    }
    if (!wanted.found) {
        explain_no_ledger(pid);
        return CW_EXIT_FAILED;
    }
    result = cw_render(&wanted.best, wanted.best_name,
                       wanted.best.view.header->ended == CW_ENDED_EXEC ? CW_RENDER_ENDED : CW_RENDER_RUNNING, &proc,
                       &arguments->request);
    cw_load_free(&wanted.best);
    return result ? CW_EXIT_FAILED : CW_EXIT_OK;
}

static int report_fd(const struct arguments *arguments, int fd, const char *name, bool dying)
{
    enum cw_render_of of = dying ? CW_RENDER_DYING : CW_RENDER_ENDED;
    const struct cw_ledger *header;
    struct cw_proc proc, *live = NULL;
    struct cw_load load;
    char why[256];
    int result;

    if (cw_load_ledger(&load, fd, true, why, sizeof why) < 0) {
        cw_say("%s %s", name, why);
        return CW_EXIT_FAILED;
    }
    header = load.view.header;
    if (cw_proc_lives(header->pid_ns, header->pid, header->start_ticks, NULL) &&
        cw_proc_read(&proc, header->pid) == 0) {
        live = &proc;
        if (!dying && header->ended != CW_ENDED_EXEC)
            of = CW_RENDER_RUNNING;
    }
    result = cw_render(&load, name, of, live, &arguments->request);
    cw_load_free(&load);
    return result ? CW_EXIT_FAILED : CW_EXIT_OK;
}

static int report_file(const struct arguments *arguments, const char *path)
{
    int fd = cw_load_open(AT_FDCWD, path), code;

    if (fd < 0) {
        cw_say("%s cannot be opened: %s%s", *path ? path : "''", strerror(-fd),
               fd == -ENOENT
                   ? "; give a pid or a ledger file; cwguard report --dead finds the ledgers of ended processes"
                   : "");
        return CW_EXIT_FAILED;
    }
    code = report_fd(arguments, fd, path, false);
    close(fd);
    return code;
}

/* --- the dead --- */

struct dead {
    const struct arguments *arguments;
    unsigned shown, alive, reported, elsewhere;
    int code;
};

static bool report_dead(void *ctx, const struct cw_found *found)
{
    struct dead *dead = ctx;
    struct cw_load load;
    char why[256];
    bool known;

    if (cw_proc_lives(found->pid_ns, found->pid, found->start_ticks, &known)) {
        dead->alive++;
        return true;
    }
    if (!known) {
        dead->elsewhere++;
        return true;
    }
    if (cw_load_ledger(&load, found->fd, false, why, sizeof why) < 0) {
        cw_say("%s %s", found->path, why);
        dead->code = CW_EXIT_FAILED;
        return true;
    }
    if (load.view.header->flags & CW_HEADER_REPORTED) {
        dead->reported++;
    } else {
        dead->shown++;
        if (cw_render(&load, found->path, CW_RENDER_ENDED, NULL, &dead->arguments->request) < 0)
            dead->code = CW_EXIT_FAILED;
    }
    cw_load_free(&load);
    return true;
}

static int report_all_dead(const struct arguments *arguments)
{
    struct dead dead = {.arguments = arguments, .code = CW_EXIT_OK};

    cw_find_ledgers("", arguments->options.ledger_dir, report_dead, &dead);
    if (!dead.shown && dead.code == CW_EXIT_OK)
        cw_say(
            "no ended process has left a ledger in %s (%u of running processes, %u already reported, %u of other pid "
            "namespaces)",
            arguments->options.ledger_dir[0] ? arguments->options.ledger_dir : "/dev/shm/cwguard-UID", dead.alive,
            dead.reported, dead.elsewhere);
    return dead.code;
}

/* --- arguments --- */

static void print_refusal(void *ctx, const char *line)
{
    (void)ctx;
    cw_say("%s", line);
}

static error_t add_flag(struct arguments *arguments, const char *name, const char *value)
{
    struct cw_request *request = &arguments->request;

    if (cw_options_set(&arguments->options, name, value, print_refusal, NULL) < 0)
        exit(CW_EXIT_FAILED);
    /* The last one counts, so a full list only means that somebody repeats himself. */
    if (request->flag_count == CW_FLAGS_MAX) {
        cw_say("too many options");
        exit(CW_EXIT_FAILED);
    }
    request->flags[request->flag_count].name = name;
    request->flags[request->flag_count++].value = value;
    return 0;
}

static int parse_number(const char *text, const char *what)
{
    char *end;
    long number;

    errno = 0;
    number = strtol(text, &end, 10);
    if (errno || *end || end == text || number < 0 || number > INT_MAX) {
        cw_say("%s '%s' is no number", what, text);
        exit(CW_EXIT_FAILED);
    }
    return (int)number;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    if (key >= KEY_FLAG && key < KEY_FLAG + FLAG_OPTIONS)
        return add_flag(arguments, flag_options[key - KEY_FLAG], value);
    switch (key) {
    case KEY_OUTPUT:
        return add_flag(arguments, "log_path", value);
    case KEY_DEAD:
        arguments->dead = true;
        return 0;
    case KEY_FD:
        arguments->fd = parse_number(value, "fd");
        arguments->have_fd = true;
        return 0;
    case KEY_COLOR:
        if (!strcmp(value, "auto"))
            arguments->request.colour = CW_COLOUR_AUTO;
        else if (!strcmp(value, "always"))
            arguments->request.colour = CW_COLOUR_ALWAYS;
        else if (!strcmp(value, "never"))
            arguments->request.colour = CW_COLOUR_NEVER;
        else
            argp_error(state, "--color: '%s' is none of auto, always, never", value);
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->target)
            argp_error(state, "one process or ledger at a time");
        arguments->target = value;
        return 0;
    case ARGP_KEY_END:
        if ((arguments->target != NULL) + arguments->dead + arguments->have_fd != 1)
            argp_error(state, "what is to be reported? A pid, a ledger file, --dead or --fd");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const char *sentence_of(const char *option)
{
    for (size_t i = 0; i < cw_options_count; i++)
        if (!strcmp(cw_options_table[i].name, option))
            return cw_options_table[i].sentence;
    return "";
}

/* Flags out of the table of options: with hyphens, and with underscores as in CWGUARD_OPTIONS. */
static void make_flags(struct argp_option *options, char names[FLAG_OPTIONS][32])
{
    size_t n = 0;

    options[n++] =
        (struct argp_option){"dead", KEY_DEAD, 0, 0, "report every process that has ended without a report", 0};
    options[n++] = (struct argp_option){
        "fd",
        KEY_FD,
        "N",
        0,
        "report the ledger that is open as fd N, with its own options (the ending process does this)",
        0};
    options[n++] =
        (struct argp_option){"output", KEY_OUTPUT, "FILE", 0, "the same as --log-path; stdout without it", 0};
    options[n++] = (struct argp_option){
        "color", KEY_COLOR, "WHEN", 0, "auto (on a terminal, unless NO_COLOR is set), always or never", 0};
    for (size_t i = 0; i < FLAG_OPTIONS; i++) {
        snprintf(names[i], sizeof names[i], "%s", flag_options[i]);
        for (char *c = names[i]; *c; c++)
            if (*c == '_')
                *c = '-';
        options[n++] = (struct argp_option){names[i], KEY_FLAG + (int)i, "VALUE", 0, sentence_of(flag_options[i]), 0};
        if (strchr(flag_options[i], '_'))
            options[n++] = (struct argp_option){
                flag_options[i], KEY_FLAG + (int)i, "VALUE", OPTION_ALIAS | OPTION_HIDDEN, NULL, 0};
    }
    options[n] = (struct argp_option){0};
}

int cw_cmd_report(int argc, char **argv)
{
    static struct argp_option options[2 * FLAG_OPTIONS + 5];
    static char names[FLAG_OPTIONS][32];
    struct arguments arguments = {.fd = -1};
    struct cw_options environment;
    const struct argp argp = {
        .options = options,
        .parser = parse_option,
        .args_doc = "PID\nFILE.cwg\n--dead\n--fd=N",
        .doc =
            "Reports which sockets a process leaves in CLOSE_WAIT, and the code that does.\v"
            "A running process is compared with what the kernel says at this moment. The grace period is --grace for a "
            "running process and --exit-grace for one that has ended (--grace, if only that is given). Exit code: 0 "
            "when "
            "the report is out, 2 when there is none; a message says why.",
    };

    make_flags(options, names);
    cw_options_default(&arguments.options);
    /* Servers started from this shell keep their ledgers where its CWGUARD_OPTIONS say. */
    cw_options_default(&environment);
    cw_options_parse(&environment, getenv("CWGUARD_OPTIONS"), NULL, NULL);
    memcpy(arguments.options.ledger_dir, environment.ledger_dir, sizeof environment.ledger_dir);
    if (argp_parse(&argp, argc, argv, 0, NULL, &arguments) != 0)
        return CW_EXIT_FAILED;

    if (arguments.have_fd)
        return report_fd(&arguments, arguments.fd, "the ledger", true);
    if (arguments.dead)
        return report_all_dead(&arguments);
    if (arguments.target[strspn(arguments.target, "0123456789")] == 0 && *arguments.target)
        return report_process(&arguments, parse_number(arguments.target, "pid"));
    return report_file(&arguments, arguments.target);
}
