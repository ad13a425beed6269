#include "cli/doctor/elf.h"

#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* An ELF file of any kind; NULL if it is none. */
static Elf *open_elf(const char *path, int *ret_fd)
{
    struct stat status;
    Elf *elf;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0)
        return NULL;
    elf_version(EV_CURRENT);
    elf = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) ? elf_begin(fd, ELF_C_READ_MMAP, NULL) : NULL;
    if (elf && elf_kind(elf) == ELF_K_ELF) {
        *ret_fd = fd;
        return elf;
    }
    elf_end(elf);
    close(fd);
    return NULL;
}

static void close_elf(Elf *elf, int fd)
{
    elf_end(elf);
    close(fd);
}

static void read_segments(struct cw_elf_facts *facts, Elf *elf)
{
    size_t n = 0, bytes;
    const char *raw = elf_rawfile(elf, &bytes);
    GElf_Phdr segment;

    elf_getphdrnum(elf, &n);
    for (size_t i = 0; i < n; i++)
        if (gelf_getphdr(elf, (int)i, &segment) && segment.p_type == PT_INTERP && raw && segment.p_offset < bytes) {
            size_t room = bytes - segment.p_offset;
            snprintf(facts->interp, sizeof facts->interp, "%.*s",
                     (int)(segment.p_filesz < room ? segment.p_filesz : room), raw + segment.p_offset);
        }
}

static void read_dynamic(struct cw_elf_facts *facts, Elf *elf, Elf_Scn *section, const GElf_Shdr *header)
{
    Elf_Data *data = elf_getdata(section, NULL);
    GElf_Dyn entry;

    for (int i = 0; data && gelf_getdyn(data, i, &entry) && entry.d_tag != DT_NULL; i++) {
        const char *text;
        if (entry.d_tag != DT_NEEDED && entry.d_tag != DT_RUNPATH && entry.d_tag != DT_RPATH)
            continue;
        text = elf_strptr(elf, header->sh_link, entry.d_un.d_val);
        if (!text)
            continue;
        if (entry.d_tag != DT_NEEDED)
            snprintf(facts->runpath, sizeof facts->runpath, "%s", text);
        else if (facts->n_needed < CW_ELF_NEEDED_MAX && (facts->needed[facts->n_needed] = strdup(text)) != NULL)
            facts->n_needed++;
    }
}

static void read_sections(struct cw_elf_facts *facts, Elf *elf)
{
    size_t names = 0;
    Elf_Scn *section = NULL;
    GElf_Shdr header;

    elf_getshdrstrndx(elf, &names);
    while ((section = elf_nextscn(elf, section))) {
        const char *name = gelf_getshdr(section, &header) ? elf_strptr(elf, names, header.sh_name) : NULL;
        if (!name)
            continue;
        facts->go |= !strcmp(name, ".go.buildinfo") || !strcmp(name, ".note.go.buildid") || !strcmp(name, ".gopclntab");
        facts->symbols |= header.sh_type == SHT_SYMTAB && header.sh_size > 0;
        if (header.sh_type == SHT_DYNAMIC)
            read_dynamic(facts, elf, section, &header);
    }
}

/* Looks for its own debug information and for a separate file, as a report would; never over the network. */
static void read_debug(struct cw_elf_facts *facts, const char *path)
{
    static const Dwfl_Callbacks callbacks = {
        .find_elf = dwfl_build_id_find_elf,
        .find_debuginfo = dwfl_standard_find_debuginfo,
        .section_address = dwfl_offline_section_address,
    };
    Dwfl *dwfl = dwfl_begin(&callbacks);
    Dwfl_Module *module;
    Dwarf_Addr bias;

    if (!dwfl)
        return;
    unsetenv("DEBUGINFOD_URLS");
    dwfl_report_begin(dwfl);
    module = dwfl_report_elf(dwfl, path, path, -1, 0, true);
    dwfl_report_end(dwfl, NULL, NULL);
    facts->debug_info = module && dwfl_module_getdwarf(module, &bias) != NULL;
    facts->symbols |= facts->debug_info;
    dwfl_end(dwfl);
}

