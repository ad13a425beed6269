#include "cli/symbols/go_table.h"

#include <gelf.h>
#include <string.h>

/* The section of this name: NULL if there is none. */
static Elf_Scn *find_section(Elf *elf, const char *name, GElf_Shdr *ret_header)
{
    Elf_Scn *section = NULL;
    size_t names;

    if (elf_getshdrstrndx(elf, &names))
        return NULL;
    while ((section = elf_nextscn(elf, section))) {
        const char *own = gelf_getshdr(section, ret_header) ? elf_strptr(elf, names, ret_header->sh_name) : NULL;
        if (own && !strcmp(own, name))
            return section;
    }
    return NULL;
}

/* Where the code begins that the table counts from: in position-independent programs the table itself does not say so before it
 * is loaded, and linkers other than Go's put other code first. */
static bool begins_at(const struct cw_go_table *table, Elf *elf)
{
    struct cw_go_place place;
    GElf_Ehdr header;

    return gelf_getehdr(elf, &header) && cw_go_find(table, header.e_entry, &place) && !strncmp(place.name, "_rt0_", 5);
}

bool cw_go_table_read(struct cw_go_table *ret, Elf *elf)
{
    enum { AT_TEXT = 24 };
    static const char *const names[] = {".gopclntab", ".data.rel.ro.gopclntab"};
    GElf_Shdr header, text;
    Elf_Scn *section = NULL;
    uint64_t start = 0;

    for (unsigned i = 0; i < 2 && !section; i++)
        section = find_section(elf, names[i], &header);
    const Elf_Data *data = section ? elf_rawdata(section, NULL) : NULL;
    if (!data || !data->d_buf || data->d_size < AT_TEXT + sizeof start)
        return false;
    memcpy(&start, (const char *)data->d_buf + AT_TEXT, sizeof start);
    if (start)
        return cw_go_open(ret, data->d_buf, data->d_size, start);
    return find_section(elf, ".text", &text) && cw_go_open(ret, data->d_buf, data->d_size, text.sh_addr) &&
           begins_at(ret, elf);
}
