/* cwguard: the reporter. Dispatches to the subcommands of cli/commands.inc. */
#include "cli/cli.h"

#include <argp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const struct cw_command cw_commands[] = {
#define CW_COMMAND(name, function, help) {#name, function, help},
#include "cli/commands.inc"
};
const unsigned cw_commands_count = sizeof cw_commands / sizeof *cw_commands;

void cw_say(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("cwguard: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

static int write_stdout(void *ctx, const void *bytes, size_t n)
{
    (void)ctx;
    return fwrite(bytes, 1, n, stdout) == n && fflush(stdout) == 0 ? 0 : -1;
}

void cw_out_stdout(struct cw_out *out)
{
    cw_out_init(out, write_stdout, NULL);
}

const struct cw_command *cw_command_find(const char *name)
{
    for (unsigned i = 0; i < cw_commands_count; i++)
        if (!strcmp(cw_commands[i].name, name))
            return &cw_commands[i];
    fprintf(stderr, "cwguard: no command '%s'; the commands are", name);
    for (unsigned i = 0; i < cw_commands_count; i++)
        fprintf(stderr, "%s %s", i ? "," : "", cw_commands[i].name);
    fprintf(stderr, "; try: cwguard help\n");
    return NULL;
}

int main(int argc, char **argv)
{
    char title[64];
    const char *name = argc > 1 ? argv[1] : "help";
    const struct cw_command *command;

    /* A reader that goes away, or a limit on file sizes, is an error to report, not a reason to die. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    argp_err_exit_status = CW_EXIT_FAILED;
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "-?"))
        name = "help";
    if (!strcmp(name, "--version") || !strcmp(name, "-V"))
        name = "version";
    command = cw_command_find(name);
    if (!command)
        return CW_EXIT_FAILED;
    snprintf(title, sizeof title, "cwguard %s", command->name);
    if (argc < 2) {
        char *alone[] = {title, NULL};
        return command->run(1, alone);
    }
    argv[1] = title;
    return command->run(argc - 1, argv + 1);
}
