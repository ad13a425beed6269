#include "cli/process/modules.h"

#include "cli/process/snapshot.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READY = 1, UNLOADED = 2 };

/* --- /proc/PID/maps --- */

static int add_mapping(struct cw_modules *modules, size_t *room, const struct cw_mapping *mapping)
{
    if (modules->count == *room) {
        *room = *room ? 2 * *room : 128;
        struct cw_mapping *more = realloc(modules->mappings, *room * sizeof *more);
        if (!more)
            return -ENOMEM;
        modules->mappings = more;
    }
    modules->mappings[modules->count++] = *mapping;
    return 0;
}

int cw_modules_read(struct cw_modules *ret, struct cw_load *load, pid_t pid)
{
    char path[64], *line = NULL;
    size_t room = 0, line_bytes = 0;
    int error = 0;
    FILE *maps;

    *ret = (struct cw_modules){.load = load, .pid = pid};
    snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
    ssize_t n = readlink(path, ret->exe, sizeof ret->exe - 1);
    ret->exe[n > 0 ? n : 0] = 0;
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    maps = fopen(path, "re");
    if (!maps)
        return -errno;
    while (!error && getline(&line, &line_bytes, maps) > 0) {
        struct cw_mapping mapping = {0};
        char access[8];
        int at = 0;
        if (sscanf(line, "%lx-%lx %7s %lx %*s %*s %n", &mapping.start, &mapping.end, access, &mapping.offset, &at) < 4)
            continue;
        mapping.executable = access[2] == 'x';
        line[strcspn(line, "\n")] = 0;
        if (at)
            snprintf(mapping.path, sizeof mapping.path, "%s", line + at);
        error = add_mapping(ret, &room, &mapping);
    }
    free(line);
    fclose(maps);
    return error;
}

void cw_modules_free(struct cw_modules *modules)
{
    free(modules->mappings);
    modules->mappings = NULL;
    modules->count = 0;
}

static const struct cw_mapping *find_mapping(const struct cw_modules *modules, uint64_t address)
{
    size_t low = 0, high = modules->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (modules->mappings[middle].end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low < modules->count && modules->mappings[low].start <= address ? &modules->mappings[low] : NULL;
}

/* --- an object that is not on record --- */

static enum cw_module_kind kind_of(const struct cw_modules *modules, const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

    if (!strcmp(path, "[vdso]"))
        return CW_MODULE_VDSO;
    if (!strcmp(path, modules->exe))
        return CW_MODULE_MAIN;
    if (!strncmp(name, "libc.so.", 8) || !strncmp(name, "libc-2.", 7))
        return CW_MODULE_LIBC;
    if (!strncmp(name, "ld-", 3))
        return CW_MODULE_LOADER;
    return !strncmp(name, "libcwguard.so", 13) ? CW_MODULE_SHIM : CW_MODULE_OTHER;
}

static uint8_t build_id_of(pid_t pid, uint64_t at, uint64_t bytes, uint8_t ret_id[20])
{
    uint8_t notes[4096];

    if (bytes > sizeof notes)
        bytes = sizeof notes;
    if (cw_snapshot_peek(pid, at, notes, (size_t)bytes) < 0)
        return 0;
    for (uint64_t i = 0; i + sizeof(Elf64_Nhdr) <= bytes;) {
        Elf64_Nhdr note;
        memcpy(&note, notes + i, sizeof note);
        uint64_t name = i + sizeof note, desc = name + (((uint64_t)note.n_namesz + 3) & ~UINT64_C(3));
        uint64_t next = desc + (((uint64_t)note.n_descsz + 3) & ~UINT64_C(3));
        if (next > bytes)
            break;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && !memcmp(notes + name, "GNU", 4)) {
            uint8_t n = (uint8_t)(note.n_descsz < 20 ? note.n_descsz : 20);
            memcpy(ret_id, notes + desc, n);
            return n;
        }
        i = next;
    }
    return 0;
}

