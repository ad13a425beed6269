/* cwguard help [COMMAND], cwguard help options [--markdown]: everything in it comes from the tables. */
#include "cli/cli.h"

#include "core/options.h"

#include <stdio.h>
#include <string.h>

enum { KEY_MARKDOWN = 0x1000 };

static int help_overview(void)
{
    printf(
        "Usage: cwguard COMMAND [ARGUMENT...]\n"
        "Finds the code that leaves TCP sockets in CLOSE_WAIT. Start the program with\n"
        "    cwguard run -- ./server\n"
        "or, as it is started otherwise, with LD_PRELOAD=/path/to/libcwguard.so in its environment. The report comes\n"
        "when it ends; one of the running program comes at any time with: cwguard report PID\n\n"
        "Commands:\n");
    for (unsigned i = 0; i < cw_commands_count; i++)
        printf("  %-10s %s\n", cw_commands[i].name, cw_commands[i].help);
    printf("\ncwguard help COMMAND says more; cwguard help options lists what CWGUARD_OPTIONS may hold.\n");
    return fflush(stdout) ? CW_EXIT_FAILED : CW_EXIT_OK;
}

static int help_options(bool markdown)
{
    struct cw_options options;
    struct cw_out out;

    cw_out_stdout(&out);
    cw_options_default(&options);
    if (markdown)
        cw_options_markdown(&out);
    else
        cw_options_help(&out, &options);
    return cw_out_flush(&out) ? CW_EXIT_FAILED : CW_EXIT_OK;
}

/* Its own --help: argp adds to a command's flags what all commands have. */
static int help_command(const struct cw_command *command)
{
    char title[64], flag[] = "--help", *arguments[] = {title, flag, NULL};

    snprintf(title, sizeof title, "cwguard %s", command->name);
    return command->run(2, arguments);
}

struct arguments {
    const char *topic;
    bool markdown;
};

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    switch (key) {
    case KEY_MARKDOWN:
        arguments->markdown = true;
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->topic)
            argp_error(state, "one command at a time");
        arguments->topic = value;
        return 0;
    case ARGP_KEY_END:
        if (arguments->markdown && (!arguments->topic || strcmp(arguments->topic, "options") != 0))
            argp_error(state, "--markdown is for: cwguard help options");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp *cw_argp_help(void)
{
    static const struct argp_option options[] = {
        {"markdown", KEY_MARKDOWN, 0, 0, "with the word options: as docs/options.md has it", 0}, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse_option,
        .args_doc = "\nCOMMAND\noptions",
        .doc = "Says what the commands are, what one of them does, or, by the word options, what CWGUARD_OPTIONS may "
               "hold.",
    };
    return &argp;
}

int cw_cmd_help(int argc, char **argv)
{
    struct arguments arguments = {0};
    const struct cw_command *command;

    if (argp_parse(cw_argp_help(), argc, argv, 0, NULL, &arguments) != 0)
        return CW_EXIT_FAILED;
    if (!arguments.topic)
        return help_overview();
    if (!strcmp(arguments.topic, "options"))
        return help_options(arguments.markdown);
    command = cw_command_find(arguments.topic);
    return command ? help_command(command) : CW_EXIT_FAILED;
}
