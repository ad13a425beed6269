#include "cli/symbols/elf_file.h"

#include "cli/symbols/dwarf.h"
#include "cli/symbols/go_table.h"

#include <elf.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct function {
    uint64_t low, size;
    const char *name; /* libdwfl's */
};

struct cw_elf_file {
    Dwfl *dwfl;
    Dwfl_Callbacks callbacks;
    char *search_path; /* callbacks points here */
    Dwfl_Module *module;
    uint64_t bytes;
    bool dwarf_tried, functions_tried;
    struct cw_dwarf *dwarf;
    Dwarf_Addr dwarf_bias;
    struct function *functions; /* sorted by low, then by how good the name is */
    size_t function_count;
    struct cw_go_table go;
    bool go_tried, has_go;
};

/* A regular file with the header of an executable or a library; an fd, or -1. */
static int open_elf(const char *path, struct stat *status)
{
    unsigned char ident[EI_NIDENT + 2];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    unsigned type;

    if (fd < 0)
        return -1;
    if (fstat(fd, status) < 0 || !S_ISREG(status->st_mode) ||
        pread(fd, ident, sizeof ident, 0) != (ssize_t)sizeof ident || memcmp(ident, ELFMAG, SELFMAG) != 0) {
        close(fd);
        return -1;
    }
    type = ident[EI_DATA] == ELFDATA2MSB ? ident[EI_NIDENT + 1] : ident[EI_NIDENT];
    if (type != ET_EXEC && type != ET_DYN) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool same_build(Dwfl_Module *module, const struct stat *status, const struct cw_elf_identity *identity)
{
    const unsigned char *id = NULL;
    GElf_Addr bias, vaddr;
    int length;

    if (!dwfl_module_getelf(module, &bias))
        return false;
    length = dwfl_module_build_id(module, &id, &vaddr);
    if (identity->build_id_len)
        return length == identity->build_id_len && memcmp(id, identity->build_id, (size_t)length) == 0;
    uint64_t changed_ns = (uint64_t)status->st_mtim.tv_sec * UINT64_C(1000000000) + (uint64_t)status->st_mtim.tv_nsec;
    return length <= 0 && (!identity->not_after_ns || changed_ns <= identity->not_after_ns);
}

struct cw_elf_file *cw_elf_file_open(const char *path, const struct cw_elf_identity *identity, char *search_path,
                                     bool *ret_other)
{
    struct stat status;
    int fd = open_elf(path, &status);
    struct cw_elf_file *file;

    if (fd < 0)
        return NULL;
    file = calloc(1, sizeof *file);
    if (!file) {
        close(fd);
        return NULL;
    }
    file->bytes = (uint64_t)status.st_size;
    file->search_path = search_path;
    file->callbacks = (Dwfl_Callbacks){
        .find_elf = dwfl_build_id_find_elf,
        .find_debuginfo = dwfl_standard_find_debuginfo,
        .section_address = dwfl_offline_section_address,
        .debuginfo_path = search_path ? &file->search_path : NULL,
    };
    file->dwfl = dwfl_begin(&file->callbacks);
    if (file->dwfl) {
        dwfl_report_begin(file->dwfl);
        file->module = dwfl_report_elf(file->dwfl, path, path, fd, 0, true);
        dwfl_report_end(file->dwfl, NULL, NULL);
    }
    if (!file->module)
        close(fd); /* else libdwfl has taken it over */
    if (!file->module || !same_build(file->module, &status, identity)) {
        if (file->module && ret_other)
            *ret_other = true;
        cw_elf_file_close(file);
        return NULL;
    }
    return file;
}

static unsigned underscores(const char *name)
{
    return (unsigned)strspn(name, "_");
}

/* Of several names for one address the plainest comes first: close before __close and __close_nocancel. */
static int by_address(const void *a, const void *b)
{
    const struct function *x = a, *y = b;
    if (x->low != y->low)
        return x->low < y->low ? -1 : 1;
    if (underscores(x->name) != underscores(y->name))
        return underscores(x->name) < underscores(y->name) ? -1 : 1;
    size_t x_length = strlen(x->name), y_length = strlen(y->name);
    if (x_length != y_length)
        return x_length < y_length ? -1 : 1;
    return strcmp(x->name, y->name);
}

static void list_functions(struct cw_elf_file *file)
{
    int count = dwfl_module_getsymtab(file->module);

    file->functions_tried = true;
    if (count <= 0)
        return;
    file->functions = malloc((size_t)count * sizeof *file->functions);
    if (!file->functions)
        return;
    for (int i = 1; i < count; i++) {
        GElf_Sym symbol;
        GElf_Addr address, bias;
        GElf_Word section;
        const char *name = dwfl_module_getsym_info(file->module, i, &symbol, &address, &section, NULL, &bias);
        int type = GELF_ST_TYPE(symbol.st_info);
        if (!name || !*name || section == SHN_UNDEF || (type != STT_FUNC && type != STT_GNU_IFUNC))
            continue;
        file->functions[file->function_count++] =
            (struct function){.low = address, .size = symbol.st_size, .name = name};
    }
    if (file->function_count)
        qsort(file->functions, file->function_count, sizeof *file->functions, by_address);
}

/* The name of the function whose symbol spans the address. A symbol without a size proves nothing. */
static const char *find_function(const struct cw_elf_file *file, uint64_t address)
{
    enum { BACK_MAX = 16 };
    size_t low = 0, high = file->function_count;
    const char *name = NULL;
    uint64_t name_low = 0;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (file->functions[middle].low <= address)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t back = 0; low > 0 && back < BACK_MAX; back++, low--) {
        const struct function *function = &file->functions[low - 1];
        if (name && function->low != name_low)
            break;
        if (address - function->low < function->size) {
            name = function->name;
            name_low = function->low;
        }
    }
    return name;
}

