/* Two things that only the code tells: calls of dlopen with RTLD_DEEPBIND, and the system calls of io_uring. x86-64.
 *
 * No disassembler: at each call the nearest constant that is loaded into the argument's register just before it counts.
 * A flag that is computed at run time is not found. */
#define _GNU_SOURCE /* RTLD_DEEPBIND */
#include "cli/doctor/elf.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum callee { NOBODY, DLOPEN, DLMOPEN, SYSCALL };
enum { PLACES_MAX = 32, BACK_MAX = 64, STUB_HEAD_BYTES = 5 };
enum { MOV_EAX = 0xb8, MOV_EDX = 0xba, MOV_ESI = 0xbe, MOV_EDI = 0xbf };

struct place {
    uint64_t address;
    enum callee callee;
};

struct code {
    const uint8_t *bytes;
    uint64_t address, n;
};

struct scan {
    struct place slots[PLACES_MAX]; /* words of the GOT that hold the address of one of the functions */
    struct place stubs[PLACES_MAX]; /* indirect jumps through them: entries of the PLT */
    unsigned n_slots, n_stubs;
};

static enum callee callee_named(const char *name)
{
    if (!name)
        return NOBODY;
    return !strcmp(name, "dlopen")    ? DLOPEN
           : !strcmp(name, "dlmopen") ? DLMOPEN
           : !strcmp(name, "syscall") ? SYSCALL
                                      : NOBODY;
}

static void find_slots(struct scan *scan, Elf *elf)
{
    Elf_Scn *section = NULL;
    GElf_Shdr header, symbols_header;
    GElf_Rela rela;
    GElf_Sym symbol;

    while ((section = elf_nextscn(elf, section))) {
        if (!gelf_getshdr(section, &header) || header.sh_type != SHT_RELA)
            continue;
        Elf_Scn *symbols = elf_getscn(elf, header.sh_link);
        Elf_Data *data = elf_getdata(section, NULL), *symbol_data = symbols ? elf_getdata(symbols, NULL) : NULL;
        if (!data || !symbol_data || !gelf_getshdr(symbols, &symbols_header) || symbols_header.sh_type != SHT_DYNSYM)
            continue;
        for (int i = 0; gelf_getrela(data, i, &rela); i++) {
            uint64_t type = GELF_R_TYPE(rela.r_info);
            if ((type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT) || scan->n_slots == PLACES_MAX ||
                !gelf_getsym(symbol_data, (int)GELF_R_SYM(rela.r_info), &symbol))
                continue;
            enum callee callee = callee_named(elf_strptr(elf, symbols_header.sh_link, symbol.st_name));
            if (callee)
                scan->slots[scan->n_slots++] = (struct place){rela.r_offset, callee};
        }
    }
}

