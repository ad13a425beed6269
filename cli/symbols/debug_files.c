#include "cli/symbols/debug_files.h"

#include "cli/cli.h"
#include "cli/symbols/debug_scan.h"
#include "cli/symbols/debuginfod.h"
#include "core/frames.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { HEX_MAX = 2 * 255 + 1 };

/* What was said about one object, so that forty workers do not say it forty times. */
struct refused {
    struct refused *older;
    char path[];
};

struct cw_debug_files {
    char *debug_dirs[CW_DEBUG_DIRS_MAX]; /* absolute */
    unsigned debug_dir_count;
    char *sysroot;     /* absolute, NULL: none */
    char *search_path; /* NULL: libdw's default */
    struct cw_debug_scan scan;
    bool scanned;
    struct cw_debuginfod *debuginfod;
    struct refused *refused;
};

/* --- begin and end --- */

static char *absolute_dir(const char *option, const char *dir, char *why, size_t why_bytes)
{
    char *path = realpath(dir, NULL);
    struct stat status;

    if (!path || stat(path, &status) < 0) {
        snprintf(why, why_bytes, "%s: %s: %s", option, dir, strerror(errno));
        free(path);
        return NULL;
    }
    if (!S_ISDIR(status.st_mode)) {
        snprintf(why, why_bytes, "%s: %s is no directory: give the directory that the file lies in", option, dir);
        free(path);
        return NULL;
    }
    return path;
}

/* A colon ends a directory there; such a one is searched by cw_debug_files_place alone. */
static bool make_search_path(struct cw_debug_files *files)
{
    size_t room = sizeof ":.debug:/usr/lib/debug" + (files->sysroot ? 2 * strlen(files->sysroot) + 64 : 0);
    FILE *to;

    if (!files->debug_dir_count && !files->sysroot)
        return true;
    to = open_memstream(&files->search_path, &room);
    if (!to)
        return false;
    fputs(":.debug", to);
    if (files->sysroot && !strchr(files->sysroot, ':'))
        fprintf(to, ":%s/usr/lib/debug", files->sysroot);
    for (unsigned i = 0; i < files->debug_dir_count; i++)
        if (!strchr(files->debug_dirs[i], ':'))
            fprintf(to, ":%s", files->debug_dirs[i]);
    fputs(":/usr/lib/debug", to);
    return fclose(to) == 0;
}

struct cw_debug_files *cw_debug_files_new(const struct cw_debug_options *options, char *why, size_t why_bytes)
{
    struct cw_debug_files *files = calloc(1, sizeof *files);

    if (!files) {
        snprintf(why, why_bytes, "no memory");
        return NULL;
    }
    for (unsigned i = 0; i < options->debug_dir_count && i < CW_DEBUG_DIRS_MAX; i++) {
        files->debug_dirs[i] = absolute_dir("--debug-dir", options->debug_dirs[i], why, why_bytes);
        if (!files->debug_dirs[i])
            goto fail;
        files->debug_dir_count++;
    }
    if (options->sysroot) {
        files->sysroot = absolute_dir("--sysroot", options->sysroot, why, why_bytes);
        if (!files->sysroot)
            goto fail;
    }
    if (options->debuginfod) {
        files->debuginfod = cw_debuginfod_new(options->debuginfod_urls, why, why_bytes);
        if (!files->debuginfod)
            goto fail;
    }
    if (!make_search_path(files)) {
        snprintf(why, why_bytes, "no memory");
        goto fail;
    }
    return files;
fail:
    cw_debug_files_free(files);
    return NULL;
}

void cw_debug_files_free(struct cw_debug_files *files)
{
    if (!files)
        return;
    for (unsigned i = 0; i < files->debug_dir_count; i++)
        free(files->debug_dirs[i]);
    free(files->sysroot);
    free(files->search_path);
    cw_debug_scan_free(&files->scan);
    cw_debuginfod_free(files->debuginfod);
    while (files->refused) {
        struct refused *refused = files->refused;
        files->refused = refused->older;
        free(refused);
    }
    free(files);
}

/* --- places --- */

/* Counts down to the place that is asked for. */
struct counting {
    unsigned left; /* places to pass over */
    char *path;
    bool found;
};

/* Counts one place, named as printf does. A name that does not fit is no place. */
__attribute__((format(printf, 2, 3))) static void place(struct counting *counting, const char *format, ...)
{
    va_list arguments;
    int n;

    if (counting->found)
        return;
    va_start(arguments, format);
    n = vsnprintf(counting->path, PATH_MAX, format, arguments);
    va_end(arguments);
    if (n < 0 || n >= PATH_MAX)
        return;
    counting->found = counting->left == 0;
    counting->left -= !counting->found;
}

