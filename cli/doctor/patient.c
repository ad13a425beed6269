/* From a name or a pid to what the checks look at: the ELF file that runs in the end, and the libraries in it. */
#include "cli/doctor/doctor.h"

#include "cli/cli.h"
#include "cli/library.h"
#include "core/frames.h"
#include "core/options.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_file(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

static void add_object(struct cw_patient *patient, const char *path)
{
    for (unsigned i = 0; i < patient->n_objects; i++)
        if (!strcmp(patient->objects[i], path))
            return;
    if (patient->n_objects < CW_DOCTOR_OBJECTS_MAX && (patient->objects[patient->n_objects] = strdup(path)) != NULL)
        patient->n_objects++;
}

static void find_shim(struct cw_patient *patient, const char *library)
{
    if (cw_library_find(patient->shim, sizeof patient->shim, library, patient->shim_missing,
                        sizeof patient->shim_missing) < 0)
        patient->shim[0] = 0;
}

void cw_patient_free(struct cw_patient *patient)
{
    cw_elf_facts_free(&patient->elf);
    while (patient->n_objects)
        free(patient->objects[--patient->n_objects]);
}

bool cw_patient_needs(const struct cw_patient *patient, const char *pattern)
{
    for (unsigned i = 0; i < patient->elf.n_needed; i++)
        if (fnmatch(pattern, patient->elf.needed[i], 0) == 0)
            return true;
    for (unsigned i = 0; i < patient->n_objects; i++)
        if (fnmatch(pattern, cw_basename(patient->objects[i]), 0) == 0)
            return true;
    return false;
}

/* --- a program --- */

/* As a shell finds it: 0, or the errno that it would speak of. */
static int find_program(char *ret, size_t ret_bytes, const char *name)
{
    const char *path = getenv("PATH"), *end;
    int error = ENOENT;

    if (strchr(name, '/')) {
        if ((size_t)snprintf(ret, ret_bytes, "%s", name) >= ret_bytes)
            return ENAMETOOLONG;
        if (access(name, F_OK) < 0)
            return errno;
        return !is_file(name) || access(name, X_OK) < 0 ? EACCES : 0;
    }
    for (const char *at = path && *path ? path : "/usr/local/bin:/usr/bin:/bin"; at; at = end ? end + 1 : NULL) {
        end = strchr(at, ':');
        size_t n = end ? (size_t)(end - at) : strlen(at);
        if (*name && (size_t)snprintf(ret, ret_bytes, "%.*s%s%s", (int)n, at, n ? "/" : "", name) < ret_bytes &&
            is_file(ret)) {
            if (access(ret, X_OK) == 0)
                return 0;
            error = EACCES;
        }
    }
    return error;
}

/* The word that begins at *at, which moves behind it; NULL at the line's end. */
static char *next_word(char **at)
{
    char *word = *at + strspn(*at, " \t");
    *at = word + strcspn(word, " \t");
    if (**at)
        *(*at)++ = 0;
    return *word ? word : NULL;
}

/* What `#!/usr/bin/env -S VAR=x python3 -u` runs. */
static const char *past_env(char *words)
{
    char *word;
    while ((word = next_word(&words)) != NULL)
        if (*word != '-' && !strchr(word, '='))
            return word;
    return NULL;
}

/* Of a script, one step on to its interpreter: 1; 0 for what is no script; -1 after a message. */
static int follow_script(char *path, size_t path_bytes)
{
    char line[512], found[PATH_MAX], *words = line + 2;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), error;
    ssize_t n = fd >= 0 ? read(fd, line, sizeof line - 1) : -1;
    const char *next;

    if (fd >= 0)
        close(fd);
    if (n < 2 || line[0] != '#' || line[1] != '!')
        return 0;
    line[n] = 0;
    line[strcspn(line, "\n")] = 0;
    next = next_word(&words);
    if (next && !strcmp(cw_basename(next), "env"))
        next = past_env(words);
    if (!next) {
        cw_say("%s begins with #! but names no interpreter", path);
        return -1;
    }
    error = find_program(found, sizeof found, next);
    if (error) {
        cw_say("%s names the interpreter %s: %s", path, next, strerror(error));
        return -1;
    }
    snprintf(path, path_bytes, "%s", found);
    return 1;
}

/* --- the libraries that a program needs --- */

