#include "core/waitset.h"

#include "core/atomic.h"
#include "core/conn.h"

#include <poll.h>
#include <sys/syscall.h>

/* More are not looked at. */
enum { FDS_MAX = 65536, AT_ONCE = 32 };

bool cw_waitset_is(int nr)
{
    return nr == SYS_poll || nr == SYS_ppoll || nr == SYS_select || nr == SYS_pselect6;
}

static void enter(const struct cw_view *view, int64_t fd, unsigned asked, uint32_t thread, uint32_t now_ms)
{
    uint64_t slot = fd >= 0 && fd < view->n_slots ? CW_GET(view->slots[fd]) : 0;
    uint32_t index = CW_SLOT_INDEX(slot);

    if (CW_SLOT_KIND(slot) == CW_SLOT_CONN && index && index < view->n_conns &&
        (CW_GET(view->conns[index].flags) & CW_CONN_IN_USE))
        cw_conn_polled(&view->conns[index], CW_CALL_poll, asked, 0, thread, now_ms);
}

static void enter_poll(const struct cw_view *view, const struct cw_task_call *call, uint32_t thread, uint32_t now_ms,
                       cw_waitset_peek peek, void *ctx)
{
    uint64_t n = call->args[1] < FDS_MAX ? call->args[1] : FDS_MAX;
    struct pollfd some[AT_ONCE];

    for (uint64_t at = 0; at < n; at += AT_ONCE) {
        uint64_t count = n - at < AT_ONCE ? n - at : AT_ONCE;
        if (!peek(ctx, some, call->args[0] + at * sizeof(some[0]), count * sizeof(some[0])))
            return;
        for (uint64_t i = 0; i < count; i++)
            enter(view, some[i].fd, (unsigned short)some[i].events, thread, now_ms);
    }
}

/* The kernel writes into the sets only when the call returns. */
static void enter_select(const struct cw_view *view, const struct cw_task_call *call, uint32_t thread, uint32_t now_ms,
                         cw_waitset_peek peek, void *ctx)
{
    static const unsigned asked[3] = {POLLIN, POLLOUT, POLLPRI};
    uint64_t n = call->args[0] < FDS_MAX ? call->args[0] : FDS_MAX;

    for (uint64_t word = 0; word * 64 < n; word++) {
        uint64_t sets[3] = {0};
        for (unsigned k = 0; k < 3; k++)
            if (call->args[1 + k] && !peek(ctx, &sets[k], call->args[1 + k] + word * sizeof(sets[k]), sizeof(sets[k])))
                return;
        for (uint64_t any = sets[0] | sets[1] | sets[2]; any; any &= any - 1) {
            uint64_t fd = word * 64 + (unsigned)__builtin_ctzll(any);
            unsigned mask = 0;
            for (unsigned k = 0; k < 3; k++)
                mask |= sets[k] >> (fd % 64) & 1 ? asked[k] : 0;
            if (fd < n)
                enter(view, (int64_t)fd, mask, thread, now_ms);
        }
    }
}

void cw_waitset_enter(const struct cw_view *view, const struct cw_task_call *call, uint32_t thread, uint32_t now_ms,
                      cw_waitset_peek peek, void *ctx)
{
    if (call->nr == SYS_poll || call->nr == SYS_ppoll)
        enter_poll(view, call, thread, now_ms, peek, ctx);
    else if (cw_waitset_is(call->nr))
        enter_select(view, call, thread, now_ms, peek, ctx);
}
