/* The shim's own handler for SIGTERM, SIGINT and SIGHUP: it reports, then lets the signal take its default effect.
 *
 * Installed with the first TCP socket, only where the action is the default, never in PID 1 (a handler there would change
 * what the signal does) and not with handle_signals=0. The program cannot see it: the wrappers of sigaction and friends show
 * SIG_DFL for it, and put it back where the program asks for SIG_DFL. */
#ifndef PRELOAD_SIGNALS_H
#define PRELOAD_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

/* Once per process, when recording begins. */
void cw_signals_install(void);

/* Before the program installs a seccomp filter: the default actions come back, because what the handler needs to call might
 * be punished, and the parent would see another death. cw_signals_install again if the filter was refused. */
void cw_signals_remove(void);

/* Whether this handler is ours. */
bool cw_signals_is_ours(sighandler_t handler);

/* Puts what the program should see in place of ours into what the real sigaction returned. */
void cw_signals_show(int sig, struct sigaction *old);

/* After the program set sig's action: if that was SIG_DFL and the signal is one of ours, ours takes its place. */
void cw_signals_after_set(int sig);

#endif
