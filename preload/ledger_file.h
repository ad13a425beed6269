/* The ledger's file: where it lies, how it is mapped, how its chunks become real memory.
 *
 * Raw system calls only; nothing here mallocs or leaves an fd open. A call that could raise SIGBUS (full tmpfs) or
 * SIGXFSZ (RLIMIT_FSIZE) is never made: see the functions. Any thread, a signal handler, a forked child, unless said
 * otherwise. */
#ifndef PRELOAD_LEDGER_FILE_H
#define PRELOAD_LEDGER_FILE_H

#include "preload/state.h"

/* Creates and maps a ledger for this process and fills CW_P->view, ledger_path, ledger_dev, ledger_ino and the header's
 * sections and identity (pid, exe, command, host, times, options). In options.ledger_dir, else /dev/shm/cwguard-UID,
 * else anonymous memory (CW_HEADER_ANONYMOUS). Returns 0, or negative errno when not even that could be had. One
 * thread. */
int cw_ledger_create(void);

/* Why the ledger is not where it should be (option ledger_dir, or the default directory): 0 or negative errno. -EPERM:
 * the directory is not ours alone (owner, mode 0700); -EMEDIUMTYPE: it is not on a tmpfs; -EINVAL: it is not an
 * absolute path. */
int cw_ledger_dir_error(void);

/* Makes records [first, first + n) of a section real memory; returns 0, or negative errno (then nothing may touch
 * them). Cheap when they are real already. */
int cw_ledger_reserve(enum cw_section_id section, uint32_t first, uint32_t n);

/* A read-only fd on the ledger as it is now: the file reopened by path if it is still the same inode, else a memfd with
 * a copy of what is in use. Negative errno if neither can be had. */
int cw_ledger_open_again(void);

/* Removes the file (not the mapping), if path and inode still agree. */
void cw_ledger_remove(void);

/* Removes this user's dead ledgers, reported ones and then the oldest first, until they take at most 64 MiB and a
 * quarter of the file system. Called once by cw_ledger_create; a ledger is dead when its pid, in this pid namespace, is
 * gone or has another start time. */

#endif
