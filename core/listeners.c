/* Listeners and what waits in their queues. */
#include "core/listeners.h"

#include "core/atomic.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

bool cw_listener_takes(const struct cw_conn *listener, uint8_t family, const uint8_t local[16], uint16_t port)
{
    static const uint8_t any[16];
    uint8_t own = CW_GET(listener->family);

    if (!port || CW_GET(listener->local_port) != port)
        return false;
    /* A connection has its listener's family, also an IPv4 one that an IPv6 listener has taken in. */
    if (own && family && own != family)
        return false;
    size_t bytes = family == AF_INET6 ? 16 : 4;
    return memcmp(listener->local, any, bytes) == 0 || memcmp(listener->local, local, bytes) == 0;
}

bool cw_listener_queue_known(const struct cw_conn *listener)
{
    return CW_GET(listener->k_state) == TCP_LISTEN && (CW_GET(listener->k_flags) & CW_K_QUEUES);
}

bool cw_listener_is_empty(const struct cw_conn *listener)
{
    return cw_listener_queue_known(listener) && CW_GET(listener->k_recv_q) == 0;
}

uint32_t cw_listeners_next(const struct cw_view *view, const uint32_t *listeners, uint32_t n, uint32_t from,
                           const struct cw_conn *conn)
{
    for (; from < n; from++) {
        const struct cw_conn *listener = cw_view_conn(view, listeners[from]);
        if (listener && cw_listener_takes(listener, conn->family, conn->local, conn->local_port) &&
            !cw_listener_is_empty(listener))
            break;
    }
    return from;
}
