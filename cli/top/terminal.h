/* The terminal while `cwguard top` has it: taken with ncurses, and given back on every way out, a crash included.
 *
 * Single-threaded. */
#ifndef CLI_TOP_TERMINAL_H
#define CLI_TOP_TERMINAL_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

/* Takes the terminal on stdin and stdout: 0, or -1 with the reason in `why` where it can do too little. While it is taken,
 * what is written to stderr is kept instead. */
int cw_terminal_begin(char *why, size_t why_bytes);

/* Gives it back; then what was written to stderr meanwhile comes out, each line once. */
void cw_terminal_end(void);

/* The signal that asks to end (SIGINT, SIGTERM, SIGHUP, SIGQUIT), 0 none so far. */
int cw_terminal_ended(void);

/* Waits for a key, a new size or a signal, at most so long. These arrive at no other time. */
void cw_terminal_wait(unsigned timeout_ms);

/* Whether there is still somebody at the other end. */
bool cw_terminal_lives(void);

/* The last line that came to stderr since the last call, "" if none did. */
const char *cw_terminal_message(void);

#endif
