/* cwguard help [COMMAND], cwguard help options [--markdown]: everything in it comes from the tables. */
#include "cli/cli.h"

#include "core/options.h"

#include <stdio.h>
#include <string.h>

static int help_overview(void)
{
    printf("Usage: cwguard COMMAND [ARGUMENT...]\n"
           "Finds the code that leaves TCP sockets in CLOSE_WAIT. Start the program with\n"
           "    LD_PRELOAD=/path/to/libcwguard.so ./server\n"
           "and read the report when it ends, or ask for one at any time with: cwguard report PID\n\n"
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

int cw_cmd_help(int argc, char **argv)
{
    const struct cw_command *command;
    char title[64], flag[] = "--help", *arguments[] = {title, flag, NULL};

    if (argc < 2)
        return help_overview();
    if (!strcmp(argv[1], "options") && (argc == 2 || (argc == 3 && !strcmp(argv[2], "--markdown"))))
        return help_options(argc == 3);
    if (argc > 2) {
        cw_say("usage: cwguard help [COMMAND], or cwguard help options [--markdown]");
        return CW_EXIT_FAILED;
    }
    if (!strncmp(argv[1], "--", 2))
        return help_overview();
    command = cw_command_find(argv[1]);
    if (!command)
        return CW_EXIT_FAILED;
    snprintf(title, sizeof title, "cwguard %s", command->name);
    if (command->run == cw_cmd_help) {
        printf("Usage: cwguard help [COMMAND], or cwguard help options [--markdown]\n%s\n", command->help);
        return CW_EXIT_OK;
    }
    if (command->run == cw_cmd_version) {
        printf("Usage: cwguard version\n%s\n", command->help);
        return CW_EXIT_OK;
    }
    return command->run(2, arguments);
}
