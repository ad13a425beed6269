/* Sockets that came through exec keep what was known of them before: their stacks are taken over from the ledger of the
 * program that the process ran then, or of the parent that handed them down.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_LEDGER_ADOPT_H
#define CLI_LEDGER_ADOPT_H

#include "cli/ledger/load.h"

/* Whether there are sockets of which the ledger knows only that they were there when the program started. */
bool cw_adopt_wanted(const struct cw_load *load);

/* cw_load_ledger, without room to spare unless there are such sockets: a dying process may have little memory left. */
int cw_adopt_load(struct cw_load *ret, int fd, char *why, size_t why_bytes);

/* Takes over, from an earlier ledger, what is known of those that are in both: who opened them and where, and where the end of
 * stream was read. load has room to spare (cw_load_ledger). */
void cw_adopt_from(struct cw_load *load, const struct cw_load *earlier);

/* Looks for such ledgers, as cw_find_ledgers does, and takes over from each: the process's own of before an exec, youngest
 * first, then its parent's. */
void cw_adopt(struct cw_load *load, const char *root, const char *ledger_dir);

#endif
