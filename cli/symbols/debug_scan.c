#define _GNU_SOURCE /* FTW_ACTIONRETVAL */
#include "cli/symbols/debug_scan.h"

#include "core/frames.h"

#include <elfutils/libdwelf.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH_MAX = 12, FILES_MAX = 50000, OPEN_MAX_DIRS = 16 };

static struct cw_debug_scan *current; /* nftw hands its function no context */
static unsigned looked_at;

static bool read_build_id(const char *path, struct cw_debug_scan_file *file)
{
    const void *id = NULL;
    bool is_elf = false;
    ssize_t length;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    Elf *elf;

    if (fd < 0)
        return false;
    elf_version(EV_CURRENT);
    elf = elf_begin(fd, ELF_C_READ, NULL);
    if (elf && elf_kind(elf) == ELF_K_ELF) {
        is_elf = true;
        length = dwelf_elf_gnu_build_id(elf, &id);
        if (length > 0 && (size_t)length <= sizeof file->build_id) {
            memcpy(file->build_id, id, (size_t)length);
            file->build_id_len = (uint8_t)length;
        }
    }
    elf_end(elf);
    close(fd);
    return is_elf;
}

static void add_file(struct cw_debug_scan *scan, const char *path)
{
    struct cw_debug_scan_file file = {0};

    if (!read_build_id(path, &file))
        return;
    if (scan->count == scan->room) {
        size_t room = scan->room ? 2 * scan->room : 64;
        struct cw_debug_scan_file *more = realloc(scan->files, room * sizeof *more);
        if (!more)
            return;
        scan->files = more;
        scan->room = room;
    }
    file.path = strdup(path);
    if (file.path)
        scan->files[scan->count++] = file;
}

static int visit(const char *path, const struct stat *status, int type, struct FTW *at)
{
    struct stat target;

    if (type == FTW_D) {
        bool too_deep = at->level > DEPTH_MAX;
        current->cut |= too_deep;
        return too_deep || !strcmp(path + at->base, ".build-id") ? FTW_SKIP_SUBTREE : FTW_CONTINUE;
    }
    if (looked_at == FILES_MAX) {
        current->cut = true;
        return FTW_STOP;
    }
    looked_at++;
    /* A link to a file is as good as the file; one to a directory may lead anywhere, and is not followed. */
    if (type == FTW_SL && stat(path, &target) == 0)
        status = &target;
    if (S_ISREG(status->st_mode) && status->st_size >= (off_t)sizeof(Elf64_Ehdr))
        add_file(current, path);
    return FTW_CONTINUE;
}

void cw_debug_scan_add(struct cw_debug_scan *scan, const char *dir)
{
    current = scan;
    looked_at = 0;
    nftw(dir, visit, OPEN_MAX_DIRS, FTW_ACTIONRETVAL | FTW_PHYS);
    current = NULL;
}

void cw_debug_scan_free(struct cw_debug_scan *scan)
{
    for (size_t i = 0; i < scan->count; i++)
        free(scan->files[i].path);
    free(scan->files);
    *scan = (struct cw_debug_scan){0};
}

const char *cw_debug_scan_find(const struct cw_debug_scan *scan, const uint8_t *build_id, uint8_t build_id_len,
                               const char *name, unsigned nth)
{
    const char *same_name = NULL;
    unsigned found = 0;

    for (size_t i = 0; i < scan->count; i++) {
        const struct cw_debug_scan_file *file = &scan->files[i];
        bool named = !strcmp(cw_basename(file->path), name);
        bool same = file->build_id_len == build_id_len &&
                    (build_id_len ? !memcmp(file->build_id, build_id, build_id_len) : named);
        if (same && found++ == nth)
            return file->path;
        if (named && !same_name)
            same_name = file->path;
    }
    return !found && nth == 0 ? same_name : NULL;
}
