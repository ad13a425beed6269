/* Whether the process behind a ledger still runs, and how old what it left is: nothing may be removed that somebody still
 * writes to, or that has just been left behind.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_LEDGER_LEDGER_LIFE_H
#define CLI_LEDGER_LEDGER_LIFE_H

#include "cli/ledger/find.h"

#include <stdint.h>

enum cw_life {
    CW_LIFE_RUNNING,
    CW_LIFE_DEAD,
    CW_LIFE_UNKNOWN /* of another pid namespace, in which we see no such process */
};

/* `found` with fd open. DEAD only if it is sure: a pid that is taken, by whoever, without a start time that differs, lives. */
enum cw_life cw_ledger_life(const struct cw_found *found);

#define CW_OLD_MS (UINT64_C(7) * 24 * 3600 * 1000)

/* Milliseconds since anything was last written to it, as far as file and header tell, rounded down in doubt. */
uint64_t cw_ledger_age_ms(int fd);

/* Removes the file if its path still leads to the one that is open: 0, or negative errno (-ESTALE: another one is there). */
int cw_ledger_unlink(const struct cw_found *found);

/* Whether it is a ledger of any version, or the beginning of one: what is named as one may be something else. */
bool cw_ledger_is_one(int fd);

/* What it takes of the file system, 0 if that cannot be told. */
uint64_t cw_ledger_bytes(int fd);

#endif