void cw_elf_facts_read(struct cw_elf_facts *ret, const char *path)
{
    GElf_Ehdr header;
    int fd;
    Elf *elf;

    *ret = (struct cw_elf_facts){0};
    elf = open_elf(path, &fd);
    if (!elf)
        return;
    if (gelf_getehdr(elf, &header)) {
        ret->elf = true;
        ret->bits = gelf_getclass(elf) == ELFCLASS64 ? 64 : 32;
        ret->machine = header.e_machine;
        ret->type = header.e_type;
        read_segments(ret, elf);
        read_sections(ret, elf);
    }
    close_elf(elf, fd);
    if (ret->elf)
        read_debug(ret, path);
}

void cw_elf_needed_read(struct cw_elf_facts *ret, const char *path)
{
    int fd;
    Elf *elf;

    *ret = (struct cw_elf_facts){0};
    elf = open_elf(path, &fd);
    if (!elf)
        return;
    read_sections(ret, elf);
    close_elf(elf, fd);
}

void cw_elf_facts_free(struct cw_elf_facts *facts)
{
    while (facts->n_needed)
        free(facts->needed[--facts->n_needed]);
}

/* --- versions of libc --- */

/* GLIBC_2.34 -> 34; 0 for any other name. */
static unsigned glibc_minor(const char *name)
{
    unsigned minor = 0;
    int end = 0;
    return name && sscanf(name, "GLIBC_2.%u%n", &minor, &end) == 1 && (!name[end] || name[end] == '.') ? minor : 0;
}

static unsigned highest_defined(Elf *elf, Elf_Data *data, const GElf_Shdr *header)
{
    unsigned highest = 0;
    GElf_Verdef def;
    GElf_Verdaux aux;

    for (int at = 0, n = 0; n < 4096 && gelf_getverdef(data, at, &def); n++) {
        if (gelf_getverdaux(data, at + (int)def.vd_aux, &aux)) {
            unsigned minor = glibc_minor(elf_strptr(elf, header->sh_link, aux.vda_name));
            highest = minor > highest ? minor : highest;
        }
        if (!def.vd_next)
            break;
        at += (int)def.vd_next;
    }
    return highest;
}

static unsigned highest_needed(Elf *elf, Elf_Data *data, const GElf_Shdr *header)
{
    unsigned highest = 0;
    GElf_Verneed need;
    GElf_Vernaux aux;

    for (int at = 0, n = 0; n < 4096 && gelf_getverneed(data, at, &need); n++) {
        for (int aux_at = at + (int)need.vn_aux, k = 0; k < need.vn_cnt && gelf_getvernaux(data, aux_at, &aux); k++) {
            unsigned minor = glibc_minor(elf_strptr(elf, header->sh_link, aux.vna_name));
            highest = minor > highest ? minor : highest;
            if (!aux.vna_next)
                break;
            aux_at += (int)aux.vna_next;
        }
        if (!need.vn_next)
            break;
        at += (int)need.vn_next;
    }
    return highest;
}

static unsigned glibc_of(const char *path, GElf_Word type, unsigned (*highest)(Elf *, Elf_Data *, const GElf_Shdr *))
{
    unsigned found = 0;
    Elf_Scn *section = NULL;
    GElf_Shdr header;
    Elf_Data *data;
    int fd;
    Elf *elf = open_elf(path, &fd);

    if (!elf)
        return 0;
    while ((section = elf_nextscn(elf, section)))
        if (gelf_getshdr(section, &header) && header.sh_type == type && (data = elf_getdata(section, NULL)) != NULL)
            found = highest(elf, data, &header);
    close_elf(elf, fd);
    return found;
}

unsigned cw_elf_glibc_defined(const char *path)
{
    return glibc_of(path, SHT_GNU_verdef, highest_defined);
}

unsigned cw_elf_glibc_needed(const char *path)
{
    return glibc_of(path, SHT_GNU_verneed, highest_needed);
}
