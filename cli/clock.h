/* The system's clocks as one number.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_CLOCK_H
#define CLI_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Nanoseconds since that clock's beginning. */
static inline uint64_t cw_clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* The same in milliseconds. */
static inline uint64_t cw_clock_ms(clockid_t clock)
{
    return cw_clock_ns(clock) / 1000000;
}

#endif
