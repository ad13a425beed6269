/* When a socket in CLOSE_WAIT has leaked: the one place where "after the grace period" is decided.
 *
 * Works on what the kernel said of it last (k_*) and what hooks saw, both in struct cw_conn. Pure: any thread, a signal
 * handler, a forked child. Source: tcp_get_info in the kernel's net/ipv4/tcp.c; measured in docs/architecture.md. */
#ifndef CORE_LEAK_H
#define CORE_LEAK_H

#include "include/cwguard_ledger.h"

#include <stdbool.h>
#include <stdint.h>

/* Age in ms of the leak, of a socket that is in CLOSE_WAIT, at now_ms: the time since the peer's FIN as far as it can be
 * told, or since the last data that was sent after it, whichever is younger. k_* may be older than now_ms. */
uint32_t cw_leak_age_ms(const struct cw_conn *conn, uint32_t now_ms);

/* Judges and keeps: sets or clears CW_CONN_LEAKED (and leaked_sent_ms) in the record, returns whether it has leaked.
 * Once leaked it stays so until its state or the time of its last sent data changes. False unless k_state is
 * CLOSE_WAIT. Also sets fin_ms when it is 0 and k_state is CLOSE_WAIT. */
bool cw_leak_judge(struct cw_conn *conn, uint32_t now_ms, uint32_t grace_ms);

/* Whether a connection has failed and was left: its state is CLOSE, nobody has used it for the grace period, and it is not
 * merely finished (shut down in order, without an error; its fd is still open then, but that is no failure). */
bool cw_leak_failed(const struct cw_conn *conn, uint32_t now_ms, uint32_t grace_ms);

/* What anybody last did with it: a read, a write, opening it. */
uint32_t cw_leak_last_use_ms(const struct cw_conn *conn);

#endif
