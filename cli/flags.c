#include "cli/flags.h"

#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a report depends on. All other options concern the recorder alone. */
static const char *const of_reports[] = {"grace", "exit_grace", "late", "format", "ledger_dir", "log_path", "command"};

/* What is no flag: help=1 would be --help, which is the command's own; run is what `cwguard run` tells the recorder. */
static const char *const no_flags[] = {"help", "run"};

/* Keys begin beyond the letters; option i of the table has KEY_OPTION + i. */
enum { KEY_OUTPUT = 0x100, KEY_COLOR, KEY_OPTION };
enum { NAME_BYTES = 32, VALUE_BYTES = 64, ROWS_PER_OPTION = 2, OTHER_ROWS = 3 };

/* What argp holds on to: the flag's name, and what its value may be. */
struct words {
    char name[NAME_BYTES], value[VALUE_BYTES];
};

static bool is_in(const char *name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(list[i], name))
            return true;
    return false;
}
#define IS_IN(name, list) is_in(name, list, sizeof(list) / sizeof *(list))

void cw_flags_begin(struct cw_flags *flags)
{
    struct cw_options environment;

    *flags = (struct cw_flags){0};
    cw_options_default(&flags->options);
    cw_options_default(&environment);
    cw_options_parse(&environment, getenv("CWGUARD_OPTIONS"), NULL, NULL);
    memcpy(flags->options.ledger_dir, environment.ledger_dir, sizeof environment.ledger_dir);
}

static error_t add_flag(struct cw_flags *flags, const char *name, const char *value)
{
    struct cw_request *request = &flags->request;
    unsigned at = 0;

    if (cw_options_set(&flags->options, name, value, cw_say_refusal, NULL) < 0)
        exit(CW_EXIT_FAILED);
    /* The last one counts, so each takes one place at most. */
    while (at < request->flag_count && strcmp(request->flags[at].name, name) != 0)
        at++;
    if (at == CW_FLAGS_MAX) {
        cw_say("too many options");
        exit(CW_EXIT_FAILED);
    }
    request->flags[at].name = name;
    request->flags[at].value = value;
    request->flag_count += at == request->flag_count;
    return 0;
}

static error_t set_colour(struct cw_flags *flags, const char *value, const struct argp_state *state)
{
    static const char *const names[] = {
        [CW_COLOUR_AUTO] = "auto", [CW_COLOUR_ALWAYS] = "always", [CW_COLOUR_NEVER] = "never"};

    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        if (!strcmp(value, names[i])) {
            flags->request.colour = (enum cw_colour)i;
            return 0;
        }
    }
    argp_error(state, "--color: '%s' is none of auto, always, never", value);
    return EINVAL;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct cw_flags *flags = state->input;

    if (key >= KEY_OPTION && (size_t)(key - KEY_OPTION) < cw_options_count)
        return add_flag(flags, cw_options_table[key - KEY_OPTION].name, value ? value : "1");
    if (key == KEY_OUTPUT)
        return add_flag(flags, "log_path", value);
    if (key == KEY_COLOR)
        return set_colour(flags, value, state);
    return ARGP_ERR_UNKNOWN;
}

/* "text|json" */
static const char *describe_value(const struct cw_option *option, char to[VALUE_BYTES])
{
    size_t used = 0;

    if (option->type == CW_OPTION_BOOL)
        return "0|1";
    if (option->type != CW_OPTION_ENUM)
        return "VALUE";
    for (unsigned i = 0; option->choices[i] && used < VALUE_BYTES; i++)
        used += (size_t)snprintf(to + used, VALUE_BYTES - used, "%s%s", i ? "|" : "", option->choices[i]);
    return to;
}

/* With hyphens, and hidden with underscores as in CWGUARD_OPTIONS. */
static struct argp_option *add_option(struct argp_option *to, struct words *words, size_t i)
{
    const struct cw_option *option = &cw_options_table[i];

    snprintf(words[i].name, NAME_BYTES, "%s", option->name);
    for (char *c = words[i].name; *c; c++)
        if (*c == '_')
            *c = '-';
    *to++ = (struct argp_option){words[i].name,
                                 KEY_OPTION + (int)i,
                                 describe_value(option, words[i].value),
                                 option->type == CW_OPTION_BOOL ? OPTION_ARG_OPTIONAL : 0,
                                 option->sentence,
                                 0};
    if (strcmp(words[i].name, option->name) != 0)
        *to++ = (struct argp_option){option->name, KEY_OPTION + (int)i, NULL, OPTION_ALIAS | OPTION_HIDDEN, NULL, 0};
    return to;
}

static const struct argp_option *make_options(bool all)
{
    static struct argp_option *made[2];
    static struct words *words;
    struct argp_option *to;

    if (made[all])
        return made[all];
    if (!words)
        words = calloc(cw_options_count, sizeof *words);
    to = calloc(cw_options_count * ROWS_PER_OPTION + OTHER_ROWS, sizeof *to);
    if (!words || !to) {
        cw_say("not enough memory");
        exit(CW_EXIT_FAILED);
    }
    made[all] = to;
    *to++ = (struct argp_option){
        "output", KEY_OUTPUT, "FILE", 0, all ? "the same as --log-path" : "the same as --log-path; without it stdout",
        0};
    *to++ = (struct argp_option){
        "color", KEY_COLOR, "WHEN", 0, "auto (on a terminal, unless NO_COLOR is set), always or never", 0};
    for (size_t i = 0; i < cw_options_count; i++)
        if (!IS_IN(cw_options_table[i].name, no_flags) && (all || IS_IN(cw_options_table[i].name, of_reports)))
            to = add_option(to, words, i);
    return made[all];
}

const struct argp *cw_flags_argp_report(void)
{
    static struct argp argp = {.parser = parse};
    argp.options = make_options(false);
    return &argp;
}

const struct argp *cw_flags_argp_run(void)
{
    static struct argp argp = {.parser = parse};
    argp.options = make_options(true);
    return &argp;
}
