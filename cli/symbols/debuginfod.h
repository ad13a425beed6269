/* Debug information from a debuginfod server, through elfutils' client library, which is loaded when it is asked for and
 * not before: neither the tool nor a report without --debuginfod needs it, or touches the network.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_SYMBOLS_DEBUGINFOD_H
#define CLI_SYMBOLS_DEBUGINFOD_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cw_debuginfod;

/* urls NULL: those of DEBUGINFOD_URLS, as it was when the tool started. NULL with what is missing in `why`
 * (why_bytes > 0). */
struct cw_debuginfod *cw_debuginfod_new(const char *urls, char *why, size_t why_bytes);
void cw_debuginfod_free(struct cw_debuginfod *client); /* NULL is allowed */

/* Debug information by build-id, failing that the object itself: true with where it lies in the library's cache. `name`:
 * what messages call it. Ctrl-C ends this and all later downloads, and nothing else. */
bool cw_debuginfod_fetch(struct cw_debuginfod *client, const uint8_t *build_id, uint8_t build_id_len, const char *name,
                         char path[PATH_MAX]);

#endif
