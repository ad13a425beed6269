/* Recording: waits, and what they deliver. */
#define _GNU_SOURCE
#include "preload/kernel.h"
#include "preload/record.h"
#include "preload/stack.h"
#include "preload/sweep.h"

#include <errno.h>
#include <string.h>

uint32_t cw_on_wait_begin(int set)
{
    if (!CW_GET(CW_P->live))
        return 0;
    uint64_t slot = set >= 0 ? cw_known(set) : 0;
    uint32_t index = CW_SLOT_KIND(slot) == CW_SLOT_SET ? CW_SLOT_INDEX(slot) : 0;
    if (cw_vforked())
        return 0;
    cw_tls.accepted = 0;
    cw_thread_waits(index);
    return index;
}

void cw_on_wait_end(const struct cw_site *site, enum cw_call call, uint32_t set_index, long result)
{
    if (!CW_GET(CW_P->live) || cw_vforked())
        return;
    uint32_t now_ms = cw_now_ms(), reference = cw_thread_active(now_ms);
    if (cw_tls.wait_ra != site->ra || cw_tls.wait_sp != site->ra_at) {
        cw_tls.wait_stack = cw_stack_capture(site);
        cw_tls.wait_ra = site->ra;
        cw_tls.wait_sp = site->ra_at;
    }
    struct cw_thread *thread = cw_thread_record(reference);
    if (thread) {
        CW_SET(thread->wait_ms, now_ms);
        CW_SET(thread->wait_call, (uint8_t)call);
        CW_SET(thread->wait_res, (uint32_t)(result < 0 ? -errno : (int)result));
        CW_SET(thread->wait_stack, cw_tls.wait_stack);
    }
    if (set_index) {
        struct cw_set *set = &CW_P->view.sets[set_index];
        if (result > 0) {
            CW_SET(set->return_ms, now_ms);
            CW_SET(set->return_stack, cw_tls.wait_stack);
            CW_SET(set->return_thread, reference);
        } else {
            CW_SET(set->idle_ms, now_ms);
        }
    }
    cw_sweep_maybe(now_ms);
}

/* --- accept --- */

void cw_on_accept_begin(void)
{
    if (CW_GET(CW_P->live) && !cw_vforked())
        cw_thread_waits(0);
}

/* Where a thread waits is where it accepts only if nothing else tells it of connections: in a loop around epoll or poll an
 * accept is work like any other, and must not pass for the thread's having come back to wait. */
void cw_on_accept_end(const struct cw_site *site, enum cw_call call, int listener, int result)
{
    if (!CW_GET(CW_P->live) || cw_vforked())
        return;
    struct cw_conn *conn = cw_known_conn(listener);
    if (conn && !(CW_GET(conn->flags) & (CW_CONN_POLLED | CW_CONN_WAS_WATCHED)))
        cw_on_wait_end(site, call, 0, result);
    else
        cw_thread_active(cw_now_ms());
}

/* --- poll and select --- */

/* One call: its time and its thread go into every record. */
struct polling {
    const struct cw_site *site;
    enum cw_call call;
    uint32_t now_ms, thread;
};

static void polled(const struct polling *polling, int fd, unsigned asked, unsigned revents)
{
    struct cw_conn *conn = cw_known_conn(fd);
    if (conn && cw_conn_polled(conn, polling->call, asked, revents, polling->thread, polling->now_ms))
        cw_conn_event_stack(conn, cw_stack_capture(polling->site));
}

/* The array was read and written by the kernel just now, so it can be read here (result >= 0). */
void cw_on_poll(const struct cw_site *site, enum cw_call call, const struct pollfd *fds, nfds_t n, int result)
{
    if (!CW_GET(CW_P->live) || result < 0 || cw_vforked())
        return;
    uint32_t now_ms = cw_now_ms();
    struct polling polling = {site, call, now_ms, cw_thread_active(now_ms)};
    for (nfds_t i = 0; i < n; i++)
        if (fds[i].fd >= 0)
            polled(&polling, fds[i].fd, (unsigned short)fds[i].events, (unsigned short)fds[i].revents);
}

/* An address that cannot be read must come back as EFAULT, not fault here: the kernel copies it (to itself, by way of a
 * call that reads our memory for us). */
void cw_on_select_begin(struct cw_selecting *selecting, int n, fd_set *in, fd_set *out, fd_set *except)
{
    selecting->n = 0;
    if (n <= 0 || n > FD_SETSIZE || !CW_GET(CW_P->live))
        return;
    size_t bytes = ((size_t)n + 63) / 64 * 8;
    fd_set *const sets[CW_FDS_COUNT] = {in, out, except};
    bool any = false;
    for (unsigned i = 0; i < CW_FDS_COUNT; i++) {
        bool readable = sets[i] && cw_kernel_peek(&selecting->asked[i], sets[i], bytes);
        selecting->sets[i] = readable ? sets[i] : NULL;
        any |= readable;
    }
    if (any)
        selecting->n = n;
}

void cw_on_select_end(const struct cw_site *site, enum cw_call call, const struct cw_selecting *selecting, int result)
{
    static const unsigned stands_for[CW_FDS_COUNT] = {POLLIN, POLLOUT, POLLPRI};
    if (!selecting->n || result < 0 || !CW_GET(CW_P->live) || cw_vforked())
        return;
    uint32_t now_ms = cw_now_ms();
    struct polling polling = {site, call, now_ms, cw_thread_active(now_ms)};
    for (int fd = 0; fd < selecting->n; fd++) {
        unsigned asked = 0, revents = 0;
        for (unsigned i = 0; i < CW_FDS_COUNT; i++)
            if (selecting->sets[i] && FD_ISSET(fd, &selecting->asked[i])) {
                asked |= stands_for[i];
                revents |= FD_ISSET(fd, selecting->sets[i]) ? stands_for[i] : 0u;
            }
        if (asked)
            polled(&polling, fd, asked, revents);
    }
}
