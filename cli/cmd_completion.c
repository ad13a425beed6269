/* cwguard completion bash: a completion script out of the tables of commands, of each command's flags, of options and of
 * diagnoses. What a flag or an argument may be follows from how its help calls it: see kinds. */
#include "cli/cli.h"

#include "core/diagnose.h"
#include "core/options.h"
#include "core/redact.h"

#include <stdio.h>
#include <string.h>

/* Words of the help that say what is meant, and the function of the script that knows such things. */
static const struct kind {
    const char *word, *function;
} kinds[] = {
    {"PID", "_cwguard_pids"},
    {"FILE", "_cwguard_files"},
    {"DIR", "_cwguard_directories"},
    {"PROGRAM", "_cwguard_programs"},
    {"COMMAND", "_cwguard_words $(_cwguard_commands) options"},
    {"DIAGNOSIS", "_cwguard_diagnoses"},
    {"SHELL", "_cwguard_words bash"},
    {"WHEN", "_cwguard_words auto always never"},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* --- flags --- */

typedef void (*each_flag)(const struct argp_option *option, const struct cw_command *command);

/* The flags that a command's help shows, those of the parsers that it uses included. */
static void for_each_flag(const struct argp *argp, const struct cw_command *command, each_flag each)
{
    for (const struct argp_option *o = argp->options; o && (o->name || o->key || o->doc || o->group); o++)
        if (o->name && !(o->flags & (OPTION_HIDDEN | OPTION_DOC)))
            each(o, command);
    for (const struct argp_child *child = argp->children; child && child->argp; child++)
        for_each_flag(child->argp, command, each);
}

/* An alias has no argument of its own: that of the option before it is meant. */
static const struct argp_option *meant(const struct argp_option *option)
{
    while (option->flags & OPTION_ALIAS)
        option--;
    return option;
}

static void print_flag(const struct argp_option *option, const struct cw_command *command)
{
    const struct argp_option *real = meant(option);

    (void)command;
    printf(" --%s%s", option->name, real->arg && !(real->flags & OPTION_ARG_OPTIONAL) ? "=" : "");
}

/* --- what flags may be --- */

static const struct cw_option *option_of(const char *flag)
{
    char name[64];
    size_t n = 0;

    for (; n < sizeof name - 1 && flag[n]; n++)
        name[n] = flag[n] == '-' ? '_' : flag[n];
    name[n] = 0;
    for (size_t i = 0; i < cw_options_count; i++)
        if (!strcmp(cw_options_table[i].name, name))
            return &cw_options_table[i];
    return NULL;
}

static void print_choices(const struct cw_option *option)
{
    printf("_cwguard_words");
    for (const char *const *choice = option->choices; *choice; choice++)
        printf(" %s", *choice);
}

/* "text|json" as the name of an argument lists what it may be. */
static void print_alternatives(const char *words)
{
    printf("_cwguard_words ");
    for (; *words; words++)
        putchar(*words == '|' ? ' ' : *words);
}

static const struct kind *kind_of(const char *words)
{
    for (unsigned i = 0; i < KINDS; i++)
        if (strstr(words, kinds[i].word))
            return &kinds[i];
    return NULL;
}

static void print_value(const struct argp_option *flag, const struct cw_command *command)
{
    const struct argp_option *real = meant(flag);
    const struct cw_option *option = option_of(real->name);
    const struct kind *kind;

    if (!real->arg)
        return;
    printf("    '%s --%s') ", command->name, flag->name);
    kind = kind_of(real->arg);
    if (!strcmp(real->name, "redact")) {
        printf("_cwguard_list all");
#define CW_X(id, name) printf(" %s", name);
        CW_REDACTIONS(CW_X)
#undef CW_X
    } else if (strchr(real->arg, '|')) {
        print_alternatives(real->arg);
    } else if (option && option->type == CW_OPTION_ENUM) {
        print_choices(option);
    } else if (option && option->type == CW_OPTION_BOOL) {
        printf("_cwguard_words 0 1");
    } else if (kind) {
        printf("%s", kind->function);
    } else if (option && strstr(option->name, "_dir")) {
        printf("_cwguard_directories");
    } else if (option && (strstr(option->name, "_path") || !strcmp(option->name, "reporter"))) {
        printf("_cwguard_files");
    } else {
        printf("true");
    }
    /* A flag whose value may be left out takes no word after it. */
    printf("%s ;;\n", real->flags & OPTION_ARG_OPTIONAL ? "; return 2" : "");
}

/* --- what arguments may be --- */

static void print_arguments(const struct cw_command *command)
{
    const char *doc = command->argp()->args_doc;

    printf("    %s)", command->name);
    for (unsigned i = 0; doc && i < KINDS; i++)
        if (strstr(doc, kinds[i].word))
            printf(" %s;", kinds[i].function);
    printf(" true ;;\n");
}

/* --- the script --- */

static const char head[] =
    "# bash completion for cwguard; printed by: cwguard completion bash\n"
    "# Use it with: source <(cwguard completion bash)\n"
    "\n"
    "_cwguard_words() { COMPREPLY+=($(compgen -W \"$*\" -- \"$cur\")); }\n"
    "\n"
    "# The last of several with commas between them.\n"
    "_cwguard_list()\n"
    "{\n"
    "    local done=${cur%\"${cur##*,}\"}\n"
    "    COMPREPLY+=($(compgen -P \"$done\" -W \"$*\" -- \"${cur##*,}\"))\n"
    "    compopt -o nospace 2>/dev/null\n"
    "}\n"
    "\n"
    "_cwguard_names()\n"
    "{\n"
    "    local name\n"
    "    compopt -o filenames 2>/dev/null\n"
    "    while IFS= read -r name; do COMPREPLY+=(\"$name\"); done < <(compgen \"$@\" -- \"$cur\")\n"
    "}\n"
    "_cwguard_directories() { _cwguard_names -d; }\n"
    "\n"
    "# For a flag any file, for an argument a ledger.\n"
    "_cwguard_files()\n"
    "{\n"
    "    if [[ $flag ]]; then _cwguard_names -f; else _cwguard_names -f -X '!*.cwg'; _cwguard_names -d; fi\n"
    "}\n"
    "_cwguard_programs()\n"
    "{\n"
    "    if [[ $cur == */* ]]; then _cwguard_names -f; else COMPREPLY+=($(compgen -c -- \"$cur\")); fi\n"
    "}\n"
    "\n"
    "# Processes that keep a ledger: its name is PIDNS.PID.STARTTIME.RANDOM.cwg.\n"
    "_cwguard_pids()\n"
    "{\n"
    "    local ledger name namespace\n"
    "    namespace=$(readlink /proc/self/ns/pid)\n"
    "    namespace=${namespace//[!0-9]/}\n"
    "    for ledger in /dev/shm/cwguard-*/\"$namespace\".*.cwg; do\n"
    "        name=${ledger##*/}\n"
    "        name=${name#*.}\n"
    "        name=${name%%.*}\n"
    "        [[ -d /proc/$name ]] && _cwguard_words \"$name\"\n"
    "    done\n"
    "}\n";

static const char tail[] =
    "\n"
    "_cwguard()\n"
    "{\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} flag='' before='' command i program=0 takes\n"
    "    COMPREPLY=()\n"
    "    if ((COMP_CWORD == 1)); then\n"
    "        _cwguard_words $(_cwguard_commands) --help --version\n"
    "        return\n"
    "    fi\n"
    "    command=${COMP_WORDS[1]}\n"
    "\n"
    "    # What cwguard run is to start, and its own arguments.\n"
    "    if [[ $command == run ]]; then\n"
    "        for ((i = 2; i < COMP_CWORD && !program; i++)); do\n"
    "            case ${COMP_WORDS[i]} in\n"
    "            --) program=$((i + 1)) ;;\n"
    "            =) ((++i)) ;;\n"
    "            -*)\n"
    "                if [[ ${COMP_WORDS[i]} != *=* && ${COMP_WORDS[i + 1]} != '=' ]]; then\n"
    "                    _cwguard_value \"run ${COMP_WORDS[i]}\"\n"
    "                    takes=$?\n"
    "                    COMPREPLY=()\n"
    "                    ((takes)) || ((++i))\n"
    "                fi ;;\n"
    "            *) program=$i ;;\n"
    "            esac\n"
    "        done\n"
    "        if ((program && COMP_CWORD == program)); then\n"
    "            _cwguard_programs\n"
    "            return\n"
    "        elif ((program)); then\n"
    "            if declare -F _command_offset >/dev/null; then\n"
    "                _command_offset \"$program\"\n"
    "            else\n"
    "                _cwguard_names -f\n"
    "            fi\n"
    "            return\n"
    "        fi\n"
    "    fi\n"
    "\n"
    "    # --flag=value, which bash takes apart at the equals sign as a rule, or --flag value.\n"
    "    if [[ $cur == --*=* ]]; then\n"
    "        flag=${cur%%=*} before=${cur%%=*}= cur=${cur#*=}\n"
    "    elif [[ $cur == = ]]; then\n"
    "        flag=${COMP_WORDS[COMP_CWORD - 1]} cur=''\n"
    "    elif ((COMP_CWORD > 2)) && [[ ${COMP_WORDS[COMP_CWORD - 1]} == = ]]; then\n"
    "        flag=${COMP_WORDS[COMP_CWORD - 2]}\n"
    "    elif [[ ${COMP_WORDS[COMP_CWORD - 1]} == --?* ]]; then\n"
    "        flag=${COMP_WORDS[COMP_CWORD - 1]}\n"
    "        _cwguard_value \"$command $flag\" && return\n"
    "        flag=''\n"
    "        COMPREPLY=()\n"
    "    fi\n"
    "    if [[ $flag ]]; then\n"
    "        _cwguard_value \"$command $flag\"\n"
    "        COMPREPLY=(\"${COMPREPLY[@]/#/$before}\")\n"
    "    elif [[ $cur == -* ]]; then\n"
    "        _cwguard_words $(_cwguard_flags \"$command\")\n"
    "        [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null\n"
    "    else\n"
    "        _cwguard_arguments \"$command\"\n"
    "    fi\n"
    "}\n"
    "\n"
    "complete -F _cwguard cwguard\n";

static void print_script(void)
{
    fputs(head, stdout);
    printf("\n_cwguard_commands() { echo '");
    for (unsigned i = 0; i < cw_commands_count; i++)
        printf("%s%s", i ? " " : "", cw_commands[i].name);
    printf("'; }\n\n_cwguard_diagnoses()\n{\n    _cwguard_words");
    for (unsigned i = 0; i < CW_DIAGNOSIS_COUNT; i++)
        printf(" %s", cw_diagnoses[i].id);
    printf("\n}\n\n_cwguard_flags()\n{\n    case $1 in\n");
    for (unsigned i = 0; i < cw_commands_count; i++) {
        printf("    %s) echo '--help", cw_commands[i].name);
        for_each_flag(cw_commands[i].argp(), &cw_commands[i], print_flag);
        printf("' ;;\n");
    }
    printf("    esac\n}\n\n"
           "# What follows COMMAND --FLAG; 1: nothing does, 2: only after an equals sign.\n"
           "_cwguard_value()\n{\n    case $1 in\n");
    for (unsigned i = 0; i < cw_commands_count; i++)
        for_each_flag(cw_commands[i].argp(), &cw_commands[i], print_value);
    printf("    *) return 1 ;;\n    esac\n    return 0\n}\n\n_cwguard_arguments()\n{\n    case $1 in\n");
    for (unsigned i = 0; i < cw_commands_count; i++)
        print_arguments(&cw_commands[i]);
    printf("    esac\n}\n");
    fputs(tail, stdout);
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    switch (key) {
    case ARGP_KEY_ARG:
        if (strcmp(value, "bash") != 0)
            argp_error(state, "there is no completion for '%s' yet: only for bash", value);
        *(bool *)state->input = true;
        return 0;
    case ARGP_KEY_END:
        if (!*(bool *)state->input)
            argp_error(state, "for which shell? There is one for bash");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp *cw_argp_completion(void)
{
    static const struct argp argp = {
        .parser = parse_option,
        .args_doc = "SHELL",
        .doc = "Prints the completion script for a shell: bash.\vUse it at once with\n"
               "    source <(cwguard completion bash)\n"
               "and in every shell by writing that line into ~/.bashrc; an installed cwguard has it in place for the "
               "package bash-completion.",
    };
    return &argp;
}

int cw_cmd_completion(int argc, char **argv)
{
    bool given = false;

    if (argp_parse(cw_argp_completion(), argc, argv, 0, NULL, &given) != 0)
        return CW_EXIT_FAILED;
    print_script();
    return fflush(stdout) ? CW_EXIT_FAILED : CW_EXIT_OK;
}
