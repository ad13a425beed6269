/* Relaxed atomic access to plain fields: what every field of the ledger is written and read with while threads share it.
 *
 * Relaxed is enough: a record's fields are facts for a report, each whole by itself; only the words that hand records
 * around (slots, free lists, flags of a new record) order anything, and say so where they do. */
#ifndef CORE_ATOMIC_H
#define CORE_ATOMIC_H

#define CW_GET(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define CW_SET(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
#define CW_ADD(x, v) __atomic_fetch_add(&(x), (v), __ATOMIC_RELAXED)
#define CW_OR(x, v) __atomic_fetch_or(&(x), (v), __ATOMIC_RELAXED)
#define CW_AND(x, v) __atomic_fetch_and(&(x), (v), __ATOMIC_RELAXED)

#endif
