#include "cli/ledger/load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where a section's array goes. */
static const struct {
    const char *name;
    uint32_t stride;
    size_t pointer, count; /* offsets in struct cw_view */
} section_table[CW_SECTION_COUNT] = {
#define CW_X(section, type, field)                                                                                     \
    [CW_SECTION_##                                                                                                     \
        section] = {#section, sizeof(type), offsetof(struct cw_view, field), offsetof(struct cw_view, n_##field)},
    CW_VIEW_SECTIONS(CW_X)
#undef CW_X
};

/* Connections last: if memory runs short, fewer of them are better than some without their stacks. */
static const enum cw_section_id reading_order[] = {CW_SECTION_STRINGS, CW_SECTION_MODULES, CW_SECTION_STACKS,
                                                   CW_SECTION_THREADS, CW_SECTION_SETS,    CW_SECTION_FORKS,
                                                   CW_SECTION_SLOTS,   CW_SECTION_CONNS};

/* Room for what a look at the running process adds: sockets that only the kernel knows of, stacks of its threads. */
static const uint32_t spare_records[CW_SECTION_COUNT] = {
    [CW_SECTION_CONNS] = 16384,
    [CW_SECTION_STACKS] = CW_LOAD_SPARE_STACKS * (CW_STACK_MAX_FRAMES + 1) + 1,
    [CW_SECTION_MODULES] = 512,
    [CW_SECTION_STRINGS] = 128 * 1024,
};

/* Twice what the recorder's largest ledger holds (preload/ledger_shape.c), so much has one that was saved; of threads and
 * epoll sets what 16 bits can name. Connections and fds are bounded by the memory alone. */
static const uint32_t most_records[CW_SECTION_COUNT] = {
    [CW_SECTION_THREADS] = UINT16_MAX, [CW_SECTION_SETS] = 8192,    [CW_SECTION_FORKS] = 2048,
    [CW_SECTION_STACKS] = 2u << 20,    [CW_SECTION_MODULES] = 8192, [CW_SECTION_STRINGS] = 2u << 20,
};

int cw_load_open(int dir_fd, const char *path)
{
    int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    return fd < 0 ? -errno : fd;
}

/* Reads up to n bytes; what lies beyond the end of the file is left as it is. Returns bytes read, or negative errno. */
static ssize_t read_at(int fd, void *to, size_t n, uint64_t offset)
{
    size_t done = 0;

    while (done < n) {
        ssize_t got = pread(fd, (char *)to + done, n - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

static int check_header(const struct cw_ledger *header, size_t got, uint64_t file_bytes, char *why, size_t why_bytes)
{
    if (got < sizeof header->magic || memcmp(header->magic, CW_LEDGER_MAGIC, sizeof header->magic) != 0) {
        snprintf(why, why_bytes, "is not a cwguard ledger (they are named PIDNS.PID.STARTTIME.RANDOM.cwg)");
        return -1;
    }
    if (got >= offsetof(struct cw_ledger, header_bytes) && header->version > CW_LEDGER_VERSION) {
        snprintf(why, why_bytes,
                 "is of version %u, newer than this tool, which reads %u: use the cwguard beside the "
                 "libcwguard.so that wrote it",
                 header->version, CW_LEDGER_VERSION);
        return -1;
    }
    if (got >= offsetof(struct cw_ledger, header_bytes) && header->version < CW_LEDGER_VERSION) {
        snprintf(why, why_bytes,
                 "is of version %u, older than this tool, which reads %u: use the cwguard beside the "
                 "libcwguard.so that wrote it",
                 header->version, CW_LEDGER_VERSION);
        return -1;
    }
    if (got < sizeof *header) {
        snprintf(why, why_bytes, "is truncated at %llu bytes, within its header: nothing in it can be read",
                 (unsigned long long)file_bytes);
        return -1;
    }
    if (header->header_bytes != CW_LEDGER_HEADER_BYTES) {
        snprintf(why, why_bytes, "is damaged: its header says that it has %u bytes, not %u", header->header_bytes,
                 CW_LEDGER_HEADER_BYTES);
        return -1;
    }
    if (!(header->flags & CW_HEADER_READY)) {
        snprintf(why, why_bytes, "is not complete: the process was stopped, or has only begun, to set it up");
        return -1;
    }
    return 0;
}

static void terminate_strings(struct cw_ledger *header)
{
    header->exe[sizeof header->exe - 1] = 0;
    header->command[sizeof header->command - 1] = 0;
    header->command[sizeof header->command - 2] = 0;
    header->host[sizeof header->host - 1] = 0;
    header->kernel[sizeof header->kernel - 1] = 0;
    header->tool_version[sizeof header->tool_version - 1] = 0;
    header->options[sizeof header->options - 1] = 0;
    header->off_reason[sizeof header->off_reason - 1] = 0;
}

static int check_section(unsigned id, const struct cw_section *section, char *why, size_t why_bytes)
{
    /* 2^40 bytes bounds every sum below; a million fds need 2^29. */
    const uint64_t sane_bytes = UINT64_C(1) << 40;

    if (section->stride != section_table[id].stride) {
        snprintf(why, why_bytes, "is damaged: records of section %s have %u bytes, not %u", section_table[id].name,
                 section->stride, section_table[id].stride);
        return -1;
    }
    if (section->offset < CW_LEDGER_HEADER_BYTES || section->offset % 4096 || section->offset > sane_bytes) {
        snprintf(why, why_bytes, "is damaged: section %s lies at byte %llu", section_table[id].name,
                 (unsigned long long)section->offset);
        return -1;
    }
    return 0;
}

/* Reads what is in use of one section; returns 0, or -1 with `why` set. */
static int read_section(struct cw_load *load, int fd, unsigned id, uint32_t spare, uint64_t *budget_bytes, char *why,
                        size_t why_bytes)
{
    struct cw_section *section = &load->view.header->sections[id];
    uint64_t stride = section->stride;
    uint64_t records = section->used < section->capacity ? section->used : section->capacity;
    ssize_t got;

    if (most_records[id] && records > most_records[id]) {
        snprintf(load->remark, sizeof load->remark,
                 "section %s says that it has %llu records, more than any recorder writes: %u were read",
                 section_table[id].name, (unsigned long long)records, most_records[id]);
        records = most_records[id];
    }
    if (records * stride > *budget_bytes) {
        records = *budget_bytes / stride;
        snprintf(load->remark, sizeof load->remark,
                 "more than %u MiB in use: only %llu records of section %s were read", CW_LOAD_MAX_BYTES >> 20,
                 (unsigned long long)records, section_table[id].name);
    }
    if (section->offset + records * stride > load->file_bytes) {
        records = section->offset < load->file_bytes ? (load->file_bytes - section->offset) / stride : 0;
        snprintf(load->remark, sizeof load->remark, "truncated at %llu of %llu bytes: section %s is not complete",
                 (unsigned long long)load->file_bytes, (unsigned long long)load->view.header->total_bytes,
                 section_table[id].name);
    }
    *budget_bytes -= records * stride;

    /* calloc: the end may have been cut off since fstat, and then reads as nothing. One more, so that none is NULL. */
    char *memory = calloc((size_t)(records + spare + 1), (size_t)stride);
    load->memory_bytes += (records + spare + 1) * stride;
    if (!memory) {
        snprintf(why, why_bytes, "needs more memory than there is: raise the limit (ulimit -v, option reporter_mem)");
        return -1;
    }
    load->memory[id] = memory;
    got = read_at(fd, memory, (size_t)(records * stride), section->offset);
    if (got < 0) {
        snprintf(why, why_bytes, "cannot be read: %s", strerror((int)-got));
        return -1;
    }
    memcpy((char *)&load->view + section_table[id].pointer, &memory, sizeof memory);
    section->used = (uint32_t)records;
    section->capacity = (uint32_t)records + spare;
    uint32_t count = section->capacity;
    memcpy((char *)&load->view + section_table[id].count, &count, sizeof count);
    return 0;
}

int cw_load_ledger(struct cw_load *ret, int fd, bool spare, char *why, size_t why_bytes)
{
    struct cw_load load = {.remark = ""};
    uint64_t budget_bytes = CW_LOAD_MAX_BYTES;
    struct stat status;
    ssize_t got;

    if (fstat(fd, &status) < 0) {
        snprintf(why, why_bytes, "cannot be read: %s", strerror(errno));
        return -1;
    }
    if (!S_ISREG(status.st_mode)) {
        snprintf(why, why_bytes, "is not a regular file, so it is no ledger");
        return -1;
    }
    load.file_bytes = (uint64_t)status.st_size;
    load.memory[CW_SECTION_COUNT] = calloc(1, CW_LEDGER_HEADER_BYTES);
    load.view.header = load.memory[CW_SECTION_COUNT];
    load.memory_bytes = CW_LEDGER_HEADER_BYTES;
    if (!load.view.header) {
        snprintf(why, why_bytes, "cannot be read: no memory");
        return -1;
    }
    got = read_at(fd, load.view.header, CW_LEDGER_HEADER_BYTES, 0);
    if (got < 0) {
        snprintf(why, why_bytes, "cannot be read: %s", strerror((int)-got));
        goto fail;
    }
    if (check_header(load.view.header, (size_t)got, load.file_bytes, why, why_bytes) < 0)
        goto fail;
    terminate_strings(load.view.header);

    for (size_t i = 0; i < sizeof reading_order / sizeof *reading_order; i++) {
        unsigned id = reading_order[i];
        if (check_section(id, &load.view.header->sections[id], why, why_bytes) < 0 ||
            read_section(&load, fd, id, spare ? spare_records[id] : 0, &budget_bytes, why, why_bytes) < 0)
            goto fail;
    }
    *ret = load;
    return 0;
fail:
    cw_load_free(&load);
    return -1;
}

int cw_load_empty(struct cw_load *ret, const uint32_t room[CW_SECTION_COUNT])
{
    struct cw_load load = {.remark = "", .memory_bytes = CW_LEDGER_HEADER_BYTES};
    uint64_t offset = CW_LEDGER_HEADER_BYTES;

    load.view.header = load.memory[CW_SECTION_COUNT] = calloc(1, CW_LEDGER_HEADER_BYTES);
    if (!load.view.header)
        return -1;
    load.view.header->sections[CW_SECTION_STACK_INDEX].stride = sizeof(uint32_t);
    for (unsigned id = 0; id < CW_SECTION_COUNT; id++) {
        struct cw_section *section = &load.view.header->sections[id];
        section->offset = offset;
        if (id == CW_SECTION_STACK_INDEX)
            continue; /* a view shows none */
        uint64_t bytes = ((uint64_t)room[id] + 1) * section_table[id].stride;
        *section = (struct cw_section){
            .offset = offset, .stride = section_table[id].stride, .capacity = room[id] + 1, .used = 1};
        offset += (bytes + 4095) & ~UINT64_C(4095);
        load.memory_bytes += bytes;
        load.memory[id] = calloc((size_t)room[id] + 1, section->stride);
        if (!load.memory[id]) {
            cw_load_free(&load);
            return -1;
        }
        memcpy((char *)&load.view + section_table[id].pointer, &load.memory[id], sizeof load.memory[id]);
        memcpy((char *)&load.view + section_table[id].count, &section->capacity, sizeof section->capacity);
    }
    load.view.header->total_bytes = offset;
    *ret = load;
    return 0;
}

/* n records at the end of a section: the index of the first, 0 when there is no room. Record 0 is never used. */
static uint32_t add_records(struct cw_load *load, enum cw_section_id id, uint32_t n)
{
    struct cw_section *section = &load->view.header->sections[id];
    uint32_t first = section->used ? section->used : 1;

    if (first >= section->capacity || section->capacity - first < n)
        return 0;
    section->used = first + n;
    return first;
}

uint32_t cw_load_new_conn(void *ctx)
{
    return add_records(ctx, CW_SECTION_CONNS, 1);
}

uint32_t cw_load_add_module(struct cw_load *load, const struct cw_module *module)
{
    uint32_t index = add_records(load, CW_SECTION_MODULES, 1);

    if (index > UINT16_MAX) /* a frame has 16 bits for it */
        return 0;
    if (index)
        load->view.modules[index] = *module;
    return index;
}

uint32_t cw_load_add_string(struct cw_load *load, const char *text)
{
    size_t bytes = strlen(text) + 1;
    uint32_t id = bytes > UINT16_MAX ? 0 : add_records(load, CW_SECTION_STRINGS, (uint32_t)bytes);

    if (id)
        memcpy(load->view.strings + id, text, bytes);
    return id;
}

uint32_t cw_load_add_stack(struct cw_load *load, const uint64_t *frames, unsigned n, unsigned flags)
{
    uint32_t id;

    if (n > CW_STACK_MAX_FRAMES) {
        n = CW_STACK_MAX_FRAMES;
        flags |= CW_STACK_TRUNCATED;
    }
    id = n ? add_records(load, CW_SECTION_STACKS, n + 1) : 0;
    if (!id)
        return 0;
    load->view.stacks[id] = CW_STACK_WORD(0, n, flags); /* nobody looks it up by its hash */
    memcpy(&load->view.stacks[id + 1], frames, n * sizeof *frames);
    return id;
}

void cw_load_free(struct cw_load *load)
{
    for (unsigned i = 0; i <= CW_SECTION_COUNT; i++) {
        free(load->memory[i]);
        load->memory[i] = NULL;
    }
}
