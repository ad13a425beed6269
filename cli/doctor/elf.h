/* What an ELF file says of itself that decides whether libcwguard.so can be loaded into it, and what that would not see.
 *
 * Files may be hostile: everything is read through libelf. Single-threaded, as everything in the tool. */
#ifndef CLI_DOCTOR_ELF_H
#define CLI_DOCTOR_ELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CW_ELF_NEEDED_MAX = 96 };

struct cw_elf_facts {
    bool elf;
    uint8_t bits; /* 32 or 64 */
    uint16_t machine, type;
    char interp[256]; /* PT_INTERP, "" if it has none */
    bool go;
    bool symbols, debug_info;        /* in it or in its separate debug file on this machine */
    char *needed[CW_ELF_NEEDED_MAX]; /* DT_NEEDED */
    unsigned n_needed;
    char runpath[1024]; /* DT_RUNPATH or DT_RPATH */
};

/* Free it with cw_elf_facts_free. elf is false for what is none, or cannot be read. */
void cw_elf_facts_read(struct cw_elf_facts *ret, const char *path);
/* Likewise, but only the names of what it needs. */
void cw_elf_needed_read(struct cw_elf_facts *ret, const char *path);
void cw_elf_facts_free(struct cw_elf_facts *facts);

/* What its code does, as far as constants in it tell. */
struct cw_elf_code {
    bool deepbind; /* calls dlopen or dlmopen with RTLD_DEEPBIND */
    bool io_uring; /* makes the system call io_uring_setup, io_uring_enter or io_uring_register */
};
void cw_elf_code_read(struct cw_elf_code *ret, const char *path);

/* The highest GLIBC_2.N that the file defines (a libc) or needs; 0 if none. */
unsigned cw_elf_glibc_defined(const char *path);
unsigned cw_elf_glibc_needed(const char *path);

#endif
