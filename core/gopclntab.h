/* .gopclntab, the table that every Go program carries, also a stripped one: which function an address lies in, how deep the stack
 * is there, which file and line. Written by Go 1.18 and later.
 *
 * The bytes may be anything: every offset is checked. Pure. Source: Go's src/runtime/symtab.go and src/debug/gosym/pclntab.go. */
#ifndef CORE_GOPCLNTAB_H
#define CORE_GOPCLNTAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cw_go_table {
    const uint8_t *bytes;
    size_t n;
    uint64_t text; /* address of the first function, as addresses are given below */
    uint32_t functions;
    uint64_t names, units, files, values, entries; /* offsets of its parts */
};

/* False if that is no such table. text: where the program's code begins (runtime.text). bytes must outlive *ret. */
bool cw_go_open(struct cw_go_table *ret, const void *bytes, size_t n, uint64_t text);

struct cw_go_place {
    uint64_t start;      /* of the function */
    const char *name;    /* "main.serve" */
    const char *file;    /* NULL: not known */
    uint32_t line;       /* 0: not known */
    int32_t stack_bytes; /* from the stack pointer to the return address there */
};

/* What the table says of an address; false if it lies in no function. */
bool cw_go_find(const struct cw_go_table *table, uint64_t address, struct cw_go_place *ret);

/* Whether stacks end in this function: who called it has another stack, or none. */
bool cw_go_is_outermost(const char *name);

#endif
