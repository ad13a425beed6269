/* The program that `cwguard run` is to start: which file it is, and whether the loader will let libcwguard.so into it.
 *
 * Nothing here keeps a program from being run: the kernel has the last word on that. Single-threaded, as everything in
 * the tool. */
#ifndef CLI_RUN_PROGRAM_H
#define CLI_RUN_PROGRAM_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

struct cw_run_program {
    char path[PATH_MAX];    /* the file to execute */
    char obstacle[128];     /* why no library will be loaded, a sentence without its subject; "" if none is known */
    char subject[PATH_MAX]; /* which is this file: the program, or its interpreter */
    char runtime[PATH_MAX]; /* the sanitizer's runtime that it needs before any other library; "" none */
    bool no_preload;        /* its loader would refuse to start it with the library in LD_PRELOAD */
};

/* Finds `name` as a shell does (PATH, unless there is a slash in it) and looks into it and, for a script, into its
 * interpreter. Returns 0, or the shell's exit code with the reason in `why`: 127 there is no such file, 126 it cannot
 * be executed. */
int cw_run_program_find(struct cw_run_program *ret, const char *name, char *why, size_t why_bytes);

/* The sanitizer's runtime that a library itself needs, as `runtime` above: libcwguard.so, if it was built with one. */
void cw_run_program_runtime(char runtime[PATH_MAX], const char *library);

#endif
