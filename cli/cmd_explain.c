/* cwguard explain [DIAGNOSIS...]: what a diagnosis means, how it is recognised, what to do, how to silence it; all from the
 * rows of core/diagnoses.inc and core/listener_variants.inc.
 *
 * cwguard explain --markdown [EXAMPLE-DIRECTORY...]: docs/diagnoses.md, for `make docs`; a directory belongs to the
 * diagnosis that its name begins with. */
#include "cli/cli.h"

#include "core/diagnose.h"

#include <stdio.h>
#include <string.h>

enum { COLUMNS = 79, KEY_MARKDOWN = 0x1000 };

/* Words of text in lines of at most COLUMNS columns, each line indented. */
static void print_wrapped(unsigned indent, const char *text)
{
    size_t column = 0;

    while (*text) {
        size_t word = strcspn(text, " ");
        if (column && column + 1 + word > COLUMNS) {
            putchar('\n');
            column = 0;
        }
        column += (size_t)printf("%*s%.*s", column ? 1 : (int)indent, "", (int)word, text);
        text += word;
        text += strspn(text, " ");
    }
    putchar('\n');
}

/* What can be done today about one that is meant. The names are those of core/options.inc. */
static const char *silencing(const struct cw_diagnosis *diagnosis)
{
    if (diagnosis == &cw_diagnoses[CW_DIAGNOSIS_ERROR_NOT_CLOSED])
        return "It counts neither as CLOSE_WAIT nor as a leak: it is listed under a heading of its own, once it has "
               "not been used for the grace period (grace while the program runs, exit_grace when it ends; either can "
               "be raised). programs= leaves out whole programs.";
    if (diagnosis->severity == CW_SEVERITY_NOTE)
        return "There is nothing to silence: a note does not count as a leak and writes no line while the program "
               "runs; it is listed for your information.";
    return "If such connections are meant to stay that long, raise grace (while the program runs) and exit_grace (when "
           "it ends) above their time: CWGUARD_OPTIONS=grace=10m:exit_grace=10m, or cwguard report --grace=10m PID. "
           "live=0 stops the lines while the program runs, programs= leaves out whole programs. No option silences a "
           "single diagnosis or code path.";
}

/* A thread's reference is OWNER/REPOSITORY#NUMBER, or another tracker's key, which no address can be made of. */
static bool has_address(const char *thread, size_t n)
{
    return memchr(thread, '/', n) && memchr(thread, '#', n);
}

static void print_threads(const char *threads, bool markdown)
{
    const char *separator = "";

    for (size_t n; *threads; threads += n + strspn(threads + n, " ")) {
        n = strcspn(threads, " ");
        int hash = (int)strcspn(threads, "#");
        if (markdown && has_address(threads, n))
            printf("%s[%.*s](https://github.com/%.*s/issues/%.*s)", separator, (int)n, threads, hash, threads,
                   (int)n - hash - 1, threads + hash + 1);
        else
            printf("%s%.*s", separator, (int)n, threads);
        separator = ", ";
    }
    putchar('\n');
}

/* --- for a terminal --- */

static void print_variants(void)
{
    char state[256];

    printf("\nTold apart by the state of the listener\n");
    for (unsigned i = 0; i < CW_LISTENER_VARIANT_COUNT; i++) {
        const struct cw_listener_variant *variant = &cw_listener_variants[i];
        snprintf(state, sizeof state, "%s: %s", variant->id, variant->words);
        print_wrapped(2, state);
        print_wrapped(6, variant->advice);
    }
}

static void print_text(const struct cw_diagnosis *diagnosis)
{
    printf("%s (%s): %s\n\n", diagnosis->id, cw_severity_name(diagnosis->severity), diagnosis->title);
    print_wrapped(2, diagnosis->sentence);
    printf("\nHow it is recognised\n");
    print_wrapped(2, diagnosis->recognised);
    printf("\nThe usual fix\n");
    print_wrapped(2, diagnosis->advice);
    if (diagnosis == &cw_diagnoses[CW_DIAGNOSIS_NEVER_ACCEPTED])
        print_variants();
    printf("\nHow to silence it\n");
    print_wrapped(2, silencing(diagnosis));
    if (*diagnosis->threads) {
        printf("\nPublic threads that show it\n  ");
        print_threads(diagnosis->threads, false);
    }
}

static void list_all(FILE *to)
{
    for (unsigned i = 0; i < CW_DIAGNOSIS_COUNT; i++)
        fprintf(to, "  %-16s  %-5s  %s\n", cw_diagnoses[i].id, cw_severity_name(cw_diagnoses[i].severity),
                cw_diagnoses[i].title);
}

/* --- docs/diagnoses.md --- */

/* The name of a directory, n bytes long, without the path and the slashes behind it. */
static const char *directory_name(const char *path, size_t *ret_n)
{
    size_t end = strlen(path), begin;

    while (end && path[end - 1] == '/')
        end--;
    for (begin = end; begin && path[begin - 1] != '/'; begin--)
        ;
    *ret_n = end - begin;
    return path + begin;
}

static void print_examples(const char *id, char **directories)
{
    size_t n, id_n = strlen(id);
    const char *separator = "**Examples:** ";

    for (; *directories; directories++) {
        const char *name = directory_name(*directories, &n);
        if (n <= id_n || strncmp(name, id, id_n) != 0 || name[id_n] != '-')
            continue;
        printf("%s[%.*s](../examples/%.*s/)", separator, (int)n, name, (int)n, name);
        separator = ", ";
    }
    if (*separator == ',')
        printf("\n\n");
}

