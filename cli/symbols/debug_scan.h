/* The ELF files under a directory, by build-id: for --debug-dir with a plain heap of binaries.
 *
 * One walk, bounded in depth and number. Single-threaded, as everything in the tool. */
#ifndef CLI_SYMBOLS_DEBUG_SCAN_H
#define CLI_SYMBOLS_DEBUG_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cw_debug_scan_file {
    char *path;
    uint8_t build_id[20];
    uint8_t build_id_len; /* 0: none, or of a length that no ledger keeps */
};

struct cw_debug_scan {
    struct cw_debug_scan_file *files;
    size_t count, room;
    bool cut; /* there is more than was looked at */
};

/* Adds the files under `dir`, which is left out of the walk where it is named .build-id: those are found by name. */
void cw_debug_scan_add(struct cw_debug_scan *scan, const char *dir);
void cw_debug_scan_free(struct cw_debug_scan *scan);

/* The nth file that is of this build; build_id_len 0: the nth one of this file name that has no build-id. Behind those, if
 * there are none, the first of this file name: another build, worth a word. NULL: no more. */
const char *cw_debug_scan_find(const struct cw_debug_scan *scan, const uint8_t *build_id, uint8_t build_id_len,
                               const char *name, unsigned nth);

#endif
