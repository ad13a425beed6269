/* One ELF object that stacks pass through: opened, checked to be the very build that ran, and asked for names.
 *
 * Addresses are those of the file (run-time address minus load address). Separate debug files are looked for on
 * this machine only: beside the file, under /usr/lib/debug, or where the caller says. Single-threaded, as everything in the tool. */
#ifndef CLI_SYMBOLS_ELF_FILE_H
#define CLI_SYMBOLS_ELF_FILE_H

#include "cli/symbols/strings.h"
#include "core/resolve.h"

#include <stdbool.h>
#include <stdint.h>

struct cw_elf_file;

/* What must be known of a file before its names are trusted. */
struct cw_elf_identity {
    const uint8_t *build_id; /* of the object that ran, build_id_len 0: it had none */
    uint8_t build_id_len;
    uint64_t not_after_ns; /* CLOCK_REALTIME: without build-ids, a file changed later than this is another one */
};

/* The program or library, or a separate debug file of it. search_path: where libdw looks for separate debug files, as
 * dwfl_standard_find_debuginfo takes it, NULL for its default; it must outlive the file. NULL when the file is not there,
 * is no ELF executable or library, or is another build; *ret_other (may be NULL) becomes true in the last case. */
struct cw_elf_file *cw_elf_file_open(const char *path, const struct cw_elf_identity *identity, char *search_path,
                                     bool *ret_other);

/* Whether there is debug information for it: lines, inlined calls. */
bool cw_elf_file_has_debug(struct cw_elf_file *file);

/* Symbols at an address, innermost first: how many, at most max; from the debug information where there is some, else
 * the function's name from the symbol table; 0 when neither knows. `arena` owns the strings. */
unsigned cw_elf_file_lookup(struct cw_elf_file *file, uint64_t address, struct cw_symbol *ret, unsigned max,
                            struct cw_arena *arena);

/* Size of the file: about what keeping it open takes of the address space. */
uint64_t cw_elf_file_bytes(const struct cw_elf_file *file);

void cw_elf_file_close(struct cw_elf_file *file);

#endif
