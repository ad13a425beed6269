/* Times and ages of records: milliseconds modulo 2^32, 0 meaning never (include/cwguard_ledger.h). Pure. */
#ifndef CORE_AGES_H
#define CORE_AGES_H

#include <stdbool.h>
#include <stdint.h>

/* Two threads stamp with clocks read in either order: a time slightly ahead is an age of 0, not of 49 days. */
static inline uint32_t cw_age(uint32_t now_ms, uint32_t then_ms)
{
    uint32_t age = now_ms - then_ms;
    return age > UINT32_MAX - 60000 ? 0 : age;
}

/* Whether a came after b. What never was came before everything. */
static inline bool cw_after(uint32_t a, uint32_t b)
{
    return a && (!b || (a != b && a - b < UINT32_MAX / 2));
}

static inline uint32_t cw_later(uint32_t a, uint32_t b)
{
    return cw_after(a, b) ? a : b;
}

#endif