/* A name out of a ledger, fit for a message: it may be made up to upset a terminal. */
static const char *printable(char to[PATH_MAX], const char *name)
{
    size_t n = strnlen(name, PATH_MAX - 1);

    for (size_t i = 0; i < n; i++)
        to[i] = (char)(iscntrl((unsigned char)name[i]) ? '?' : name[i]);
    to[n] = 0;
    return to;
}

static void to_hex(char hex[HEX_MAX], const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    hex[2 * n] = 0;
}

/* DIR as /usr/lib/debug is laid out. */
static void debug_tree(struct counting *counting, const char *dir, const struct cw_debug_wanted *wanted,
                       const char *hex)
{
    if (wanted->build_id_len > 1) {
        place(counting, "%s/.build-id/%.2s/%s.debug", dir, hex, hex + 2);
        place(counting, "%s/.build-id/%.2s/%s", dir, hex, hex + 2);
    }
    if (*wanted->path == '/') {
        place(counting, "%s%s.debug", dir, wanted->path);
        place(counting, "%s/%s.debug", dir, cw_basename(wanted->path));
    }
}

/* DIR as the root of a file system: of the machine that the ledger is from, or a package that was unpacked there. */
static void root_tree(struct counting *counting, const char *dir, const struct cw_debug_wanted *wanted, const char *hex)
{
    char debug[PATH_MAX];

    if (*wanted->path == '/')
        place(counting, "%s%s", dir, wanted->path);
    if ((size_t)snprintf(debug, sizeof debug, "%s/usr/lib/debug", dir) < sizeof debug)
        debug_tree(counting, debug, wanted, hex);
}

static void scanned(struct cw_debug_files *files, struct counting *counting, const struct cw_debug_wanted *wanted)
{
    const char *path;

    if (!files->scanned) {
        files->scanned = true;
        for (unsigned i = 0; i < files->debug_dir_count; i++)
            cw_debug_scan_add(&files->scan, files->debug_dirs[i]);
        if (files->scan.cut)
            cw_say("--debug-dir: too many files to look at all of them: name the directories that the binaries lie in");
    }
    path = cw_debug_scan_find(&files->scan, wanted->build_id, wanted->build_id_len, cw_basename(wanted->path),
                              counting->left);
    if (path) {
        counting->left = 0;
        place(counting, "%s", path);
    }
}

bool cw_debug_files_place(struct cw_debug_files *files, const struct cw_debug_wanted *wanted, unsigned nth,
                          char path[PATH_MAX])
{
    struct counting counting = {.left = nth, .path = path};
    char hex[HEX_MAX];

    to_hex(hex, wanted->build_id, wanted->build_id_len);
    if (files && files->sysroot)
        root_tree(&counting, files->sysroot, wanted, hex);
    for (unsigned i = 0; files && i < files->debug_dir_count; i++) {
        debug_tree(&counting, files->debug_dirs[i], wanted, hex);
        root_tree(&counting, files->debug_dirs[i], wanted, hex);
    }
    /* Without a build-id only what the user names can be the right one. */
    if (wanted->build_id_len)
        debug_tree(&counting, "/usr/lib/debug", wanted, hex);
    /* Last: it takes the longest. */
    if (!counting.found && files && files->debug_dir_count)
        scanned(files, &counting, wanted);
    return counting.found;
}

bool cw_debug_files_fetch(struct cw_debug_files *files, const struct cw_debug_wanted *wanted, char path[PATH_MAX])
{
    char name[PATH_MAX];

    if (!files || !files->debuginfod)
        return false;
    return cw_debuginfod_fetch(files->debuginfod, wanted->build_id, wanted->build_id_len,
                               printable(name, cw_basename(wanted->path)), path);
}

char *cw_debug_files_search_path(struct cw_debug_files *files)
{
    return files ? files->search_path : NULL;
}

void cw_debug_files_refused(struct cw_debug_files *files, const struct cw_debug_wanted *wanted, const char *path)
{
    char hex[HEX_MAX], name[PATH_MAX];
    struct refused *refused;

    if (!files || !wanted->build_id_len)
        return;
    for (refused = files->refused; refused; refused = refused->older)
        if (!strcmp(refused->path, path))
            return;
    refused = malloc(sizeof *refused + strlen(path) + 1);
    if (!refused)
        return;
    strcpy(refused->path, path);
    refused->older = files->refused;
    files->refused = refused;
    to_hex(hex, wanted->build_id, wanted->build_id_len);
    cw_say("%s is another build than the one that ran and is not used; the right one, in a directory given as "
           "--debug-dir, "
           "has build-id %s",
           printable(name, path), hex);
}
