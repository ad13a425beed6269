/* What the tool's subcommands share: their prototypes, exit codes and the way they write text.
 *
 * The tool is single-threaded. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "core/out.h"

#include "include/cwguard_version.h"

#include <argp.h>
#include <signal.h>

/* Exit codes of every subcommand. */
enum cw_exit {
    CW_EXIT_OK = 0,
    CW_EXIT_FAILED = 2 /* wrong usage, or something could not be read or written; a message says what and what next */
};

#define CW_COMMAND(name, run, flags, help)                                                                             \
    int run(int argc, char **argv);                                                                                    \
    const struct argp *flags(void);
#include "cli/commands.inc"

struct cw_command {
    const char *name;
    int (*run)(int argc, char **argv);
    const struct argp *(*argp)(void);
    const char *help;
};
extern const struct cw_command cw_commands[];
extern const unsigned cw_commands_count;

/* The command of that name, or NULL after a message that lists the commands. */
const struct cw_command *cw_command_find(const char *name);

/* A line on stderr that begins with "cwguard: ". */
void cw_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* cw_say as cw_options_warn of core/options.h wants it; ctx is not used. */
void cw_say_refusal(void *ctx, const char *line);

/* What the tool has found set, at its start, for signals that main then ignores: who starts another program gives it these. */
struct cw_found_action {
    int signal;
    struct sigaction action;
};
enum { CW_FOUND_ACTIONS = 2 };
extern struct cw_found_action cw_found_actions[CW_FOUND_ACTIONS];

/* An output to stdout. Flush it with cw_out_flush. */
void cw_out_stdout(struct cw_out *out);

#endif
