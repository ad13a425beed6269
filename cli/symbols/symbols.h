/* The tool's resolver: frames of a ledger to functions, files and lines, with what the files on this machine tell.
 *
 * Every distinct frame is looked up once. Single-threaded, as everything in the tool. */
#ifndef CLI_SYMBOLS_SYMBOLS_H
#define CLI_SYMBOLS_SYMBOLS_H

#include "cli/symbols/debug_files.h"
#include "core/resolve.h"

#include <sys/types.h>

struct cw_symbols;

/* A resolver for one ledger; view must outlive it. live_pid: the process as seen from here if it still runs (its
 * files are then reached through /proc where they are gone or lie in another mount namespace), else 0. files: where else
 * to look, and who says what was refused; must outlive it, NULL: only where things belong, silently. NULL without memory. */
struct cw_symbols *cw_symbols_new(const struct cw_view *view, pid_t live_pid, struct cw_debug_files *files);

/* Valid as long as `symbols` is, and so are all strings that it hands out. */
struct cw_resolver cw_symbols_resolver(struct cw_symbols *symbols);

void cw_symbols_free(struct cw_symbols *symbols);

#endif
