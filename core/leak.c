#include "core/leak.h"

#include "core/ages.h"
#include "core/atomic.h"

/* Jiffies, the coarse clock and the moment between the kernel's answer and our reading of the clock make one
 * and the same send look that much earlier or later from one check to the next. */
enum { SENT_TOLERANCE_MS = 100, STATE_CLOSE = 7, STATE_CLOSE_WAIT = 8 };
#define FAR UINT32_MAX

static uint32_t add_ages(uint32_t a, uint32_t b)
{
    return a > FAR - b ? FAR : a + b;
}

/* A check without TCP_INFO leaves both ages 0. When both are truly 0 the moment of the check is as good an answer. */
static bool has_info(const struct cw_conn *conn)
{
    return CW_GET(conn->k_ms) && (CW_GET(conn->k_last_ack_recv) || CW_GET(conn->k_last_data_sent));
}

/* After shutdown(SHUT_RD) reads return 0 and poll says RDHUP without any FIN. */
static bool proves_fin(const struct cw_conn *conn, uint32_t seen_ms)
{
    return seen_ms && (!(CW_GET(conn->flags) & CW_CONN_SHUT_RD) || seen_ms - CW_GET(conn->shut_ms) > UINT32_MAX / 2);
}

/* Since the FIN: every answer here is a lower bound, so the largest is nearest. The peer's last segment is the FIN or
 * something later (an answer to a probe, an ACK), so its age is one such bound, and the only one that keep-alive or
 * zero-window probes can pull back: what was once known of the FIN is therefore kept in fin_ms. */
static uint32_t fin_age(const struct cw_conn *conn, uint32_t now_ms)
{
    uint32_t fin_ms = CW_GET(conn->fin_ms), eof_ms = CW_GET(conn->eof_ms), k_ms = CW_GET(conn->k_ms), age = 0;

    if (k_ms)
        age = cw_age(now_ms, k_ms);
    if (has_info(conn))
        age = add_ages(age, CW_GET(conn->k_last_ack_recv));
    if (proves_fin(conn, fin_ms) && cw_age(now_ms, fin_ms) > age)
        age = cw_age(now_ms, fin_ms);
    if (proves_fin(conn, eof_ms) && cw_age(now_ms, eof_ms) > age)
        age = cw_age(now_ms, eof_ms);
    return age;
}

/* Since the last data sent. The kernel counts from the connection's beginning where none was sent. */
static uint32_t sent_age(const struct cw_conn *conn, uint32_t now_ms)
{
    if (has_info(conn))
        return add_ages(CW_GET(conn->k_last_data_sent), cw_age(now_ms, CW_GET(conn->k_ms)));
    uint32_t out_ms = CW_GET(conn->out_last_ms);
    return out_ms ? cw_age(now_ms, out_ms) : FAR;
}

uint32_t cw_leak_age_ms(const struct cw_conn *conn, uint32_t now_ms)
{
    uint32_t fin = fin_age(conn, now_ms), sent = sent_age(conn, now_ms);
    return fin < sent ? fin : sent;
}

static uint32_t nonzero(uint32_t ms)
{
    return ms ? ms : 1;
}

/* Whether data was sent since it was found to have leaked. */
static bool sent_since(const struct cw_conn *conn, uint32_t now_ms)
{
    uint32_t sent = sent_age(conn, now_ms), leaked_sent_ms = CW_GET(conn->leaked_sent_ms);
    return leaked_sent_ms && add_ages(sent, SENT_TOLERANCE_MS) < cw_age(now_ms, leaked_sent_ms);
}

static void clear_leaked(struct cw_conn *conn)
{
    CW_AND(conn->flags, ~(uint32_t)CW_CONN_LEAKED);
    CW_SET(conn->leaked_sent_ms, 0);
}

bool cw_leak_judge(struct cw_conn *conn, uint32_t now_ms, uint32_t grace_ms)
{
    if (!CW_GET(conn->k_ms) || CW_GET(conn->k_state) != STATE_CLOSE_WAIT) {
        clear_leaked(conn);
        return false;
    }
    uint32_t fin = fin_age(conn, now_ms), sent = sent_age(conn, now_ms);
    CW_SET(conn->fin_ms, nonzero(now_ms - fin));

    bool stays = (CW_GET(conn->flags) & CW_CONN_LEAKED) && fin >= grace_ms && !sent_since(conn, now_ms);
    bool leaked = stays || (fin >= grace_ms && sent >= grace_ms);
    if (!leaked) {
        clear_leaked(conn);
    } else if (!stays) {
        CW_OR(conn->flags, CW_CONN_LEAKED);
        CW_SET(conn->leaked_sent_ms, sent == FAR ? 0 : nonzero(now_ms - sent));
    }
    return leaked;
}

uint32_t cw_leak_last_use_ms(const struct cw_conn *conn)
{
    return cw_later(cw_later(CW_GET(conn->in_last_ms), CW_GET(conn->out_last_ms)), CW_GET(conn->open_ms));
}

bool cw_leak_failed(const struct cw_conn *conn, uint32_t now_ms, uint32_t grace_ms)
{
    uint32_t flags = CW_GET(conn->flags);
    bool finished = (flags & CW_CONN_SHUT_WR) && !(flags & (CW_CONN_IN_FAILED | CW_CONN_OUT_FAILED));

    return CW_GET(conn->k_ms) && CW_GET(conn->k_state) == STATE_CLOSE && !finished &&
           cw_age(now_ms, cw_leak_last_use_ms(conn)) >= grace_ms;
}
