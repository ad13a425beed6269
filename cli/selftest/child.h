/* The child of cwguard selftest: a server that leaks, under the library, and says what it has done.
 *
 * It runs in a process of its own that does nothing else. */
#ifndef CLI_SELFTEST_CHILD_H
#define CLI_SELFTEST_CHILD_H

enum { CW_SELFTEST_SOCKETS = 3 };

/* Connects to itself CW_SELFTEST_SOCKETS times, reads each end of stream, closes nothing. Writes to stdout "ready PORT LINE", LINE
 * being where it calls accept in cw_selftest_accept, or "failed WHY"; then waits for the end of stdin. Returns the exit code. */
int cw_selftest_child(void);

/* Its own function, for a name that the report has to show. */
int cw_selftest_accept(int listener, int *ret_line);

#endif
