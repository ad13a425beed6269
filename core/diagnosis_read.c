/* The connection was read to its end, or failed: error-not-closed, half-open, eof-not-closed. */
#include "core/diagnosis.h"

#include <netinet/tcp.h>

bool cw_holds_error_not_closed(const struct cw_facts *facts)
{
    return facts->conn->k_state == TCP_CLOSE;
}

void cw_decides_error_not_closed(const struct cw_facts *facts, struct cw_decision *ret)
{
    cw_decides_last_touch(facts->conn, ret);
}

bool cw_holds_half_open(const struct cw_facts *facts)
{
    const struct cw_conn *conn = facts->conn;

    if (!cw_has(facts, CW_CONN_EOF_SEEN))
        return false;
    if ((conn->k_flags & CW_K_QUEUES) && conn->k_send_q && conn->k_last_data_sent &&
        conn->k_last_data_sent < facts->grace_ms)
        return true;
    if (conn->out_last_res <= 0 || !cw_after(conn->out_last_ms, conn->eof_ms))
        return false;
    uint32_t age = cw_age(facts->now_ms, conn->out_last_ms);
    return age < facts->grace_ms || age < 2 * 100u * conn->out_gap_ds;
}

static void end_of_stream(const struct cw_conn *conn, struct cw_decision *ret)
{
    ret->stack = conn->eof_stack;
    ret->call = conn->eof_call;
}

void cw_decides_half_open(const struct cw_facts *facts, struct cw_decision *ret)
{
    end_of_stream(facts->conn, ret);
}

bool cw_holds_eof_not_closed(const struct cw_facts *facts)
{
    return cw_has(facts, CW_CONN_EOF_SEEN);
}

void cw_decides_eof_not_closed(const struct cw_facts *facts, struct cw_decision *ret)
{
    end_of_stream(facts->conn, ret);
}
