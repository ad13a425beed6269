/* cwguard report [PID... | FILE.cwg... | --all | --dead | --fd=N]: one report over what is named. */
#include "cli/cli.h"
#include "cli/flags.h"
#include "cli/ledger/save.h"
#include "cli/process/proc.h"
#include "cli/report/redact.h"
#include "cli/report/report_targets.h"
#include "cli/symbols/debug_files.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_ALL = 0x1000, KEY_DEAD, KEY_FD, KEY_SAVE, KEY_DEBUG_DIR, KEY_SYSROOT, KEY_DEBUGINFOD, KEY_REDACT };

struct arguments {
    struct cw_flags flags;
    const char **names; /* pids and files, in order */
    size_t n_names;
    bool all, dead;
    int fd; /* -1 none */
    const char *save, *redact_list;
    struct cw_redact redact;
    struct cw_debug_options debug;
};

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

/* --- arguments --- */

static error_t add_debug_dir(struct arguments *arguments, const char *dir, const struct argp_state *state)
{
    if (arguments->debug.debug_dir_count == CW_DEBUG_DIRS_MAX)
        argp_error(state, "--debug-dir: at most %d of them", CW_DEBUG_DIRS_MAX);
    arguments->debug.debug_dirs[arguments->debug.debug_dir_count++] = dir;
    return 0;
}

