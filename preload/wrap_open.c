/* Wrappers of calls that open and copy. */
#define _GNU_SOURCE
#include "preload/kernel.h"
#include "preload/wraps.h"

#include <string.h>

/* accept's address: the caller's own, or, where it asked for none, a buffer of ours (the one argument that a hook may
 * replace: it saves a getpeername for each connection). */
struct asked_address {
    struct sockaddr_storage own;
    struct sockaddr *address;
    socklen_t *len;
    socklen_t own_len, room;
};

static void ask_address(struct asked_address *asked, int listener, struct sockaddr *address, socklen_t *len)
{
    asked->own_len = sizeof asked->own;
    asked->room = 0;
    /* A known TCP listener's only: there are protocols whose accept fails when the address cannot be had any more. */
    bool ours = !address && cw_known_conn(listener);
    asked->address = ours ? (struct sockaddr *)&asked->own : address;
    asked->len = ours ? &asked->own_len : len;
}

/* After success the kernel has read and written *len and written the address, so both can be read here; how much it wrote
 * is the lesser of the caller's room, which is not known any more, and *len: shorter ones are looked up instead. */
static void accepted(const struct cw_site *site, enum cw_call call, int listener, int fd,
                     const struct asked_address *asked, socklen_t room)
{
    socklen_t len = 0;
    const struct sockaddr *peer = asked->address;
    if (fd >= 0 && peer && asked->len) {
        len = *asked->len;
        if (peer != (const struct sockaddr *)&asked->own && room < len)
            len = 0;
    }
    cw_on_accept(site, call, listener, fd, peer, len);
    cw_on_accept_end(site, call, listener, fd);
}

/* The caller's room, before the call overwrites it. An unreadable pointer makes the call fail with EFAULT; it must not
 * fault here: then the room counts as none. */
static socklen_t room_of(const struct sockaddr *address, const socklen_t *len)
{
    socklen_t room = 0;
    if (address && len && CW_GET(CW_P->live))
        cw_kernel_peek(&room, len, sizeof room);
    return room;
}

int cw_wrap_accept(const struct cw_site *site, int fd, struct sockaddr *address, socklen_t *len)
{
    struct asked_address asked;
    ask_address(&asked, fd, address, len);
    socklen_t room = room_of(address, len);
    cw_on_accept_begin();
    int r = CW_REAL(accept)(fd, asked.address, asked.len);
    accepted(site, CW_CALL_accept, fd, r, &asked, room);
    return r;
}

int cw_wrap_accept4(const struct cw_site *site, int fd, struct sockaddr *address, socklen_t *len, int flags)
{
    struct asked_address asked;
    ask_address(&asked, fd, address, len);
    socklen_t room = room_of(address, len);
    cw_on_accept_begin();
    int r = CW_REAL(accept4)(fd, asked.address, asked.len, flags);
    accepted(site, CW_CALL_accept4, fd, r, &asked, room);
    return r;
}

/* dup2 and dup3 close what the second number meant. */
static int copied(const struct cw_site *site, enum cw_call call, int fd, int fd2, const struct cw_closing *closing,
                  int r)
{
    int saved = errno;
    cw_close_end(site, call, closing, r >= 0);
    if (r >= 0 && fd != fd2) {
        cw_on_dup(site, call, fd, fd2);
        if (fd2 == 2 && !cw_vforked())
            CW_SET(cw_static.fd2_replaced, 1);
    }
    errno = saved;
    return r;
}

int cw_wrap_dup2(const struct cw_site *site, int fd, int fd2)
{
    struct cw_closing closing = {.fd = fd2};
    if (fd != fd2)
        cw_close_begin(&closing, fd2);
    return copied(site, CW_CALL_dup2, fd, fd2, &closing, CW_REAL(dup2)(fd, fd2));
}

int cw_wrap_dup3(const struct cw_site *site, int fd, int fd2, int flags)
{
    struct cw_closing closing = {.fd = fd2};
    if (fd != fd2)
        cw_close_begin(&closing, fd2);
    return copied(site, CW_CALL_dup3, fd, fd2, &closing, CW_REAL(dup3)(fd, fd2, flags));
}

int cw_wrap_pipe2(const struct cw_site *site, int fds[2], int flags)
{
    (void)site;
    if (__builtin_expect(cw_tls.guard != 0, 0) && cw_stack_guarded())
        return cw_fence_pipe2(fds, flags);
    int r = CW_REAL(pipe2)(fds, flags);
    cw_on_other_fds(fds, r == 0 ? 2 : 0);
    return r;
}
