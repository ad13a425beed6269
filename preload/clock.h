/* The clocks as the kernel tells them.
 *
 * A program, or a library in front of us (libfaketime), may have put its own clock_gettime in libc's place: times in
 * records are compared with the kernel's ages, and nobody's lock may be met on the way. libc's own is answered by the
 * vDSO: no system call, no errno, no cancellation point. */
#ifndef PRELOAD_CLOCK_H
#define PRELOAD_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Finds libc's function. At load, before anything asks for the time. */
void cw_clock_init(void);

/* Nanoseconds. Any thread, a signal handler, a child. */
uint64_t cw_clock_ns(clockid_t clock);

#endif
