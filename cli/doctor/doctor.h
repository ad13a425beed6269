/* cwguard doctor: what a program or process is, as far as that decides whether it can be watched; one function for each row of
 * cli/doctor/doctor.inc.
 *
 * Nothing is run or stopped by it. Single-threaded, as everything in the tool. */
#ifndef CLI_DOCTOR_DOCTOR_H
#define CLI_DOCTOR_DOCTOR_H

#include "cli/doctor/elf.h"
#include "cli/process/proc.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

enum { CW_DOCTOR_OBJECTS_MAX = 256 };

struct cw_patient {
    char named[PATH_MAX]; /* what was asked about, found in PATH */
    char
        path[PATH_MAX]; /* the ELF file that is run in the end: of a script its interpreter; "" if it may not be seen */
    char program[PATH_MAX]; /* the same, as it calls itself: without a /proc in front */
    bool script;
    struct cw_elf_facts elf; /* of path */
    /* the libraries that it needs, or has mapped, itself apart: paths that can be opened */
    char *objects[CW_DOCTOR_OBJECTS_MAX];
    unsigned n_objects;
    char libc[PATH_MAX]; /* the libc.so.6 that it gets or has, "" if not known */
    char shim[PATH_MAX]; /* the library that is or would be loaded, "" if there is none */
    char shim_missing[PATH_MAX + 256];
    /* of a process; pid 0: a program that may be started */
    pid_t pid;
    struct cw_proc proc;
    uid_t real_uid;
    bool loaded;            /* libcwguard.so is mapped */
    bool refused;           /* /proc/PID/exe may not be read */
    char preload[PATH_MAX]; /* the entry of its LD_PRELOAD that is our library, "" if there is none */
    char ledger_dir[256];   /* by its options, "" the default */
};

/* 0, or -1 after a message: no such program, no such process, not to be executed. library: --library, NULL beside the tool.
 * Free it with cw_patient_free also then. */
int cw_patient_program(struct cw_patient *ret, const char *name, const char *library);
int cw_patient_process(struct cw_patient *ret, pid_t pid, const char *library);
void cw_patient_free(struct cw_patient *patient);

/* Whether a library whose name is matched by the pattern (fnmatch) is among what it needs, or has mapped. */
bool cw_patient_needs(const struct cw_patient *patient, const char *pattern);

enum cw_answer {
    CW_ANSWER_NONE, /* does not concern it, or cannot be told: no line */
    CW_ANSWER_WELL,
    CW_ANSWER_ILL
};

enum { CW_DETAIL_BYTES = PATH_MAX + 256 };

/* Each may write to detail (CW_DETAIL_BYTES, empty before) what it was that it has seen. */
#define CW_FINDING(id, severity, well, ill, advice)                                                                    \
    enum cw_answer cw_doctor_##id(const struct cw_patient *patient, char *detail);
#include "cli/doctor/doctor.inc"

/* What the process may do: a number in a line of /proc/PID/status such as "\nSeccomp:"; -1 if it is not there. */
long cw_doctor_status(pid_t pid, const char *name);

#endif
