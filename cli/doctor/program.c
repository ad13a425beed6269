/* Checks of the program's file: can the library be loaded into it, and what would its stacks lack? */
#include "cli/doctor/doctor.h"
#include "core/frames.h"

#include <elf.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define DETAIL(...) snprintf(detail, CW_DETAIL_BYTES, __VA_ARGS__)

static enum cw_answer ill_if(bool ill)
{
    return ill ? CW_ANSWER_ILL : CW_ANSWER_WELL;
}

/* Its file could be read, and is for this machine. */
static bool is_readable(const struct cw_patient *patient)
{
    return patient->elf.elf;
}

static bool is_native(const struct cw_patient *patient)
{
    return patient->elf.elf && patient->elf.bits == 64 && patient->elf.machine == EM_X86_64;
}

static bool is_dynamic(const struct cw_patient *patient)
{
    return is_native(patient) && patient->elf.interp[0];
}

enum cw_answer cw_doctor_library(const struct cw_patient *patient, char *detail)
{
    if (patient->loaded)
        return CW_ANSWER_NONE;
    DETAIL("%s", patient->shim[0] ? patient->shim : patient->shim_missing);
    return ill_if(!patient->shim[0]);
}

enum cw_answer cw_doctor_architecture(const struct cw_patient *patient, char *detail)
{
    if (!is_readable(patient))
        return CW_ANSWER_NONE;
    if (patient->elf.bits == 32 && (patient->elf.machine == EM_386 || patient->elf.machine == EM_X86_64))
        DETAIL("32 bits");
    else if (!is_native(patient))
        DETAIL("ELF machine %u", patient->elf.machine);
    return ill_if(!is_native(patient));
}

enum cw_answer cw_doctor_static_program(const struct cw_patient *patient, char *detail)
{
    (void)detail;
    return is_native(patient) ? ill_if(!patient->elf.interp[0]) : CW_ANSWER_NONE;
}

static bool is_musl(const struct cw_patient *patient)
{
    return !strncmp(cw_basename(patient->elf.interp), "ld-musl-", 8);
}

enum cw_answer cw_doctor_musl(const struct cw_patient *patient, char *detail)
{
    if (!is_dynamic(patient))
        return CW_ANSWER_NONE;
    if (is_musl(patient))
        DETAIL("%s", patient->elf.interp);
    return ill_if(is_musl(patient));
}

enum cw_answer cw_doctor_loader(const struct cw_patient *patient, char *detail)
{
    if (!is_dynamic(patient) || is_musl(patient))
        return CW_ANSWER_NONE;
    DETAIL("%s", patient->elf.interp);
    return ill_if(strcmp(cw_basename(patient->elf.interp), "ld-linux-x86-64.so.2") != 0);
}

enum cw_answer cw_doctor_old_libc(const struct cw_patient *patient, char *detail)
{
    unsigned defined, needed;

    if (!is_dynamic(patient) || is_musl(patient) || !patient->libc[0] || !patient->shim[0])
        return CW_ANSWER_NONE;
    defined = cw_elf_glibc_defined(patient->libc);
    needed = cw_elf_glibc_needed(patient->shim);
    if (!defined || !needed)
        return CW_ANSWER_NONE;
    DETAIL("it has 2.%u, needed is 2.%u: %s", defined, needed, patient->libc);
    return ill_if(defined < needed);
}

/* --- AT_SECURE --- */

/* Of a process: what the kernel has told its loader; -1 if that may not be read. */
static int told_secure(pid_t pid)
{
    unsigned long entry[2];
    char path[64];
    int secure = -1;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/auxv", (int)pid);
    file = fopen(path, "re");
    while (file && secure < 0 && fread(entry, sizeof entry, 1, file) == 1 && entry[0] != AT_NULL)
        if (entry[0] == AT_SECURE)
            secure = entry[1] != 0;
    if (file)
        fclose(file);
    return secure;
}

struct extra_rights {
    bool setid, capabilities; /* the file gives any */
    bool setid_now;           /* they change something for the one who asks, or has started it */
    bool capabilities_now;
};

static bool read_rights(struct extra_rights *ret, const struct cw_patient *patient)
{
    struct stat status;
    char value[64];
    int secure;

    if (!is_readable(patient) || stat(patient->path, &status) < 0)
        return false;
    *ret = (struct extra_rights){
        .setid = (status.st_mode & S_ISUID) || ((status.st_mode & S_ISGID) && (status.st_mode & S_IXGRP)),
        .capabilities = getxattr(patient->path, "security.capability", value, sizeof value) > 0};
    ret->setid_now = ((status.st_mode & S_ISUID) && status.st_uid != getuid()) ||
                     ((status.st_mode & S_ISGID) && (status.st_mode & S_IXGRP) && status.st_gid != getgid());
    ret->capabilities_now = ret->capabilities && getuid() != 0;
    secure = patient->pid ? told_secure(patient->pid) : -1;
    if (secure >= 0) {
        ret->setid_now = secure && (ret->setid || !ret->capabilities);
        ret->capabilities_now = secure && ret->capabilities;
    }
    return true;
}

