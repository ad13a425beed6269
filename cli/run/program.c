#define _GNU_SOURCE
#include "cli/run/program.h"

#include "cli/run/preload_env.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MAX_INTERPRETERS 4 /* scripts of scripts: the kernel's own limit is 5 */

enum { NOT_FOUND = 127, NOT_EXECUTABLE = 126 };

/* --- finding it --- */

/* 0, or the errno that executing it would give, as far as can be told beforehand. */
static int can_execute(const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return errno;
    if (S_ISDIR(st.st_mode))
        return EISDIR;
    return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

/* As execvp searches: a file that may not be executed does not end the search, but is remembered. */
static int search_path(char path[PATH_MAX], const char *name)
{
    char standard[256] = "/bin:/usr/bin";
    const char *list = getenv("PATH");
    int result = ENOENT;

    if (!list && confstr(_CS_PATH, standard, sizeof standard) <= sizeof standard)
        list = standard;
    for (const char *at = list ? list : standard;; at++) {
        size_t n = strcspn(at, ":");
        char candidate[PATH_MAX];
        int length = snprintf(candidate, sizeof candidate, "%.*s%s%s", (int)n, at, n ? "/" : "", name);
        int error = (size_t)length < sizeof candidate ? can_execute(candidate) : ENOENT;
        if (error == 0 || ((error == EACCES || error == EISDIR) && result == ENOENT))
            strcpy(path, candidate);
        if (error == 0)
            return 0;
        if (error == EACCES || error == EISDIR)
            result = EACCES;
        at += n;
        if (!*at)
            return result;
    }
}

/* --- looking into it --- */

/* Where in the file the bytes lie that are mapped at this address; -1 nowhere. */
static int64_t file_offset(Elf *elf, size_t n_segments, uint64_t address)
{
    GElf_Phdr segment;

    for (size_t i = 0; i < n_segments; i++)
        if (gelf_getphdr(elf, (int)i, &segment) && segment.p_type == PT_LOAD && address >= segment.p_vaddr &&
            address - segment.p_vaddr < segment.p_filesz)
            return (int64_t)(segment.p_offset + (address - segment.p_vaddr));
    return -1;
}

/* A NUL-terminated string out of the file, "" where there is none. */
static const char *string_at(Elf *elf, int64_t offset)
{
    size_t n = 0;
    const char *image = elf_rawfile(elf, &n);

    if (!image || offset < 0 || (uint64_t)offset >= n || !memchr(image + offset, 0, n - (size_t)offset))
        return "";
    return image + offset;
}

/* The first library of DT_NEEDED that is a sanitizer's runtime, or "". */
static const char *needed_runtime(Elf *elf, size_t n_segments, const GElf_Phdr *dynamic)
{
    Elf_Data *data = elf_getdata_rawchunk(elf, (int64_t)dynamic->p_offset, dynamic->p_filesz, ELF_T_DYN);
    int64_t strings = -1;
    GElf_Dyn entry;

    for (int i = 0; data && gelf_getdyn(data, i, &entry) && entry.d_tag != DT_NULL; i++)
        if (entry.d_tag == DT_STRTAB)
            strings = file_offset(elf, n_segments, entry.d_un.d_ptr);
    for (int i = 0; data && strings >= 0 && gelf_getdyn(data, i, &entry) && entry.d_tag != DT_NULL; i++) {
        const char *name = entry.d_tag == DT_NEEDED ? string_at(elf, strings + (int64_t)entry.d_un.d_val) : "";
        if (*name && cw_preload_env_is_runtime(name))
            return name;
    }
    return "";
}

/* Where the program's own loader finds the library: asked for its list ("\tNAME => PATH (ADDRESS)"), it runs nothing.
 * The name alone if it does not say. */
static void resolve(char runtime[PATH_MAX], const char *loader, const char *program, const char *name)
{
    char *const arguments[] = {(char *)(uintptr_t)loader, (char *)(uintptr_t) "--list", (char *)(uintptr_t)program,
                               NULL};
    posix_spawn_file_actions_t actions;
    int ends[2], status;
    char line[PATH_MAX + 256];
    pid_t pid;

    snprintf(runtime, PATH_MAX, "%s", name);
    if (pipe2(ends, O_CLOEXEC) != 0)
        return;
    FILE *list = fdopen(ends[0], "r");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    int error = list ? posix_spawn(&pid, loader, &actions, NULL, arguments, environ) : ENOMEM;
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    while (!error && fgets(line, sizeof line, list)) {
        char *at = line + strspn(line, "\t "), *path = strstr(at, " => /"), *end = strrchr(at, '(');
        if (!strncmp(at, name, strlen(name)) && path == at + strlen(name) && end && end > path + 5) {
            end[-1] = 0;
            snprintf(runtime, PATH_MAX, "%s", path + 4);
        }
    }
    if (!error)
        waitpid(pid, &status, 0);
    if (list)
        fclose(list);
    else
        close(ends[0]);
}

/* What the program headers say. */
struct headers {
    const char *loader;  /* "" none: it is static, or a library */
    const char *runtime; /* "" none */
};

static bool read_headers(struct headers *ret, Elf *elf)
{
    size_t n_segments = 0;
    GElf_Phdr segment;

    *ret = (struct headers){"", ""};
    if (elf_getphdrnum(elf, &n_segments) != 0)
        return false;
    for (size_t i = 0; i < n_segments; i++) {
        if (!gelf_getphdr(elf, (int)i, &segment))
            return false;
        if (segment.p_type == PT_INTERP)
            ret->loader = string_at(elf, (int64_t)segment.p_offset);
        else if (segment.p_type == PT_DYNAMIC)
            ret->runtime = needed_runtime(elf, n_segments, &segment);
    }
    return true;
}

static void look_into_elf(struct cw_run_program *program, const char *path, Elf *elf)
{
    struct headers headers;
    GElf_Ehdr header;

    if (!gelf_getehdr(elf, &header) || !read_headers(&headers, elf))
        return; /* damaged: the kernel will say so */
    if (header.e_machine != EM_X86_64 || header.e_ident[EI_CLASS] != ELFCLASS64) {
        snprintf(program->obstacle, sizeof program->obstacle, "is no 64-bit x86 program");
    } else if (!*headers.loader) {
        snprintf(program->obstacle, sizeof program->obstacle, "is linked statically");
    } else if (strstr(headers.loader, "/ld-musl")) {
        snprintf(program->obstacle, sizeof program->obstacle, "is made for musl libc, the library for glibc");
        program->no_preload = true;
    } else if (*headers.runtime) {
        resolve(program->runtime, headers.loader, path, headers.runtime);
    }
}

void cw_run_program_runtime(char runtime[PATH_MAX], const char *library)
{
    struct headers headers;
    int fd = open(library, O_RDONLY | O_CLOEXEC);
    Elf *elf;

    runtime[0] = 0;
    elf_version(EV_CURRENT);
    elf = fd >= 0 ? elf_begin(fd, ELF_C_READ_MMAP, NULL) : NULL;
    if (elf && read_headers(&headers, elf) && *headers.runtime)
        resolve(runtime, "/lib64/ld-linux-x86-64.so.2", library, headers.runtime);
    elf_end(elf);
    if (fd >= 0)
        close(fd);
}

/* Privileges that a file gives make the loader ignore LD_PRELOAD (ld.so(8), secure-execution mode). */
static void look_at_privileges(struct cw_run_program *program, const char *path)
{
    struct stat st;
    const char *what = NULL;

    if (stat(path, &st) != 0)
        return;
    if ((st.st_mode & S_ISUID) && st.st_uid != getuid())
        what = "setuid";
    else if ((st.st_mode & S_ISGID) && (st.st_mode & S_IXGRP) && st.st_gid != getgid())
        what = "setgid";
    else if (getuid() != 0 && getxattr(path, "security.capability", NULL, 0) > 0)
        what = "given capabilities";
    if (what)
        snprintf(program->obstacle, sizeof program->obstacle, "is %s, and its loader ignores LD_PRELOAD", what);
}

/* The interpreter that a script names in its first line, "" if that is none. env(1) looks for its argument in PATH. */
static void interpreter_of(char path[PATH_MAX], const char *line)
{
    char words[2][PATH_MAX] = {"", ""};

    path[0] = 0;
    if (strncmp(line, "#!", 2) != 0 || sscanf(line + 2, " %4000s %4000s", words[0], words[1]) < 1)
        return;
    const char *last = strrchr(words[0], '/');
    if (last && !strcmp(last, "/env") && words[1][0] && words[1][0] != '-' && !strchr(words[1], '=') &&
        search_path(path, words[1]) == 0)
        return;
    snprintf(path, PATH_MAX, "%s", words[0]);
}

static void look_into(struct cw_run_program *program)
{
    char path[PATH_MAX], line[PATH_MAX], next[PATH_MAX];

    elf_version(EV_CURRENT);
    snprintf(path, sizeof path, "%s", program->path);
    for (int depth = 0; depth < MAX_INTERPRETERS; depth++) {
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        ssize_t n = fd >= 0 ? pread(fd, line, sizeof line - 1, 0) : -1;
        Elf *elf = n > 4 && !memcmp(line, ELFMAG, SELFMAG) ? elf_begin(fd, ELF_C_READ_MMAP, NULL) : NULL;
        next[0] = 0;
        if (elf) {
            look_into_elf(program, path, elf);
            look_at_privileges(program, path);
            elf_end(elf);
        } else if (n > 0) {
            line[n] = 0;
            line[strcspn(line, "\n")] = 0;
            interpreter_of(next, line);
        } else if (fd < 0) {
            look_at_privileges(program, path);
        }
        if (fd >= 0)
            close(fd);
        if (program->obstacle[0])
            memcpy(program->subject, path, sizeof path);
        if (!next[0])
            return;
        snprintf(path, sizeof path, "%s", next);
    }
}

int cw_run_program_find(struct cw_run_program *ret, const char *name, char *why, size_t why_bytes)
{
    *ret = (struct cw_run_program){.path = ""};
    if (strlen(name) >= sizeof ret->path) {
        snprintf(why, why_bytes, "its name is too long");
        return NOT_FOUND;
    }
    bool searched = !strchr(name, '/');
    if (!searched)
        strcpy(ret->path, name);
    int error = !*name ? ENOENT : searched ? search_path(ret->path, name) : can_execute(ret->path);
    if (error == 0) {
        look_into(ret);
        return 0;
    }
    if (error == ENOENT || error == ENOTDIR) {
        snprintf(why, why_bytes, "%s", searched ? "there is no such program in PATH" : "there is no such file");
        return NOT_FOUND;
    }
    snprintf(why, why_bytes, "%s%s", strerror(error),
             error == EACCES ? " (is it executable? chmod +x; and may its directories be searched?)" : "");
    return NOT_EXECUTABLE;
}
