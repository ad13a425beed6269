/* cwguard explain [ID]: what a diagnosis means and what to do, from the rows of core/diagnoses.inc. */
#include "cli/cli.h"

#include "core/diagnose.h"

#include <stdio.h>
#include <string.h>

/* Words of text in lines of at most 79 columns, each line indented. */
static void print_wrapped(const char *text)
{
    size_t column = 0;

    while (*text) {
        size_t word = strcspn(text, " ");
        if (column && column + 1 + word > 79) {
            putchar('\n');
            column = 0;
        }
        column += (size_t)printf("%s%.*s", column ? " " : "  ", (int)word, text);
        text += word;
        text += strspn(text, " ");
    }
    putchar('\n');
}

static void list_all(FILE *to)
{
    for (unsigned i = 0; i < CW_DIAGNOSIS_COUNT; i++)
        fprintf(to, "  %-16s %s\n", cw_diagnoses[i].id, cw_diagnoses[i].title);
}

int cw_cmd_explain(int argc, char **argv)
{
    if (argc < 2 || !strncmp(argv[1], "--", 2)) {
        printf("Usage: cwguard explain DIAGNOSIS\nThe diagnoses:\n");
        list_all(stdout);
        return fflush(stdout) ? CW_EXIT_FAILED : CW_EXIT_OK;
    }
    for (unsigned i = 0; i < CW_DIAGNOSIS_COUNT; i++) {
        const struct cw_diagnosis *diagnosis = &cw_diagnoses[i];
        if (strcmp(diagnosis->id, argv[1]) != 0)
            continue;
        printf("%s (%s): %s\n", diagnosis->id, cw_severity_name(diagnosis->severity), diagnosis->title);
        print_wrapped(diagnosis->sentence);
        print_wrapped(diagnosis->advice);
        return fflush(stdout) ? CW_EXIT_FAILED : CW_EXIT_OK;
    }
    cw_say("no diagnosis '%s'; the diagnoses are:", argv[1]);
    list_all(stderr);
    return CW_EXIT_FAILED;
}
