/* cwguard selftest: a child leaks sockets under the library; what the library, the ledger and the report say of them is
 * compared with what the kernel says.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_SELFTEST_SELFTEST_H
#define CLI_SELFTEST_SELFTEST_H

#include <stdbool.h>

/* Runs the child and every check of cli/selftest/selftest.inc, calling say for each in that order: what was seen, and advice NULL if all
 * is well. library: "" if there is none, and then `missing` says why. Takes less than 5 s. Returns how many failed, or -1 after
 * a message when nothing could be tried. */
int cw_selftest_run(const char *library, const char *missing,
                    void (*say)(void *ctx, const char *id, const char *seen, const char *advice), void *ctx);

#endif
