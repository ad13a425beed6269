/* Where the files that a ledger's code came from are to be found, when they are not where they were: on another machine,
 * after an update, stripped.
 *
 * A file counts only if its build-id is that of the object that ran. One of these serves all ledgers of a report.
 * Single-threaded, as everything in the tool. */
#ifndef CLI_SYMBOLS_DEBUG_FILES_H
#define CLI_SYMBOLS_DEBUG_FILES_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CW_DEBUG_DIRS_MAX = 32 };

/* As given on the command line; strings stay the caller's. */
struct cw_debug_options {
    const char *debug_dirs[CW_DEBUG_DIRS_MAX]; /* --debug-dir, each */
    unsigned debug_dir_count;
    const char *sysroot;         /* --sysroot, NULL: none */
    bool debuginfod;             /* without it nothing is ever fetched from the network */
    const char *debuginfod_urls; /* --debuginfod=URLS, NULL: those of DEBUGINFOD_URLS */
};

struct cw_debug_files;

/* NULL when something in it cannot be had (no such directory, no libdebuginfod, no server named, no memory), with what to
 * do about it in `why` (why_bytes > 0). What `options` points to must outlive it. */
struct cw_debug_files *cw_debug_files_new(const struct cw_debug_options *options, char *why, size_t why_bytes);
void cw_debug_files_free(struct cw_debug_files *files); /* NULL is allowed */

/* The object that ran, as the ledger has it. */
struct cw_debug_wanted {
    const char *path; /* absolute, or "" if unknown */
    const uint8_t *build_id;
    uint8_t build_id_len; /* 0: none */
};

/* Names the nth place (from 0 on) where the object, stripped or not, or its separate debug information may be: true with
 * its path, false when there are no more. Whether a file is there, and the right one, is for the caller to see. Places
 * under --sysroot, --debug-dir and /usr/lib/debug only, the object's own path is the caller's business; files NULL:
 * /usr/lib/debug alone. */
bool cw_debug_files_place(struct cw_debug_files *files, const struct cw_debug_wanted *wanted, unsigned nth,
                          char path[PATH_MAX]);

/* Fetches debug information or, failing that, the object itself from a debuginfod server into the library's own cache: true
 * with its path. False at once without --debuginfod, after Ctrl-C, or without a build-id. Says on stderr what it waits for if
 * that takes longer than 2 s. */
bool cw_debug_files_fetch(struct cw_debug_files *files, const struct cw_debug_wanted *wanted, char path[PATH_MAX]);

/* Where libdw is to look for separate debug information, as dwfl_standard_find_debuginfo takes it; NULL: its default. */
char *cw_debug_files_search_path(struct cw_debug_files *files);

/* Says on stderr, once for each, that the file found for the object is another build and is not used. */
void cw_debug_files_refused(struct cw_debug_files *files, const struct cw_debug_wanted *wanted, const char *path);

#endif
