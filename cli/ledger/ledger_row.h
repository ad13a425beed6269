/* What one ledger is about, in a line: for those who list them or remove them.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_LEDGER_LEDGER_ROW_H
#define CLI_LEDGER_LEDGER_ROW_H

#include "cli/ledger/ledger_life.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct cw_ledger_row {
    char path[PATH_MAX];
    pid_t pid; /* in the process's own pid namespace */
    enum cw_life life;
    uid_t uid;            /* who owns the file */
    uint64_t used_bytes;  /* of the file system */
    uint64_t age_ms;      /* since the last word in it */
    char unreadable[256]; /* why nothing below is known; "" else */
    char exe[512];
    uint64_t start_real_ns, connections, leaked; /* leaked: sockets, as of the last check of its own */
    unsigned ended;                              /* enum cw_ended, that of a process that was killed included */
    int end_status;
    bool reported, saved;
};

/* found: with fd open. */
void cw_ledger_row_read(struct cw_ledger_row *ret, const struct cw_found *found);

/* "running", "exit 0, reported", "killed, not reported", …: in words; and one word: running, exit, signal, exec, killed,
 * unknown. */
void cw_ledger_row_state(const struct cw_ledger_row *row, char *ret, size_t ret_bytes);
const char *cw_ledger_row_how(const struct cw_ledger_row *row);

/* The last part of its path; "?" if that is not known. */
const char *cw_ledger_row_program(const struct cw_ledger_row *row);

/* "812 KiB", "14.1 MiB", "23.5 GiB". */
void cw_bytes_in_words(char *ret, size_t ret_bytes, uint64_t bytes);

#endif