static uint32_t word_at(const uint8_t *bytes)
{
    uint32_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

/* What an instruction of 2 bytes and a 4-byte displacement at `at` reads from. */
static enum callee slot_of(const struct scan *scan, const struct code *code, uint64_t at)
{
    uint64_t target = code->address + at + 6 + (uint64_t)(int64_t)(int32_t)word_at(code->bytes + at + 2);

    for (unsigned i = 0; i < scan->n_slots; i++)
        if (scan->slots[i].address == target)
            return scan->slots[i].callee;
    return NOBODY;
}

static void find_stubs(struct scan *scan, const struct code *code)
{
    for (uint64_t at = 0; at + 6 <= code->n && scan->n_stubs < PLACES_MAX; at++) {
        if (code->bytes[at] != 0xff || code->bytes[at + 1] != 0x25) /* jmp *displacement(%rip) */
            continue;
        enum callee callee = slot_of(scan, code, at);
        if (callee)
            scan->stubs[scan->n_stubs++] = (struct place){code->address + at, callee};
    }
}

/* A call leads to the jump, or to an endbr64 or bnd before it. */
static enum callee stub_at(const struct scan *scan, uint64_t target)
{
    for (unsigned i = 0; i < scan->n_stubs; i++)
        if (target <= scan->stubs[i].address && scan->stubs[i].address - target <= STUB_HEAD_BYTES)
            return scan->stubs[i].callee;
    return NOBODY;
}

/* Whether a constant that `fits` is loaded by mov $constant,%register shortly before; the nearest one that may be an
 * argument counts. */
static bool constant_before(const struct code *code, uint64_t at, uint8_t mov, bool (*possible)(uint32_t),
                            bool (*fits)(uint32_t))
{
    for (uint64_t back = 5; back <= BACK_MAX && back <= at; back++) {
        const uint8_t *bytes = code->bytes + at - back;
        if (bytes[0] == 0x89 && (bytes[1] & 0xc7) == (0xc0 | (mov & 7)))
            return false; /* mov %register,%register: whatever was in that one */
        if (bytes[0] == mov && possible(word_at(bytes + 1)))
            return fits(word_at(bytes + 1));
    }
    return false;
}

static bool is_dlopen_mode(uint32_t value)
{
    const uint32_t known = RTLD_LAZY | RTLD_NOW | RTLD_NOLOAD | RTLD_DEEPBIND | RTLD_GLOBAL | RTLD_NODELETE;
    return !(value & ~known) && (value & (RTLD_LAZY | RTLD_NOW));
}

static bool is_deepbind(uint32_t value)
{
    return value & RTLD_DEEPBIND;
}

static bool is_io_uring(uint32_t value)
{
    return value >= SYS_io_uring_setup && value <= SYS_io_uring_register;
}

static bool is_number(uint32_t value)
{
    return value < 1024;
}

static void look_at_call(struct cw_elf_code *ret, const struct code *code, uint64_t at, enum callee callee)
{
    if (callee == DLOPEN || callee == DLMOPEN)
        ret->deepbind |= constant_before(code, at, callee == DLOPEN ? MOV_ESI : MOV_EDX, is_dlopen_mode, is_deepbind);
    else if (callee == SYSCALL)
        ret->io_uring |= constant_before(code, at, MOV_EDI, is_number, is_io_uring);
}

static void look_at_code(struct cw_elf_code *ret, const struct scan *scan, const struct code *code)
{
    for (uint64_t at = 0; at + 6 <= code->n; at++) {
        const uint8_t *bytes = code->bytes + at;
        if (bytes[0] == 0x0f && bytes[1] == 0x05) /* syscall */
            ret->io_uring |= constant_before(code, at, MOV_EAX, is_number, is_io_uring);
        else if (scan->n_stubs && (bytes[0] == 0xe8 || bytes[0] == 0xe9)) /* call, jmp */
            look_at_call(ret, code, at,
                         stub_at(scan, code->address + at + 5 + (uint64_t)(int64_t)(int32_t)word_at(bytes + 1)));
        else if (scan->n_slots && bytes[0] == 0xff && (bytes[1] == 0x15 || bytes[1] == 0x25)) /* through the GOT */
            look_at_call(ret, code, at, slot_of(scan, code, at));
    }
}

static void scan_elf(struct cw_elf_code *ret, Elf *elf)
{
    struct scan scan = {0};
    size_t n = 0, bytes;
    const uint8_t *raw = (const uint8_t *)elf_rawfile(elf, &bytes);
    GElf_Ehdr header;
    GElf_Phdr segment;

    if (!raw || !gelf_getehdr(elf, &header) || header.e_machine != EM_X86_64)
        return;
    find_slots(&scan, elf);
    elf_getphdrnum(elf, &n);
    for (int looking = 0; looking < 2; looking++)
        for (size_t i = 0; i < n; i++) {
            if (!gelf_getphdr(elf, (int)i, &segment) || segment.p_type != PT_LOAD || !(segment.p_flags & PF_X) ||
                segment.p_offset > bytes || segment.p_filesz > bytes - segment.p_offset)
                continue;
            struct code code = {raw + segment.p_offset, segment.p_vaddr, segment.p_filesz};
            if (looking)
                look_at_code(ret, &scan, &code);
            else if (scan.n_slots)
                find_stubs(&scan, &code);
        }
}

void cw_elf_code_read(struct cw_elf_code *ret, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    Elf *elf;

    *ret = (struct cw_elf_code){0};
    elf_version(EV_CURRENT);
    elf = fd >= 0 ? elf_begin(fd, ELF_C_READ_MMAP, NULL) : NULL;
    if (elf && elf_kind(elf) == ELF_K_ELF)
        scan_elf(ret, elf);
    elf_end(elf);
    if (fd >= 0)
        close(fd);
}
