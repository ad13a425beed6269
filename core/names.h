/* Words for the numbers in a ledger: calls, origins, states, signals. Pure: any thread, a signal handler, a forked
 * child. */
#ifndef CORE_NAMES_H
#define CORE_NAMES_H

#include "core/out.h"

#include <stdint.h>

/* "recv"; NULL for 0 and for a number that is none. */
const char *cw_call_name(unsigned call);

/* "accept" and "accepted"; those of CW_ORIGIN_NONE for a number that is none. */
const char *cw_origin_id(unsigned origin);
const char *cw_origin_words(unsigned origin);

/* "CLOSE_WAIT"; NULL for a number that is none. */
const char *cw_tcp_state_name(unsigned state);

/* "ECONNRESET"; NULL for a number that is not in the table. */
const char *cw_errno_name(int number);

/* The same, or "errno 133". */
void cw_out_errno(struct cw_out *out, int number);

/* "SIGTERM", or "signal 77". */
void cw_out_signal(struct cw_out *out, int signal);

/* "2026-11-22T03:12:09Z" of a CLOCK_REALTIME. */
void cw_out_utc(struct cw_out *out, uint64_t real_ns);

/* An age as reports write it: "850 ms", "93 s", from 10 minutes on as cw_out_duration. */
void cw_out_age(struct cw_out *out, uint64_t ms);

#endif
