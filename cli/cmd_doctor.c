/* cwguard doctor PROGRAM | PID: a line for each thing that decides whether it will work. */
#include "cli/cli.h"
#include "cli/doctor/doctor.h"
#include "cli/process/proc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum severity { MISSED = 1, FATAL = 2 }; /* the exit code, too */

static const struct finding {
    const char *id;
    enum severity severity;
    const char *well, *ill, *advice;
    enum cw_answer (*check)(const struct cw_patient *patient, char *detail);
} findings[] = {
#define CW_FINDING(id, severity, well, ill, advice) {#id, severity, well, ill, advice, cw_doctor_##id},
#include "cli/doctor/doctor.inc"
};
enum { FINDINGS = sizeof findings / sizeof *findings };

enum { KEY_LIBRARY = 0x1000, KEY_LIST };

struct arguments {
    const char *target, *library;
    bool list;
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    switch (key) {
    case KEY_LIBRARY:
        arguments->library = value;
        return 0;
    case KEY_LIST:
        arguments->list = true;
        return 0;
    case ARGP_KEY_ARG:
        /* `doctor ./server --its-flag`: as with run, what follows the program is the program's. */
        if (!arguments->target)
            arguments->target = value;
        state->next = state->argc;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->target && !arguments->list)
            argp_error(state, "give a program or the pid of a process");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp *cw_argp_doctor(void)
{
    static const struct argp_option options[] = {
        {"library", KEY_LIBRARY, "FILE", 0, "this libcwguard.so, not the one installed with the tool", 0},
        {"list", KEY_LIST, NULL, 0, "list what is looked at", 0},
        {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "PROGRAM|PID",
        .doc = "Says whether a program or a running process can be watched, and what will not be seen: a line for each "
               "thing, "
               "and what to do. Nothing is run or stopped.\vA program is looked for in PATH; of a script the "
               "interpreter is "
               "looked at. Exit status 0 when all is well, 1 when something will be missed, 2 when it cannot work."};
    return &argp;
}

/* Ids are written with hyphens. */
static void print_id(const char *id)
{
    for (; *id; id++)
        putchar(*id == '_' ? '-' : *id);
}

static int list_findings(void)
{
    for (int i = 0; i < FINDINGS; i++) {
        print_id(findings[i].id);
        printf("\t%s\t%s\n", findings[i].severity == FATAL ? "fatal" : "missed", findings[i].ill);
    }
    return fflush(stdout) ? CW_EXIT_FAILED : CW_EXIT_OK;
}

static void print_safe(const char *text)
{
    struct cw_out out;

    fflush(stdout);
    cw_out_stdout(&out);
    cw_out_safe(&out, text);
    cw_out_flush(&out);
}

/* The answer's line; 0 if all is well, else the severity. */
static unsigned print_finding(const struct finding *finding, enum cw_answer answer, const char *detail)
{
    bool ill = answer == CW_ANSWER_ILL;

    printf("%-6s  [", !ill ? "ok" : finding->severity == FATAL ? "fatal" : "missed");
    print_id(finding->id);
    printf("] %s", ill ? finding->ill : finding->well);
    if (*detail) {
        printf(" (");
        print_safe(detail);
        printf(")");
    }
    printf("\n");
    if (ill)
        printf("        do: %s\n", finding->advice);
    return ill ? finding->severity : 0;
}

static int examine(const struct cw_patient *patient)
{
    char detail[CW_DETAIL_BYTES];
    unsigned worst = 0, missed = 0, fatal = 0;

    printf("== cwguard doctor: ");
    print_safe(patient->named);
    if (strcmp(patient->named, patient->program) != 0 && patient->program[0]) {
        printf(patient->pid ? ", " : ", run by ");
        print_safe(patient->program);
    }
    printf("\n");
    for (int i = 0; i < FINDINGS; i++) {
        detail[0] = 0;
        enum cw_answer answer = findings[i].check(patient, detail);
        if (answer == CW_ANSWER_NONE)
            continue;
        unsigned severity = print_finding(&findings[i], answer, detail);
        missed += severity == MISSED;
        fatal += severity == FATAL;
        worst = severity > worst ? severity : worst;
    }
    if (fatal)
        printf("It cannot work: see the line%s marked fatal.\n", fatal == 1 ? "" : "s");
    else if (missed)
        printf("It works, but not everything will be seen: see the line%s marked missed.\n", missed == 1 ? "" : "s");
    else
        printf("All is well.\n");
    return fflush(stdout) ? CW_EXIT_FAILED : (int)worst;
}

int cw_cmd_doctor(int argc, char **argv)
{
    struct arguments arguments = {0};
    struct cw_patient *patient;
    int code = CW_EXIT_FAILED;

    if (argp_parse(cw_argp_doctor(), argc, argv, ARGP_IN_ORDER, NULL, &arguments))
        return CW_EXIT_FAILED;
    if (arguments.list)
        return list_findings();
    patient = calloc(1, sizeof *patient);
    if (!patient) {
        cw_say("not enough memory");
        return CW_EXIT_FAILED;
    }
    pid_t pid = cw_proc_parse_pid(arguments.target);
    if ((pid > 0 ? cw_patient_process(patient, pid, arguments.library)
                 : cw_patient_program(patient, arguments.target, arguments.library)) == 0)
        code = examine(patient);
    cw_patient_free(patient);
    free(patient);
    return code;
}