/* What the object's own headers say, as it lies in memory from `base` on: false if that is no ELF object. */
static bool read_object(pid_t pid, uint64_t base, struct cw_module *ret, uint64_t *ret_tables)
{
    Elf64_Ehdr header;
    Elf64_Phdr segments[32];
    uint64_t lowest = UINT64_MAX, highest = 0;

    if (cw_snapshot_peek(pid, base, &header, sizeof header) < 0 || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_phentsize != sizeof *segments)
        return false;
    unsigned n = header.e_phnum < 32 ? header.e_phnum : 32;
    if (cw_snapshot_peek(pid, base + header.e_phoff, segments, n * sizeof *segments) < 0)
        return false;
    for (unsigned i = 0; i < n; i++) {
        if (segments[i].p_type != PT_LOAD)
            continue;
        if (segments[i].p_vaddr < lowest)
            lowest = segments[i].p_vaddr;
        if (segments[i].p_vaddr + segments[i].p_memsz > highest)
            highest = segments[i].p_vaddr + segments[i].p_memsz;
    }
    if (highest <= lowest)
        return false;
    ret->load = base - (lowest & ~UINT64_C(4095));
    ret->start = base;
    ret->end = ret->load + highest;
    for (unsigned i = 0; i < n; i++) {
        if (segments[i].p_type == PT_GNU_EH_FRAME)
            *ret_tables = ret->load + segments[i].p_vaddr;
        if (segments[i].p_type == PT_NOTE && !ret->build_id_len)
            ret->build_id_len = build_id_of(pid, ret->load + segments[i].p_vaddr, segments[i].p_memsz, ret->build_id);
    }
    return true;
}

/* The object that is mapped there; its first mapping holds the headers. */
static bool object_at(const struct cw_modules *modules, const struct cw_mapping *mapping, struct cw_module *ret,
                      uint64_t *ret_tables)
{
    const struct cw_mapping *first = mapping;

    if (!*mapping->path)
        return false;
    while (first->offset && first > modules->mappings && !strcmp(first[-1].path, mapping->path))
        first--;
    return (!first->offset || first == mapping) && read_object(modules->pid, first->start, ret, ret_tables) &&
           ret->end > mapping->start;
}

/* The index of the new record, 0 if there is none. */
static uint32_t add_object(struct cw_modules *modules, const struct cw_mapping *mapping)
{
    struct cw_module module = {.flags = READY};
    uint64_t tables;

    if (!object_at(modules, mapping, &module, &tables))
        return 0;
    module.kind = (uint8_t)kind_of(modules, mapping->path);
    module.path = cw_load_add_string(modules->load, mapping->path);
    return cw_load_add_module(modules->load, &module);
}

bool cw_modules_is_code(const struct cw_modules *modules, uint64_t address)
{
    const struct cw_mapping *mapping = find_mapping(modules, address);
    return mapping && mapping->executable;
}

bool cw_modules_object(const struct cw_modules *modules, uint64_t address, struct cw_module *ret,
                       const struct cw_mapping **ret_mapping)
{
    uint64_t tables;

    *ret_mapping = find_mapping(modules, address);
    *ret = (struct cw_module){0};
    return *ret_mapping && (*ret_mapping)->executable && object_at(modules, *ret_mapping, ret, &tables);
}

bool cw_modules_tables(const struct cw_modules *modules, uint64_t address, struct cw_unwind_tables *ret)
{
    const struct cw_mapping *mapping = find_mapping(modules, address);
    struct cw_module module = {0};
    uint64_t tables = 0;

    if (!mapping || !mapping->executable || !object_at(modules, mapping, &module, &tables) || !tables)
        return false;
    *ret = (struct cw_unwind_tables){.start = module.start, .end = module.end, .eh_frame_hdr = tables};
    return true;
}

uint64_t cw_modules_frame(struct cw_modules *modules, uint64_t address)
{
    struct cw_view *view = &modules->load->view;
    const struct cw_mapping *mapping = find_mapping(modules, address - 1); /* the call, not what follows it */
    uint32_t used = view->header->sections[CW_SECTION_MODULES].used, index = 0;

    if (!mapping || !mapping->executable)
        return 0;
    for (uint32_t i = 1; i < used && i < view->n_modules && !index; i++) {
        const struct cw_module *module = &view->modules[i];
        if ((module->flags & (READY | UNLOADED)) == READY && module->start < address && address <= module->end)
            index = i;
    }
    if (!index)
        index = add_object(modules, mapping);
    return index ? CW_FRAME(index, address - view->modules[index].load) : CW_FRAME(0, address);
}
