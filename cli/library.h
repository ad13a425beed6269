/* Where libcwguard.so lies: beside the tool, or where `make install` puts it.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_LIBRARY_H
#define CLI_LIBRARY_H

#include <stddef.h>

/* The library's absolute path into `path` (at least PATH_MAX bytes). given: the user's --library, NULL or "" to look beside the
 * tool, in ../lib and in ../lib/x86_64-linux-gnu. Returns 0, or -1 with what is wrong and what to do in `why`. */
int cw_library_find(char *path, size_t path_bytes, const char *given, char *why, size_t why_bytes);

#endif