struct places {
    char dirs[16][PATH_MAX];
    unsigned n;
};

static void add_place(struct places *places, const char *dir, size_t n)
{
    if (n && places->n < sizeof places->dirs / sizeof *places->dirs)
        snprintf(places->dirs[places->n++], PATH_MAX, "%.*s", (int)n, dir);
}

/* DT_RUNPATH, then what the loader has beside itself (where its distribution keeps its libraries), then the usual. */
static void list_places(struct places *places, const struct cw_patient *patient)
{
    static const char *const usual[] = {"/lib/x86_64-linux-gnu",
                                        "/usr/lib/x86_64-linux-gnu",
                                        "/usr/local/lib",
                                        "/lib64",
                                        "/usr/lib64",
                                        "/lib",
                                        "/usr/lib"};
    char whole[PATH_MAX], origin[PATH_MAX];
    const char *end;

    places->n = 0;
    if (!realpath(patient->path, origin))
        origin[0] = 0;
    *(strrchr(origin, '/') ? strrchr(origin, '/') : origin) = 0;
    for (const char *at = patient->elf.runpath; *at; at = *end ? end + 1 : end) {
        end = at + strcspn(at, ":");
        if (!strncmp(at, "$ORIGIN", 7) && (at[7] == '/' || at + 7 == end))
            snprintf(whole, sizeof whole, "%.2000s%.*s", origin, (int)(end - at - 7), at + 7);
        else
            snprintf(whole, sizeof whole, "%.*s", (int)(end - at), at);
        add_place(places, whole, strlen(whole));
    }
    if (realpath(patient->elf.interp, whole))
        add_place(places, whole, (size_t)(strrchr(whole, '/') - whole));
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        add_place(places, usual[i], strlen(usual[i]));
}

static void add_needed(struct cw_patient *patient, const struct places *places, const char *name)
{
    char path[PATH_MAX + 256];

    if (strchr(name, '/')) {
        add_object(patient, name);
        return;
    }
    for (unsigned i = 0; i < places->n; i++) {
        snprintf(path, sizeof path, "%s/%.200s", places->dirs[i], name);
        if (!is_file(path))
            continue;
        if (!strcmp(name, "libc.so.6"))
            snprintf(patient->libc, sizeof patient->libc, "%.4000s", path);
        add_object(patient, path);
        return;
    }
}

/* All libraries that start with it: the list grows while it is gone through. */
static void list_needed(struct cw_patient *patient)
{
    struct places *places = malloc(sizeof *places);
    struct cw_elf_facts library;

    if (!places)
        return;
    list_places(places, patient);
    for (unsigned i = 0; i < patient->elf.n_needed; i++)
        add_needed(patient, places, patient->elf.needed[i]);
    for (unsigned i = 0; i < patient->n_objects; i++) {
        cw_elf_needed_read(&library, patient->objects[i]);
        for (unsigned k = 0; k < library.n_needed; k++)
            add_needed(patient, places, library.needed[k]);
        cw_elf_facts_free(&library);
    }
    free(places);
}

int cw_patient_program(struct cw_patient *ret, const char *name, const char *library)
{
    struct cw_options options;
    int error = find_program(ret->named, sizeof ret->named, name), step = 1;

    if (error) {
        cw_say("%s: %s", *name ? name : "''",
               error == ENOENT && !strchr(name, '/') ? "command not found; give a program or a pid" : strerror(error));
        return -1;
    }
    find_shim(ret, library);
    ret->real_uid = getuid();
    memcpy(ret->path, ret->named, sizeof ret->path);
    for (int i = 0; i < 5 && step == 1; i++) { /* the kernel follows as many */
        step = follow_script(ret->path, sizeof ret->path);
        ret->script |= step == 1;
    }
    if (step > 0)
        cw_say("%s: more scripts run one another than the kernel follows, or they do so in a circle", ret->named);
    if (step)
        return -1;
    memcpy(ret->program, ret->path, sizeof ret->program);
    cw_elf_facts_read(&ret->elf, ret->path);
    if (!ret->elf.elf) {
        cw_say("%s is neither a program (ELF) nor a script that begins with #!%s", ret->path,
               access(ret->path, R_OK) < 0 ? ", or it may not be read" : "");
        return -1;
    }
    list_needed(ret);
    cw_options_default(&options);
    cw_options_parse(&options, getenv("CWGUARD_OPTIONS"), NULL, NULL);
    snprintf(ret->ledger_dir, sizeof ret->ledger_dir, "%s", options.ledger_dir);
    return 0;
}

