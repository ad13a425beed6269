/* For test_outside.sh: preloaded into the tool, it has the kernel refuse what REFUSE says, a pattern of paths, with the
 * errno whose number is REFUSE_ERRNO. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static bool refused(const char *path)
{
    const char *pattern = getenv("REFUSE"), *number = getenv("REFUSE_ERRNO");

    if (!pattern || !number || fnmatch(pattern, path, 0))
        return false;
    errno = atoi(number);
    return true;
}

int open(const char *path, int flags, ...)
{
    int (*next)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    mode_t mode;
    va_list rest;

    va_start(rest, flags);
    mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return refused(path) ? -1 : next(path, flags, mode);
}

FILE *fopen(const char *path, const char *mode)
{
    FILE *(*next)(const char *, const char *) = (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, "fopen");
    return refused(path) ? NULL : next(path, mode);
}

DIR *opendir(const char *path)
{
    DIR *(*next)(const char *) = (DIR * (*)(const char *)) dlsym(RTLD_NEXT, "opendir");
    return refused(path) ? NULL : next(path);
}
