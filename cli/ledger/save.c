#include "cli/ledger/save.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where a section's records are in a view. */
static const struct {
    uint32_t stride;
    size_t pointer; /* offset in struct cw_view */
} section_table[CW_SECTION_COUNT] = {
#define CW_X(section, type, field) [CW_SECTION_##section] = {sizeof(type), offsetof(struct cw_view, field)},
    CW_VIEW_SECTIONS(CW_X)
#undef CW_X
};

#define CW_X(section, type) [CW_SECTION_##section] = sizeof(type),
static const uint32_t strides[CW_SECTION_COUNT] = {CW_SECTIONS(CW_X)};
#undef CW_X

enum { PAGE_BYTES = 4096 };

static const void *records_of(const struct cw_load *load, unsigned id)
{
    const void *records;

    memcpy(&records, (const char *)&load->view + section_table[id].pointer, sizeof records);
    return records;
}

/* The header of the copy: sections one after another, each as long as what is in use. */
static void lay_out(struct cw_ledger *header, const struct cw_load *load)
{
    uint64_t at = CW_LEDGER_HEADER_BYTES;

    *header = *load->view.header;
    memcpy(header->magic, CW_LEDGER_MAGIC, sizeof header->magic);
    header->version = CW_LEDGER_VERSION;
    header->header_bytes = CW_LEDGER_HEADER_BYTES;
    header->flags &= ~(uint32_t)CW_HEADER_ANONYMOUS;
    if (header->ended == CW_ENDED_RUNNING)
        header->flags |= CW_HEADER_SAVED;
    for (unsigned id = 0; id < CW_SECTION_COUNT; id++) {
        /* What a view does not show (the recorder's own index) is not needed to read it. */
        uint32_t used = section_table[id].stride ? header->sections[id].used : 0;
        header->sections[id] = (struct cw_section){.offset = at, .stride = strides[id], .capacity = used, .used = used};
        at += ((uint64_t)used * strides[id] + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    }
    header->total_bytes = at;
}

static int write_at(int fd, const void *bytes, size_t n, uint64_t offset)
{
    const char *from = bytes;

    while (n) {
        ssize_t done = pwrite(fd, from, n, (off_t)offset);
        if (done < 0 && errno != EINTR)
            return -errno;
        if (done > 0) {
            from += done;
            offset += (uint64_t)done;
            n -= (size_t)done;
        }
    }
    return 0;
}

/* Pages that hold nothing but zeros stay holes. */
static int write_sparse(int fd, const void *bytes, size_t n, uint64_t offset)
{
    static const char zeros[PAGE_BYTES];
    int error = 0;

    for (size_t at = 0; at < n && !error; at += PAGE_BYTES) {
        size_t piece = n - at < PAGE_BYTES ? n - at : PAGE_BYTES;
        if (memcmp((const char *)bytes + at, zeros, piece) != 0)
            error = write_at(fd, (const char *)bytes + at, piece, offset + at);
    }
    return error;
}

static int write_copy(int fd, const struct cw_load *load)
{
    struct cw_ledger header;
    int error;

    lay_out(&header, load);
    error = ftruncate(fd, (off_t)header.total_bytes) ? -errno : 0;
    for (unsigned id = 0; id < CW_SECTION_COUNT && !error; id++)
        if (header.sections[id].used)
            error = write_sparse(fd, records_of(load, id), (size_t)header.sections[id].used * strides[id],
                                 header.sections[id].offset);
    return error ? error : write_at(fd, &header, sizeof header, 0);
}

/* Whether writing to path would destroy what is no ledger; negative errno where that cannot be told. */
static int holds_something_else(const char *path)
{
    char magic[sizeof CW_LEDGER_MAGIC - 1];
    struct stat status;
    bool ledger;
    int fd;

    if (lstat(path, &status) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISREG(status.st_mode))
        return 1;
    fd = cw_load_open(AT_FDCWD, path);
    if (fd < 0)
        return fd;
    ledger =
        pread(fd, magic, sizeof magic, 0) == (ssize_t)sizeof magic && !memcmp(magic, CW_LEDGER_MAGIC, sizeof magic);
    close(fd);
    return !ledger;
}

int cw_save(const struct cw_load *load, const char *path, char *why, size_t why_bytes)
{
    char temporary[PATH_MAX];
    int error = holds_something_else(path), fd;

    if (error > 0) {
        snprintf(why, why_bytes, "is there already and is no ledger: remove it, or save under another name");
        return -1;
    }
    if (!error && (size_t)snprintf(temporary, sizeof temporary, "%s.tmp.%d", path, (int)getpid()) >= sizeof temporary)
        error = -ENAMETOOLONG;
    fd = error ? -1 : open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (!error && fd < 0)
        error = -errno;
    if (fd >= 0) {
        error = write_copy(fd, load);
        if (close(fd) < 0 && !error)
            error = -errno;
        if (!error && rename(temporary, path) < 0)
            error = -errno;
        if (error)
            unlink(temporary);
    }
    if (!error)
        return 0;
    snprintf(why, why_bytes, "could not be saved: %s", strerror(-error));
    return -1;
}
