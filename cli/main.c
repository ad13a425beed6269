/* cwguard: the reporter. Dispatches to the subcommands of cli/commands.inc. */
#include "cli/cli.h"
#include "cli/ledger/old_ledgers.h"

#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const struct cw_command cw_commands[] = {
#define CW_COMMAND(name, run, argp, help) {#name, run, argp, help},
#include "cli/commands.inc"
};
const unsigned cw_commands_count = sizeof cw_commands / sizeof *cw_commands;

/* A reader that goes away, or a limit on file sizes, is an error to report, not a reason to die. */
struct cw_found_action cw_found_actions[CW_FOUND_ACTIONS] = {{.signal = SIGPIPE}, {.signal = SIGXFSZ}};

void cw_say(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("cwguard: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

void cw_say_refusal(void *ctx, const char *line)
{
    (void)ctx;
    cw_say("%s", line);
}

static int write_stdout(void *ctx, const void *bytes, size_t n)
{
    (void)ctx;
    errno = 0;
    return fwrite(bytes, 1, n, stdout) == n && fflush(stdout) == 0 ? 0 : errno ? -errno : -EIO;
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

/* Whether it is run by cwguard itself: by an ending process, which waits for it, or by its own test. */
static bool is_errand(const struct cw_command *command, int argc, char **argv)
{
    const char *flag = command->run == cw_cmd_report ? "--fd" : command->run == cw_cmd_selftest ? "--child" : NULL;
    bool errand = false;

    for (int i = 1; i < argc && flag; i++)
        errand |= !strncmp(argv[i], flag, strlen(flag));
    return errand;
}

int main(int argc, char **argv)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    char title[64], *alone[] = {title, NULL};
    const char *name = argc > 1 ? argv[1] : "help";
    const struct cw_command *command;
    int code;

    for (unsigned i = 0; i < CW_FOUND_ACTIONS; i++)
        sigaction(cw_found_actions[i].signal, &ignore, &cw_found_actions[i].action);
    argp_err_exit_status = CW_EXIT_FAILED;
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "-?"))
        name = "help";
    if (!strcmp(name, "--version") || !strcmp(name, "-V"))
        name = "version";
    command = cw_command_find(name);
    if (!command)
        return CW_EXIT_FAILED;
    snprintf(title, sizeof title, "cwguard %s", command->name);
    if (argc > 1)
        argv[1] = title;
    code = argc > 1 ? command->run(argc - 1, argv + 1) : command->run(1, alone);
    if (!is_errand(command, argc - 1, argv + 1))
        cw_old_ledgers_remove();
    return code;
}