static void try_dwarf(struct cw_elf_file *file)
{
    Dwarf *dwarf = dwfl_module_getdwarf(file->module, &file->dwarf_bias);

    file->dwarf_tried = true;
    if (dwarf)
        file->dwarf = cw_dwarf_new(dwarf);
}

bool cw_elf_file_has_debug(struct cw_elf_file *file)
{
    if (!file->dwarf_tried)
        try_dwarf(file);
    return file->dwarf != NULL;
}

/* What a Go program tells even when it is stripped. */
static unsigned look_up_go(struct cw_elf_file *file, uint64_t address, struct cw_symbol *ret, struct cw_arena *arena)
{
    struct cw_go_place place;

    if (!file->go_tried) {
        GElf_Addr bias;
        Elf *elf = dwfl_module_getelf(file->module, &bias);
        file->go_tried = true;
        file->has_go = elf && cw_go_table_read(&file->go, elf);
    }
    if (!file->has_go || !cw_go_find(&file->go, address, &place))
        return 0;
    ret[0] = (struct cw_symbol){.function = cw_arena_string(arena, place.name),
                                .file = place.file ? cw_arena_string(arena, place.file) : NULL,
                                .line = place.line};
    return 1;
}

unsigned cw_elf_file_lookup(struct cw_elf_file *file, uint64_t address, struct cw_symbol *ret, unsigned max,
                            struct cw_arena *arena)
{
    unsigned count = 0;

    if (max == 0)
        return 0;
    if (cw_elf_file_has_debug(file))
        count = cw_dwarf_lookup(file->dwarf, address - file->dwarf_bias, ret, max, arena);
    if (count && ret[count - 1].function)
        return count;
    if (!file->functions_tried)
        list_functions(file);
    const char *name = find_function(file, address);
    if (!name)
        return count ? count : look_up_go(file, address, ret, arena);
    if (!count) {
        ret[0] = (struct cw_symbol){0};
        count = 1;
    }
    ret[count - 1].function = cw_arena_function(arena, name);
    return count;
}

uint64_t cw_elf_file_bytes(const struct cw_elf_file *file)
{
    return file->bytes;
}

void cw_elf_file_close(struct cw_elf_file *file)
{
    if (!file)
        return;
    cw_dwarf_free(file->dwarf);
    free(file->functions);
    if (file->dwfl)
        dwfl_end(file->dwfl);
    free(file);
}
