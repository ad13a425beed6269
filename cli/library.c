#include "cli/library.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const places[] = {"", "../lib/", "../lib/x86_64-linux-gnu/"};

/* The loader would only complain, and start the program without it. */
static bool is_library(const char *path)
{
    Elf64_Ehdr header;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool is = fd >= 0 && read(fd, &header, sizeof header) == (ssize_t)sizeof header &&
              !memcmp(header.e_ident, ELFMAG, SELFMAG) && header.e_type == ET_DYN;

    if (fd >= 0)
        close(fd);
    return is;
}

int cw_library_find(char *path, size_t path_bytes, const char *given, char *why, size_t why_bytes)
{
    char tool[PATH_MAX], candidate[PATH_MAX + 64], whole[PATH_MAX];
    ssize_t n;

    if (given && *given) {
        bool readable = realpath(given, whole) && access(whole, R_OK) == 0 &&
                        (size_t)snprintf(path, path_bytes, "%s", whole) < path_bytes;
        if (readable && is_library(whole))
            return 0;
        if (readable)
            snprintf(why, why_bytes, "%s is no shared library: give the path of libcwguard.so", given);
        else
            snprintf(why, why_bytes, "%s cannot be read: %s", given, strerror(errno));
        return -1;
    }
    n = readlink("/proc/self/exe", tool, sizeof tool - 1);
    if (n <= 0) {
        snprintf(why, why_bytes, "where the tool itself lies is not known (/proc/self/exe: %s): give --library=FILE",
                 strerror(errno));
        return -1;
    }
    tool[n] = 0;
    *(strrchr(tool, '/') + 1) = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(candidate, sizeof candidate, "%s%slibcwguard.so", tool, places[i]);
        if (realpath(candidate, whole) && access(whole, R_OK) == 0 &&
            (size_t)snprintf(path, path_bytes, "%s", whole) < path_bytes)
            return 0;
    }
    snprintf(why, why_bytes,
             "libcwguard.so is not beside the tool (%s), nor in ../lib or ../lib/x86_64-linux-gnu: give --library=FILE",
             tool);
    return -1;
}
