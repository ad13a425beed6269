/* Checks of what the program's code calls, and its libraries'. */
#include "cli/doctor/doctor.h"
#include "core/frames.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* libc has all of these calls, and makes none by itself. */
static bool is_exempt(const char *name)
{
    static const char *const beginnings[] = {"libc.so", "libc-2", "ld-", "libcwguard.so", "libpthread", "libdl.so"};

    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++)
        if (!strncmp(name, beginnings[i], strlen(beginnings[i])))
            return true;
    return false;
}

/* The name of the first object, the program first, of which it holds; NULL of none. */
static const char *object_that(const struct cw_patient *patient, bool (*holds)(const struct cw_elf_code *code))
{
    struct cw_elf_code code;

    cw_elf_code_read(&code, patient->path);
    if (holds(&code))
        return cw_basename(patient->program);
    for (unsigned i = 0; i < patient->n_objects; i++) {
        if (is_exempt(cw_basename(patient->objects[i])))
            continue;
        cw_elf_code_read(&code, patient->objects[i]);
        if (holds(&code))
            return cw_basename(patient->objects[i]);
    }
    return NULL;
}

static bool has_deepbind(const struct cw_elf_code *code)
{
    return code->deepbind;
}

static bool has_io_uring(const struct cw_elf_code *code)
{
    return code->io_uring;
}

enum cw_answer cw_doctor_deepbind(const struct cw_patient *patient, char *detail)
{
    const char *by;

    if (!patient->elf.elf || !patient->elf.interp[0])
        return CW_ANSWER_NONE;
    by = object_that(patient, has_deepbind);
    if (!by)
        return CW_ANSWER_WELL;
    snprintf(detail, CW_DETAIL_BYTES, "a call of dlopen in %s", by);
    return CW_ANSWER_ILL;
}

static unsigned count_rings(pid_t pid)
{
    char path[64], target[64];
    const struct dirent *entry;
    unsigned count = 0;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
        if (n <= 0)
            continue;
        target[n] = 0;
        count += !strcmp(target, "anon_inode:[io_uring]");
    }
    if (dir)
        closedir(dir);
    return count;
}

enum cw_answer cw_doctor_io_uring(const struct cw_patient *patient, char *detail)
{
    unsigned rings = patient->pid ? count_rings(patient->pid) : 0;
    const char *by;

    if (!patient->elf.elf)
        return CW_ANSWER_NONE;
    if (rings) {
        snprintf(detail, CW_DETAIL_BYTES, "%u open ring%s", rings, rings == 1 ? "" : "s");
        return CW_ANSWER_ILL;
    }
    if (cw_patient_needs(patient, "liburing.so*")) {
        snprintf(detail, CW_DETAIL_BYTES, "liburing");
        return CW_ANSWER_ILL;
    }
    by = object_that(patient, has_io_uring);
    if (!by)
        return CW_ANSWER_WELL;
    snprintf(detail, CW_DETAIL_BYTES, "system calls in %s", by);
    return CW_ANSWER_ILL;
}