static void print_markdown_variants(void)
{
    printf("Told apart by the state of the listener, `listener_state` in the JSON report:\n\n"
           "| state | in words | the usual fix |\n|---|---|---|\n");
    for (unsigned i = 0; i < CW_LISTENER_VARIANT_COUNT; i++)
        printf("| `%s` | %s | %s |\n", cw_listener_variants[i].id, cw_listener_variants[i].words,
               cw_listener_variants[i].advice);
    putchar('\n');
}

static void print_markdown(const struct cw_diagnosis *diagnosis, char **directories)
{
    printf("\n## %s\n\n*%s: %s.* %s\n\n", diagnosis->id, cw_severity_name(diagnosis->severity), diagnosis->title,
           diagnosis->sentence);
    printf("**How it is recognised:** %s\n\n", diagnosis->recognised);
    printf("**The usual fix:** %s\n\n", diagnosis->advice);
    if (diagnosis == &cw_diagnoses[CW_DIAGNOSIS_NEVER_ACCEPTED])
        print_markdown_variants();
    printf("**How to silence it:** %s\n\n", silencing(diagnosis));
    print_examples(diagnosis->id, directories);
    if (*diagnosis->threads) {
        printf("**Public threads that show it:** ");
        print_threads(diagnosis->threads, true);
    } else {
        printf("**Public threads that show it:** none known.\n");
    }
}

static void print_document(char **directories)
{
    printf("# Diagnoses\n\n"
           "<!-- Generated from core/diagnoses.inc by `make docs`; do not edit. -->\n\n"
           "Why a socket is still open. Each socket gets exactly one diagnosis, the first of this list that\n"
           "holds; `cwguard explain DIAGNOSIS` prints the same text. An *error* counts as a leak once it is older\n"
           "than the grace period (but `error-not-closed` is listed apart), a *note* is worth knowing and never\n"
           "does. Which step of a program each one belongs to: [tcp-states.md](tcp-states.md).\n\n"
           "| diagnosis | severity | in a few words |\n|---|---|---|\n");
    for (unsigned i = 0; i < CW_DIAGNOSIS_COUNT; i++)
        printf("| [%s](#%s) | %s | %s |\n", cw_diagnoses[i].id, cw_diagnoses[i].id,
               cw_severity_name(cw_diagnoses[i].severity), cw_diagnoses[i].title);
    for (unsigned i = 0; i < CW_DIAGNOSIS_COUNT; i++)
        print_markdown(&cw_diagnoses[i], directories);
}

/* --- */

static const struct cw_diagnosis *find(const char *id)
{
    for (unsigned i = 0; i < CW_DIAGNOSIS_COUNT; i++)
        if (!strcmp(cw_diagnoses[i].id, id))
            return &cw_diagnoses[i];
    return NULL;
}

struct arguments {
    bool markdown;
    char **words; /* argp leaves them in the caller's argv */
    int n_words;
};

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    (void)value;
    switch (key) {
    case KEY_MARKDOWN:
        arguments->markdown = true;
        return 0;
    case ARGP_KEY_ARGS:
        arguments->words = state->argv + state->next;
        arguments->n_words = state->argc - state->next;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The diagnoses, from their table, at the end of the help. */
static char *add_list(int key, const char *text, void *input)
{
    char *list = NULL;
    size_t bytes = 0;
    FILE *to;

    (void)input;
    if (key != ARGP_KEY_HELP_EXTRA || !(to = open_memstream(&list, &bytes)))
        return (char *)text;
    fprintf(to, "The diagnoses; each socket gets the first that holds:\n");
    list_all(to);
    return fclose(to) ? (char *)text : list;
}

const struct argp *cw_argp_explain(void)
{
    static const struct argp_option options[] = {
        {"markdown", KEY_MARKDOWN, 0, 0,
         "as docs/diagnoses.md has it; arguments are the directories of examples to refer to", 0},
        {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse_option,
        .args_doc = "[DIAGNOSIS...]",
        .doc = "Says what a diagnosis means, how it is recognised, the usual fix and how to silence it; without an "
               "argument, lists the diagnoses.",
        .help_filter = add_list,
    };
    return &argp;
}

int cw_cmd_explain(int argc, char **argv)
{
    struct arguments arguments = {0};

    if (argp_parse(cw_argp_explain(), argc, argv, 0, NULL, &arguments) != 0)
        return CW_EXIT_FAILED;
    if (arguments.markdown) {
        char *none[] = {NULL};
        print_document(arguments.words ? arguments.words : none);
        return fflush(stdout) ? CW_EXIT_FAILED : CW_EXIT_OK;
    }
    if (!arguments.n_words) {
        printf("The diagnoses; each socket gets the first that holds:\n");
        list_all(stdout);
    }
    for (int i = 0; i < arguments.n_words; i++) {
        const struct cw_diagnosis *diagnosis = find(arguments.words[i]);
        if (!diagnosis) {
            cw_say("no diagnosis '%s'; the diagnoses are:", arguments.words[i]);
            list_all(stderr);
            return CW_EXIT_FAILED;
        }
        if (i)
            putchar('\n');
        print_text(diagnosis);
    }
    return fflush(stdout) ? CW_EXIT_FAILED : CW_EXIT_OK;
}
