/* Threads: records of who touches sockets, whether they wait, and when they exit.
 *
 * A thread gets its record when it first touches a socket, or waits. Any thread, a signal handler; not a vfork child. errno
 * is left alone. */
#ifndef PRELOAD_THREAD_H
#define PRELOAD_THREAD_H

#include "core/atomic.h"
#include "preload/state.h"

/* This thread's reference, made if it has none yet; 0 if there is no room. Changes nothing in a record that is there. */
uint32_t cw_thread_self(uint32_t now_ms);
struct cw_thread *cw_thread_record(uint32_t reference);

/* Likewise, for a thread that is doing something: if its record says that it waits, or has exited, that is not so any
 * more (a signal handler jumped out of the wait, or it was cancelled; a destructor runs after ours). */
uint32_t cw_thread_back(uint32_t now_ms);
static inline uint32_t cw_thread_active(uint32_t now_ms)
{
    if (__builtin_expect(cw_tls.thread_ref && cw_tls.epoch == CW_GET(CW_P->epoch), 1))
        return cw_tls.thread_ref;
    return cw_thread_back(now_ms);
}

/* This thread is inside a wait (on SETS[set_index], 0 for any other), from now until cw_thread_active. */
void cw_thread_waits(uint32_t set_index);

/* At load, before any thread has a record: makes its exit known. */
void cw_thread_init(void);

#endif
