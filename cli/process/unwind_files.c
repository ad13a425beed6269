#include "cli/process/unwind_files.h"

#include "cli/symbols/go_table.h"
#include "core/code.h"

#include <elfutils/libdw.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    OBJECTS_MAX = 64,
    GUESSES_MAX = 3,
    FRAME_BYTES_MAX = 16 << 10,
    SP = CW_SNAPSHOT_SP,
    PC = CW_SNAPSHOT_PC,
    FP = CW_SNAPSHOT_FRAME
};

/* A file that code is mapped from. */
struct object {
    uint64_t start, end, load; /* where it lies in the process */
    Elf *elf;
    Dwarf *dwarf;
    Dwarf_CFI *eh_frame, *debug_frame; /* NULL: it has none */
    struct cw_go_table go;
    bool has_go;
    int fd;
};

struct cw_unwind_files {
    struct cw_modules *modules;
    const struct cw_snapshot *snapshot;
    struct object objects[OBJECTS_MAX];
    unsigned count;
    unsigned guesses; /* return addresses of the stack under way that only seem to be such */
};

struct cw_unwind_files *cw_unwind_files_new(struct cw_modules *modules)
{
    struct cw_unwind_files *files = calloc(1, sizeof *files);

    elf_version(EV_CURRENT);
    if (files)
        files->modules = modules;
    return files;
}

void cw_unwind_files_free(struct cw_unwind_files *files)
{
    for (unsigned i = 0; files && i < files->count; i++) {
        struct object *object = &files->objects[i];
        if (object->eh_frame)
            dwarf_cfi_end(object->eh_frame);
        dwarf_end(object->dwarf); /* with its own tables */
        elf_end(object->elf);
        if (object->fd >= 0)
            close(object->fd);
    }
    free(files);
}

/* --- memory --- */

static bool read_memory(const struct cw_unwind_files *files, uint64_t address, void *to, size_t n)
{
    const struct cw_snapshot *snapshot = files->snapshot;
    uint64_t in_stack = address - snapshot->stack_at;

    if (address >= snapshot->stack_at && in_stack + n <= snapshot->stack_bytes) {
        memcpy(to, snapshot->stack + in_stack, n);
        return true;
    }
    return cw_snapshot_peek(files->modules->pid, address, to, n) >= 0;
}

static bool read_for_code(void *ctx, uint64_t address, void *to, size_t n)
{
    return read_memory(ctx, address, to, n);
}

static bool in_stack(const struct cw_unwind_files *files, uint64_t address)
{
    uint64_t offset = address - files->snapshot->stack_at;
    return address >= files->snapshot->stack_at && offset + sizeof(uint64_t) <= files->snapshot->stack_bytes;
}

/* --- files --- */

