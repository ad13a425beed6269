/* What the connection was used for: response-unread, idle-pooled, abandoned. */
#include "core/diagnosis.h"

/* Idle this long when the server closed: a pool, not the end of an exchange. */
enum { IDLE_MS = 1000 };

/* Neither read, written nor waited for since the end of stream came. */
static bool looked_at_since_fin(const struct cw_conn *conn)
{
    uint32_t last_ms = cw_later(cw_touched_ms(conn), conn->polled_ms);
    return conn->fin_ms && cw_after(last_ms, conn->fin_ms);
}

bool cw_holds_response_unread(const struct cw_facts *facts)
{
    const struct cw_conn *conn = facts->conn;
    uint32_t last_ms = cw_later(cw_touched_ms(conn), conn->polled_ms);

    /* A server that closes at once sends its FIN with the answer: the part that was read may have been read after it. */
    return conn->origin == CW_ORIGIN_CONNECT && conn->out_first_ms && (conn->k_flags & CW_K_QUEUES) &&
           conn->k_recv_q > 1 && cw_age(facts->now_ms, last_ms) >= facts->grace_ms;
}

void cw_decides_response_unread(const struct cw_facts *facts, struct cw_decision *ret)
{
    cw_decides_last_touch(facts->conn, ret);
}

bool cw_holds_idle_pooled(const struct cw_facts *facts)
{
    const struct cw_conn *conn = facts->conn;
    uint32_t touched_ms = cw_touched_ms(conn);

    if (conn->origin != CW_ORIGIN_CONNECT || !conn->turns_in || cw_has(facts, CW_CONN_LAST_WAS_OUT) || !conn->fin_ms)
        return false;
    if ((conn->k_flags & CW_K_QUEUES) && conn->k_recv_q > 1)
        return false;
    return !looked_at_since_fin(conn) && cw_age(conn->fin_ms, touched_ms) >= IDLE_MS;
}

void cw_decides_idle_pooled(const struct cw_facts *facts, struct cw_decision *ret)
{
    cw_decides_last_touch(facts->conn, ret);
}

/* In an epoll set that somebody waits on or has waited on since its last use. */
static bool still_watched(const struct cw_facts *facts)
{
    const struct cw_set *set = cw_set_of(facts);

    if (!cw_has(facts, CW_CONN_WATCHED))
        return false;
    if (!set)
        return true;
    return cw_set_waited_on(facts, set) || cw_after(cw_later(set->return_ms, set->idle_ms), cw_touched_ms(facts->conn));
}

bool cw_holds_abandoned(const struct cw_facts *facts)
{
    const struct cw_conn *conn = facts->conn;

    if (!conn->in_first_ms && !conn->out_first_ms && !cw_has(facts, CW_CONN_STDIO | CW_CONN_POLLED))
        return false;
    /* A client that closes as soon as it has its answer: its FIN may seem older than the wait that brought the request. */
    bool polled_since =
        conn->fin_ms && cw_after(conn->polled_ms, conn->fin_ms) && cw_age(conn->polled_ms, conn->fin_ms) > CW_WAKE_MS;
    return !still_watched(facts) && !polled_since && !cw_context_in_call(facts->context, conn->fd);
}

void cw_decides_abandoned(const struct cw_facts *facts, struct cw_decision *ret)
{
    cw_decides_last_touch(facts->conn, ret);
}
