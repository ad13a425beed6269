/* The table of functions that a Go program's file carries (core/gopclntab.h). Single-threaded, as everything in the tool. */
#ifndef CLI_SYMBOLS_GO_TABLE_H
#define CLI_SYMBOLS_GO_TABLE_H

#include "core/gopclntab.h"

#include <libelf.h>

/* Finds it: false if the file has none that can be read. Addresses are then those of the file, whose memory *ret uses. */
bool cw_go_table_read(struct cw_go_table *ret, Elf *elf);

#endif
