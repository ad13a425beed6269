/* Stands in for the recorder's start and hooks in tests of the ledger's file and of the reporter: defines the global
 * state that preload/state.c defines in the library, and makes ledgers with leaked sockets in them without any socket.
 */
#ifndef TEST_LEDGER_HARNESS_H
#define TEST_LEDGER_HARNESS_H

#include "preload/ledger_file.h"
#include "preload/state.h"

#include <stdint.h>
#include <sys/types.h>

/* State as after load: default options, no ledger, everything allowed. */
void harness_reset(void);

/* A fresh directory on /dev/shm, 0700 and ours, set as ledger_dir. Removed with all that is in it by
 * harness_remove_dir. */
const char *harness_dir(void);
void harness_remove_dir(void);

/* cw_ledger_create, with the state around it that the recorder would set. */
int harness_create(void);

/* n connections in CLOSE_WAIT for longer than any grace, checked with "the kernel" just now. Where they were allocated
 * and where their end was seen: in functions of libc, whose names any build of a test finds. */
#define HARNESS_ALLOCATES "qsort"
#define HARNESS_READS "bsearch"
void harness_leak(uint32_t n);

/* An address inside one of them. */
uintptr_t harness_code(const char *name);

/* Runs fn(arg) in a forked child: its exit status, or 128 + the signal that killed it. */
int harness_in_child(void (*fn)(void *), void *arg);

/* For the child: leaves with status 98 and prints where, unless ok. cmocka's own assertions do not work across fork. */
#define HARNESS_CHECK(ok) harness_check((ok), __FILE__, __LINE__, #ok)
void harness_check(int ok, const char *file, int line, const char *what);

/* Open fds of this process. */
unsigned harness_count_fds(void);

#endif