enum cw_answer cw_doctor_setuid(const struct cw_patient *patient, char *detail)
{
    struct extra_rights rights;

    (void)detail;
    if (!read_rights(&rights, patient) || patient->loaded)
        return CW_ANSWER_NONE;
    return ill_if(rights.setid_now);
}

enum cw_answer cw_doctor_capabilities(const struct cw_patient *patient, char *detail)
{
    struct extra_rights rights;

    (void)detail;
    if (!read_rights(&rights, patient) || patient->loaded)
        return CW_ANSWER_NONE;
    return ill_if(rights.capabilities_now);
}

enum cw_answer cw_doctor_privileges(const struct cw_patient *patient, char *detail)
{
    struct extra_rights rights;

    (void)detail;
    if (patient->pid || !read_rights(&rights, patient) || rights.setid_now || rights.capabilities_now)
        return CW_ANSWER_NONE;
    return ill_if(rights.setid || rights.capabilities);
}

/* --- what stacks would lack --- */

static bool is_one_of(const struct cw_patient *patient, const char *const *patterns, size_t n)
{
    char whole[PATH_MAX];
    const char *name = patient->program;

    if (!is_readable(patient))
        return false;
    for (unsigned twice = 0; twice < 2; twice++) {
        for (size_t i = 0; i < n; i++)
            if (fnmatch(patterns[i], cw_basename(name), 0) == 0)
                return true;
        /* /usr/bin/java is a link to a link; an alternative may have any name. */
        if (!realpath(patient->path, whole))
            break;
        name = whole;
    }
    return false;
}

enum cw_answer cw_doctor_shell(const struct cw_patient *patient, char *detail)
{
    static const char *const shells[] = {"sh", "dash", "bash", "*ksh", "ksh93", "zsh", "fish", "busybox", "*csh"};

    if (!is_readable(patient))
        return CW_ANSWER_NONE;
    if (patient->script)
        DETAIL("%s", patient->program);
    return ill_if(is_one_of(patient, shells, sizeof shells / sizeof *shells));
}

enum cw_answer cw_doctor_interpreter(const struct cw_patient *patient, char *detail)
{
    static const char *const interpreters[] = {
        "python", "python[0-9]*", "pypy*",  "node",      "nodejs",  "java",     "ruby",  "ruby[0-9]*", "perl",
        "perl5*", "php*",         "lua",    "lua[0-9]*", "luajit*", "beam*smp", "mono*", "dotnet",     "deno",
        "bun",    "guile*",       "tclsh*", "R",         "Rscript", "qjs",      "julia"};

    if (!is_readable(patient))
        return CW_ANSWER_NONE;
    DETAIL("%s", cw_basename(patient->program));
    if (is_one_of(patient, interpreters, sizeof interpreters / sizeof *interpreters))
        return CW_ANSWER_ILL;
    detail[0] = 0;
    return CW_ANSWER_WELL;
}

enum cw_answer cw_doctor_go(const struct cw_patient *patient, char *detail)
{
    (void)detail;
    return is_readable(patient) ? ill_if(patient->elf.go) : CW_ANSWER_NONE;
}

enum cw_answer cw_doctor_sanitizer(const struct cw_patient *patient, char *detail)
{
    if (!is_dynamic(patient) || patient->loaded)
        return CW_ANSWER_NONE;
    if (!cw_patient_needs(patient, "lib[ath]*san.so*"))
        return CW_ANSWER_WELL;
    DETAIL("%s", cw_patient_needs(patient, "libtsan.so*") ? "libtsan" : "libasan");
    return CW_ANSWER_ILL;
}

enum cw_answer cw_doctor_no_symbols(const struct cw_patient *patient, char *detail)
{
    (void)detail;
    return is_readable(patient) ? ill_if(!patient->elf.symbols && !patient->elf.go) : CW_ANSWER_NONE;
}

enum cw_answer cw_doctor_no_debug_info(const struct cw_patient *patient, char *detail)
{
    (void)detail;
    /* Of a stripped one more than this is missing. */
    if (!is_readable(patient) || (!patient->elf.symbols && !patient->elf.debug_info))
        return CW_ANSWER_NONE;
    return ill_if(!patient->elf.debug_info);
}