/* --- a process --- */

long cw_doctor_status(pid_t pid, const char *name)
{
    char path[64], text[8192];
    const char *line;

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    if (cw_proc_read_small(path, text, sizeof text) < 0 || !(line = strstr(text, name)))
        return -1;
    return strtol(line + strlen(name), NULL, 10);
}

/* Every ELF object that it has mapped, as a path that can be opened from here. */
static void list_mapped(struct cw_patient *patient)
{
    char maps_path[64], *line = NULL, path[PATH_MAX + 64], range[64], permissions[8];
    size_t room = 0;
    FILE *maps;
    int at;

    snprintf(maps_path, sizeof maps_path, "/proc/%d/maps", (int)patient->pid);
    maps = fopen(maps_path, "re");
    while (maps && getline(&line, &room, maps) > 0) {
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "%63s %7s %*s %*s %*s %n", range, permissions, &at) != 2 || !strchr(permissions, 'x') ||
            line[at] != '/')
            continue;
        const char *name = cw_basename(line + at);
        bool shim = !strncmp(name, "libcwguard.so", 13);
        snprintf(path, sizeof path, "/proc/%d/root%.4000s", (int)patient->pid, line + at);
        if (access(path, R_OK) < 0)
            snprintf(path, sizeof path, "/proc/%d/map_files/%s", (int)patient->pid, range);
        if (shim) {
            patient->loaded = true;
            snprintf(patient->shim, sizeof patient->shim, "%.4000s", path);
        }
        if (!strcmp(name, "libc.so.6"))
            snprintf(patient->libc, sizeof patient->libc, "%.4000s", path);
        if (strcmp(line + at, patient->program) != 0)
            add_object(patient, path);
    }
    free(line);
    if (maps)
        fclose(maps);
}

/* Its LD_PRELOAD and options, as of its start. */
static void read_environment(struct cw_patient *patient)
{
    char path[64], *entry = NULL, *word, *rest;
    struct cw_options options;
    size_t room = 0;
    FILE *file;

    cw_options_default(&options);
    snprintf(path, sizeof path, "/proc/%d/environ", (int)patient->pid);
    file = fopen(path, "re");
    while (file && getdelim(&entry, &room, 0, file) > 0) {
        if (!strncmp(entry, "CWGUARD_OPTIONS=", 16))
            cw_options_parse(&options, entry + 16, NULL, NULL);
        if (strncmp(entry, "LD_PRELOAD=", 11) != 0)
            continue;
        for (word = strtok_r(entry + 11, ": ", &rest); word; word = strtok_r(NULL, ": ", &rest))
            if (!strncmp(cw_basename(word), "libcwguard.so", 13))
                snprintf(patient->preload, sizeof patient->preload, "%.4000s", word);
    }
    free(entry);
    if (file)
        fclose(file);
    snprintf(patient->ledger_dir, sizeof patient->ledger_dir, "%s", options.ledger_dir);
}

int cw_patient_process(struct cw_patient *ret, pid_t pid, const char *library)
{
    int error = cw_proc_read(&ret->proc, pid);
    ssize_t n;

    if (error || ret->proc.zombie) {
        cw_say("pid %d: %s", (int)pid, !error || error == -ESRCH ? "there is no such process" : strerror(-error));
        return -1;
    }
    ret->pid = pid;
    ret->real_uid = (uid_t)cw_doctor_status(pid, "\nUid:");
    snprintf(ret->named, sizeof ret->named, "pid %d", (int)pid);
    snprintf(ret->path, sizeof ret->path, "/proc/%d/exe", (int)pid);
    find_shim(ret, library);
    n = readlink(ret->path, ret->program, sizeof ret->program - 1);
    if (n < 0 && errno == ENOENT) {
        cw_say("pid %d is a thread of the kernel: there is no program in it", (int)pid);
        return -1;
    }
    if (n < 0) {
        ret->refused = true;
        ret->path[0] = 0;
        return 0;
    }
    ret->program[n] = 0;
    cw_elf_facts_read(&ret->elf, ret->path);
    list_mapped(ret);
    read_environment(ret);
    return 0;
}