/* The file that is mapped there, also if it was deleted or lies in another mount namespace: an fd, or -1. */
static int open_mapped(pid_t pid, const struct cw_mapping *mapping)
{
    enum { FLAGS = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY };
    char path[sizeof mapping->path + 64];
    struct stat status;

    snprintf(path, sizeof path, "/proc/%d/map_files/%lx-%lx", (int)pid, (unsigned long)mapping->start,
             (unsigned long)mapping->end);
    int fd = open(path, FLAGS);
    if (fd < 0 && mapping->path[0] == '/') {
        snprintf(path, sizeof path, "/proc/%d/root%s", (int)pid, mapping->path);
        fd = open(path, FLAGS);
    }
    if (fd >= 0 && (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static const struct object *object_of(struct cw_unwind_files *files, uint64_t address)
{
    const struct cw_mapping *mapping;
    struct cw_module module;

    for (unsigned i = 0; i < files->count; i++)
        if (files->objects[i].start <= address && address < files->objects[i].end)
            return &files->objects[i];
    if (files->count == OBJECTS_MAX || !cw_modules_object(files->modules, address, &module, &mapping))
        return NULL;
    struct object *object = &files->objects[files->count++];
    *object = (struct object){.start = module.start, .end = module.end, .load = module.load};
    object->fd = open_mapped(files->modules->pid, mapping);
    object->elf = object->fd < 0 ? NULL : elf_begin(object->fd, ELF_C_READ_MMAP, NULL);
    if (!object->elf)
        return object;
    object->has_go = cw_go_table_read(&object->go, object->elf);
    object->eh_frame = dwarf_getcfi_elf(object->elf);
    object->dwarf = dwarf_begin_elf(object->elf, DWARF_C_READ, NULL);
    object->debug_frame = object->dwarf ? dwarf_getcfi(object->dwarf) : NULL;
    return object;
}

struct function {
    uint64_t start, bytes; /* start 0: not known */
};

/* The function that an address (of the process) lies in, by the file's symbols. */
static struct function function_of(struct cw_unwind_files *files, uint64_t address)
{
    const struct object *object = object_of(files, address);
    Elf_Scn *section = NULL;

    while (object && object->elf && (section = elf_nextscn(object->elf, section))) {
        GElf_Shdr header;
        Elf_Data *data;
        if (!gelf_getshdr(section, &header) || (header.sh_type != SHT_SYMTAB && header.sh_type != SHT_DYNSYM) ||
            !header.sh_entsize || !(data = elf_getdata(section, NULL)))
            continue;
        for (size_t i = 0, n = header.sh_size / header.sh_entsize; i < n; i++) {
            GElf_Sym symbol;
            if (gelf_getsym(data, (int)i, &symbol) && GELF_ST_TYPE(symbol.st_info) == STT_FUNC &&
                address - object->load - symbol.st_value < symbol.st_size)
                return (struct function){object->load + symbol.st_value, symbol.st_size};
        }
    }
    return (struct function){0, 0};
}

/* The program's first instructions, which nobody has called. */
static bool is_entry(struct cw_unwind_files *files, uint64_t address)
{
    enum { ENTRY_BYTES = 48 };
    const struct object *object = object_of(files, address);
    GElf_Ehdr header;

    return object && object->elf && gelf_getehdr(object->elf, &header) && header.e_entry &&
           address - object->load - header.e_entry < ENTRY_BYTES;
}

/* --- by tables --- */

static uint64_t bit(unsigned number)
{
    return UINT64_C(1) << number;
}

static int step_by_tables(struct cw_unwind_files *files, bool exact, struct cw_unwind_registers *registers,
                          bool *ret_frame_pointer)
{
    const struct object *object = object_of(files, registers->value[PC] - !exact);
    Dwarf_CFI *tables[2] = {object ? object->eh_frame : NULL, object ? object->debug_frame : NULL};

    for (unsigned i = 0; i < 2; i++) {
        Dwarf_Frame *frame = NULL;
        if (!tables[i] || dwarf_cfi_addrframe(tables[i], registers->value[PC] - object->load - !exact, &frame))
            continue;
        int result = cw_unwind_frame(frame, read_for_code, files, registers, ret_frame_pointer);
        free(frame);
        return result;
    }
    return -1;
}

/* By the table of a Go program. */
static int step_in_go(struct cw_unwind_files *files, bool exact, struct cw_unwind_registers *registers)
{
    const struct object *object = object_of(files, registers->value[PC] - !exact);
    struct cw_go_place place;
    uint64_t pc;

    if (!object || !object->has_go || !cw_go_find(&object->go, registers->value[PC] - object->load - !exact, &place))
        return -1;
    if (cw_go_is_outermost(place.name))
        return 0;
    uint64_t at = registers->value[SP] + (uint64_t)place.stack_bytes;
    if (!read_memory(files, at, &pc, sizeof pc))
        return -1;
    registers->value[PC] = pc;
    registers->value[SP] = at + sizeof pc;
    registers->known = (uint32_t)(bit(PC) | bit(SP));
    return pc != 0;
}

/* --- without tables --- */

/* How well a word of the stack fits as the return address of the function that pc lies in: 0 not at all. */
static unsigned rate(struct cw_unwind_files *files, uint64_t word, uint64_t pc, uint64_t start)
{
    enum { NEAR_BYTES = 256 };
    uint64_t target = 0;

    if (!cw_modules_is_code(files->modules, word - 1) || !cw_code_is_behind_call(read_for_code, files, word, &target))
        return 0;
    if (!target)
        return 1; /* a call through a register */
    if (start ? target == start : target <= pc && pc - target < NEAR_BYTES)
        return 3;
    /* The function called may have jumped to this one, as the last thing that it did. */
    if (start) {
        if (!cw_code_jumps_to(read_for_code, files, target, CW_CODE_JUMP_BYTES, start))
            return 0;
        struct function called = function_of(files, target); /* slow, so only now */
        uint64_t bytes = called.start == target && called.bytes ? called.bytes : NEAR_BYTES;
        return cw_code_jumps_to(read_for_code, files, target, bytes, start) ? 3 : 0;
    }
    const struct object *object = object_of(files, pc);
    return object && object->start <= target && target < object->end ? 2 : 0;
}

static void leave(struct cw_unwind_registers *registers, uint64_t return_at, uint64_t pc)
{
    registers->value[PC] = pc;
    registers->value[SP] = return_at + sizeof pc;
    registers->known &= (uint32_t)(bit(PC) | bit(SP) | bit(FP));
}

static bool step_by_frame_pointer(struct cw_unwind_files *files, struct cw_unwind_registers *registers, uint64_t start)
{
    uint64_t at = registers->value[FP], words[2];

    if (!(registers->known & bit(FP)) || at < registers->value[SP] || at % 8 || !in_stack(files, at) ||
        !read_memory(files, at, words, sizeof words) || !rate(files, words[1], registers->value[PC], start))
        return false;
    registers->value[FP] = words[0];
    leave(registers, at + sizeof words[0], words[1]);
    return true;
}

/* with_frame: the function keeps rbp just below its return address. Of equals the innermost wins: what stands further in than
 * the right one is left over from calls that have returned, seldom one of this very function. */
static bool step_by_search(struct cw_unwind_files *files, struct cw_unwind_registers *registers, uint64_t start,
                           bool with_frame)
{
    uint64_t sp = registers->value[SP], best_at = 0, best_word = 0, best_frame = 0, frame = 0, word;
    unsigned best = 0;

    for (uint64_t at = sp; at < sp + FRAME_BYTES_MAX && best < 3; at += sizeof word) {
        if (!in_stack(files, at) || !read_memory(files, at, &word, sizeof word))
            break;
        if (with_frame && (at == sp || !read_memory(files, at - sizeof frame, &frame, sizeof frame) ||
                           (frame > 1 && (frame <= at || !in_stack(files, frame)))))
            continue;
        unsigned rating = rate(files, word, registers->value[PC], start);
        if (rating <= best)
            continue;
        best = rating;
        best_at = at;
        best_word = word;
        best_frame = frame;
    }
    if (!best || (best < 3 && files->guesses++ >= GUESSES_MAX))
        return false;
    if (with_frame) {
        registers->value[FP] = best_frame;
        registers->known |= (uint32_t)bit(FP);
    } else {
        registers->known &= ~(uint32_t)bit(FP);
    }
    leave(registers, best_at, best_word);
    return true;
}

/* A function that calls nothing, and has not made room for anything: its return address is the innermost word. */
static bool step_from_leaf(struct cw_unwind_files *files, struct cw_unwind_registers *registers, uint64_t start)
{
    uint64_t sp = registers->value[SP], word;

    if (!read_memory(files, sp, &word, sizeof word) || rate(files, word, registers->value[PC], start) < 3)
        return false;
    leave(registers, sp, word);
    return true;
}

void cw_unwind_files_begin(struct cw_unwind_files *files, const struct cw_snapshot *snapshot)
{
    files->snapshot = snapshot;
    files->guesses = 0;
}

int cw_unwind_files_step(struct cw_unwind_files *files, bool exact, struct cw_unwind_registers *registers)
{
    bool with_frame = false;
    int result;

    if (~registers->known & (bit(SP) | bit(PC)))
        return -1;
    result = step_in_go(files, exact, registers); /* it alone knows where stacks end there */
    if (result < 0)
        result = step_by_tables(files, exact, registers, &with_frame);
    if (result >= 0)
        return result;
    if (is_entry(files, registers->value[PC] - !exact))
        return 0;
    uint64_t start = function_of(files, registers->value[PC] - !exact).start;
    if (with_frame)
        return step_by_search(files, registers, start, true) ? 1 : -1;
    if ((exact && step_from_leaf(files, registers, start)) || step_by_frame_pointer(files, registers, start))
        return 1;
    return step_by_search(files, registers, start, false) ? 1 : -1;
}