static void check_arguments(const struct arguments *arguments, const struct argp_state *state)
{
    int ways = (arguments->n_names > 0) + arguments->all + arguments->dead + (arguments->fd >= 0);

    if (ways == 0)
        argp_error(state, "what is to be reported? Pids, ledger files, --all or --dead");
    if (ways > 1)
        argp_error(state, "pids and ledger files, --all, --dead and --fd exclude one another");
    if (arguments->save && arguments->redact_list)
        argp_error(
            state,
            "--save and --redact cannot be had together: a ledger holds every address and the command line; give away "
            "a report that was made with --redact instead");
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &arguments->flags;
        return 0;
    case KEY_ALL:
        arguments->all = true;
        return 0;
    case KEY_DEAD:
        arguments->dead = true;
        return 0;
    case KEY_FD:
        arguments->fd = parse_number(value, "fd");
        return 0;
    case KEY_SAVE:
        arguments->save = value;
        return 0;
    case KEY_DEBUG_DIR:
        return add_debug_dir(arguments, value, state);
    case KEY_SYSROOT:
        arguments->debug.sysroot = value;
        return 0;
    case KEY_DEBUGINFOD:
        arguments->debug.debuginfod = true;
        arguments->debug.debuginfod_urls = value;
        return 0;
    case KEY_REDACT:
        arguments->redact_list = value;
        return 0;
    case ARGP_KEY_ARG:
        arguments->names[arguments->n_names++] = value;
        return 0;
    case ARGP_KEY_END:
        check_arguments(arguments, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp *cw_argp_report(void)
{
    enum { WHAT = 1, NAMES, HANDING_ON, FORM };
    static const struct argp_option options[] = {
        {NULL, 0, NULL, 0, "What is reported, in place of pids and files:", WHAT},
        {"all", KEY_ALL, NULL, 0, "all running processes of this user that have a ledger; as root, of everybody", WHAT},
        {"dead", KEY_DEAD, NULL, 0, "all processes that have ended without a report", WHAT},
        {"fd", KEY_FD, "N", 0, "the ledger that is open as fd N, with its own options (the ending process does this)",
         WHAT},
        {NULL, 0, NULL, 0, "Where names and lines of code come from, for a ledger from elsewhere:", NAMES},
        {"debug-dir", KEY_DEBUG_DIR, "DIR", 0,
         "look in DIR for programs, libraries and debug files of the right build-id; may be given several times",
         NAMES},
        {"sysroot", KEY_SYSROOT, "DIR", 0, "look for files of the ledger's machine below DIR", NAMES},
        {"debuginfod", KEY_DEBUGINFOD, "URLS", OPTION_ARG_OPTIONAL,
         "ask these servers for debug information (without URLS: those of DEBUGINFOD_URLS)", NAMES},
        {NULL, 0, NULL, 0, "To hand on:", HANDING_ON},
        {"save", KEY_SAVE, "FILE.cwg", 0,
         "keep what the report is made of, completed by what the kernel says, in a file that cwguard report reads "
         "anywhere",
         HANDING_ON},
        {"redact", KEY_REDACT, "LIST", 0,
         "replace these by a hash in the report: peer, local, command, host, label, separated by commas, or all",
         HANDING_ON},
        {0}};
    static struct argp_child children[] = {{NULL, 0, "Options, as in CWGUARD_OPTIONS (cwguard help options):", FORM},
                                           {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse_option,
        .args_doc = "PID|FILE.cwg...\n--all\n--dead\n--fd=N",
        .doc = "Reports which sockets processes leave in CLOSE_WAIT, and the code that does. Several make one report, "
               "in which "
               "the same code path in many processes is one.\v"
               "A running process is compared with what the kernel says at this moment; it is neither stopped for "
               "longer than "
               "20 ms nor signalled. One without libcwguard.so is reported by what can be known from outside. The "
               "grace period "
               "is --grace for a running process and --exit-grace for one that has ended (--grace, if only that is "
               "given). "
               "Exit code: 0 when the report is out, 2 when there is none, or when something that was named is not in "
               "it; a "
               "message says why.",
        .children = children,
    };

    children[0].argp = cw_flags_argp_report();
    return &argp;
}

/* --- the report --- */

static void gather(struct cw_targets *targets, const struct arguments *arguments)
{
    if (arguments->fd >= 0)
        cw_target_fd(targets, arguments->fd);
    else if (arguments->all)
        cw_target_all(targets);
    else if (arguments->dead)
        cw_target_dead(targets);
    for (size_t i = 0; i < arguments->n_names; i++) {
        pid_t pid = cw_proc_parse_pid(arguments->names[i]);
        if (pid < 0) {
            cw_say("pid '%s' is no number that a process can have", arguments->names[i]);
            targets->failed = true;
        } else if (pid) {
            cw_target_process(targets, pid);
        } else {
            cw_target_file(targets, arguments->names[i]);
        }
    }
}

static int save(const struct cw_render *render, const char *path)
{
    char why[256];

    if (cw_save(cw_render_load(render, 0), path, why, sizeof why) < 0) {
        cw_say("%s %s", path, why);
        return -1;
    }
    return 0;
}

static int make_report(const struct arguments *arguments)
{
    struct cw_targets targets = {.render = cw_render_new(&arguments->flags.request),
                                 .ledger_dir = arguments->flags.options.ledger_dir};

    if (!targets.render) {
        cw_say("not enough memory");
        return CW_EXIT_FAILED;
    }
    gather(&targets, arguments);
    if (arguments->save && targets.added > 1) {
        cw_say("--save keeps one process, and these are %zu: give one pid or ledger", targets.added);
        targets.failed = true;
    } else if (targets.added) {
        bool out = cw_render_build(targets.render) != NULL;
        if (out && arguments->save && save(targets.render, arguments->save) < 0)
            targets.failed = true;
        if (!out || cw_render_emit(targets.render) < 0)
            targets.failed = true;
    }
    cw_render_free(targets.render);
    return targets.failed ? CW_EXIT_FAILED : CW_EXIT_OK;
}

static int run(struct arguments *arguments)
{
    struct cw_request *request = &arguments->flags.request;
    char why[512];
    int code;

    if (arguments->redact_list) {
        if (cw_redact_begin(&arguments->redact, arguments->redact_list, why, sizeof why) < 0) {
            cw_say("--redact: %s", why);
            return CW_EXIT_FAILED;
        }
        request->redact = &arguments->redact;
    }
    /* Also without a flag: it says which file is another build. A dying process has no time for that. */
    if (arguments->fd < 0 && !(request->debug_files = cw_debug_files_new(&arguments->debug, why, sizeof why))) {
        cw_say("%s", why);
        code = CW_EXIT_FAILED;
    } else {
        code = make_report(arguments);
    }
    cw_debug_files_free(request->debug_files);
    if (arguments->redact_list)
        cw_redact_end(&arguments->redact);
    return code;
}

int cw_cmd_report(int argc, char **argv)
{
    struct arguments arguments = {.fd = -1, .names = calloc((size_t)argc + 1, sizeof(char *))};
    int code = CW_EXIT_FAILED;

    if (!arguments.names) {
        cw_say("not enough memory");
        return code;
    }
    cw_flags_begin(&arguments.flags);
    if (argp_parse(cw_argp_report(), argc, argv, 0, NULL, &arguments) == 0)
        code = run(&arguments);
    free(arguments.names);
    return code;
}
