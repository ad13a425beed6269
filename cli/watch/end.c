/* The last look and what the ledger says, made one; and the ledgers of processes that have ended. */
#define _GNU_SOURCE
#include "cli/watch/parts.h"

#include "cli/cli.h"
#include "cli/ledger/adopt.h"
#include "cli/ledger/find.h"
#include "core/ages.h"
#include "core/atomic.h"
#include "core/frames.h"
#include "core/truth.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* IPPROTO_MPTCP as struct cw_conn has it: no dump lists such a socket. */
enum { MPTCP_IN_RECORDS = 255 };

static uint32_t conns_used(const struct cw_view *view)
{
    uint32_t used = view->header->sections[CW_SECTION_CONNS].used;
    return used < view->n_conns ? used : view->n_conns;
}

/* --- the last look --- */

/* The recorder has looked at it later than we have. */
static bool is_newer(const struct cw_conn *conn, uint32_t look_ms)
{
    return conn->k_state && cw_after(conn->k_ms, look_ms);
}

/* What the recorder's sweeps have left: no socket that it saw in CLOSE_WAIT before the look is so still, but for those that the
 * look has found. Failed ones are in no dump: there its word stands. */
static void begin(struct cw_view *view, uint32_t look_ms)
{
    for (uint32_t i = 1; i < conns_used(view); i++) {
        struct cw_conn *conn = &view->conns[i];
        if (!(conn->flags & CW_CONN_IN_USE) || (conn->flags & CW_CONN_LATE) || cw_after(conn->k_ms, look_ms))
            continue;
        if (conn->k_state != TCP_CLOSE && conn->protocol != MPTCP_IN_RECORDS) {
            conn->k_state = 0;
            conn->k_ms = look_ms;
        }
    }
}

/* Whether no hook has seen the fd closed since. One that is being closed counts as closed. */
static bool is_open_still(const struct cw_view *view, const struct cw_watch_sock *sock)
{
    uint64_t now = (uint32_t)sock->fd < view->n_slots ? view->slots[sock->fd] : 0;
    bool closing = (now & CW_SLOT_CLOSING) && !(now & CW_SLOT_SETTLED);

    return !closing &&
           (now & ~(CW_SLOT_CLOSING | CW_SLOT_SETTLED)) == (sock->slot & ~(CW_SLOT_CLOSING | CW_SLOT_SETTLED));
}

static void enter_sock(struct cw_truth_check *check, const struct cw_watched *watched, const struct cw_watch_sock *sock)
{
    const struct cw_conn *known = cw_slot_conn(check->view, sock->fd);

    if (!is_open_still(check->view, sock) || (known && is_newer(known, check->now_ms)))
        return;
    cw_truth_fd(check, sock->fd, &sock->sock);
    known = cw_slot_conn(check->view, sock->fd);
    /* Where neither a hook nor the kernel dates its FIN, our looks do. */
    if (known && known->inode == sock->sock.inode && !known->fin_ms)
        check->view->conns[known - check->view->conns].fin_ms = cw_watch_ms(watched, sock->since_ns);
}

void cw_watch_enter(struct cw_load *load, const struct cw_watched *watched)
{
    struct cw_view *view = &load->view;
    struct cw_truth_check check = {.view = view,
                                   .now_ms = cw_watch_ms(watched, watched->look_ns),
                                   .new_conn = cw_load_new_conn,
                                   .ctx = load,
                                   .parent_lives = watched->parent_lives};

    if (!watched->look_ns)
        return;
    begin(view, check.now_ms);
    for (size_t i = 0; i < watched->n_socks; i++) {
        const struct cw_watch_sock *sock = &watched->socks[i];
        if (sock->sock.state == TCP_LISTEN && is_open_still(view, sock))
            cw_truth_listener(&check, sock->fd, &sock->sock);
    }
    for (size_t i = 0; i < watched->n_socks; i++) {
        const struct cw_watch_sock *sock = &watched->socks[i];
        if (sock->sock.state == TCP_CLOSE_WAIT && sock->fd >= 0)
            enter_sock(&check, watched, sock);
        else if (sock->sock.state == TCP_CLOSE_WAIT)
            cw_truth_queued(&check, &sock->sock, 0);
    }
    if (view->header->truth != CW_TRUTH_KERNEL)
        view->header->truth = CW_TRUTH_SWEEP;
    view->header->truth_ms = cw_later(view->header->truth_ms, check.now_ms);
    if (check.no_room)
        snprintf(load->remark, sizeof load->remark, "%u sockets that no hook saw are left out: too many",
                 check.no_room);
}

/* --- taking in --- */

/* Whether its report could have anything to say of it, but that it was there. */
static bool says_something(const struct cw_view *view)
{
    const struct cw_ledger *header = view->header;

    if (header->flags & CW_HEADER_OFF)
        return true;
    for (uint32_t i = 1; i < conns_used(view); i++) {
        const struct cw_conn *conn = &view->conns[i];
        bool by_hooks = header->truth != CW_TRUTH_KERNEL && (conn->flags & CW_CONN_EOF_CONSUMED);
        if ((conn->flags & CW_CONN_IN_USE) &&
            ((conn->flags & CW_CONN_LATE) || conn->k_state == TCP_CLOSE_WAIT || conn->k_state == TCP_CLOSE || by_hooks))
            return true;
    }
    return false;
}

/* Nothing but the header: of a process that has left nothing. */
static void reduce(struct cw_load *load)
{
    const uint32_t room[CW_SECTION_COUNT] = {0};
    struct cw_load small;

    if (cw_load_empty(&small, room) < 0)
        return;
    struct cw_ledger *header = small.view.header;
    struct cw_section sections[CW_SECTION_COUNT];
    memcpy(sections, header->sections, sizeof sections);
    memcpy(header, load->view.header, sizeof *header);
    memcpy(header->sections, sections, sizeof sections);
    memcpy(small.remark, load->remark, sizeof small.remark);
    cw_load_free(load);
    *load = small;
}

static void remove_file(const struct cw_watched *watched)
{
    const char *name = cw_basename(watched->path);
    int dir_fd = watched->dir_fd >= 0 ? watched->dir_fd : AT_FDCWD;
    const char *path = watched->dir_fd >= 0 ? name : watched->path;
    struct stat ours, there;

    if (fstat(watched->fd, &ours) == 0 && fstatat(dir_fd, path, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
        ours.st_dev == there.st_dev && ours.st_ino == there.st_ino)
        unlinkat(dir_fd, path, 0);
}

/* Sockets of the last look that no record stands for. */
static bool needs_room(const struct cw_watched *watched)
{
    for (size_t i = 0; i < watched->n_socks; i++)
        if (watched->socks[i].sock.state == TCP_CLOSE_WAIT && (watched->socks[i].by_proc || watched->socks[i].fd < 0))
            return true;
    return false;
}

/* Killed, or crashed: nobody has asked the kernel at its end, so that the last look is the last word. After an exec that no
 * recorder has followed, the ledger is that of the program before. */
static void complete(struct cw_load *load, const struct cw_watched *watched)
{
    struct cw_ledger *header = load->view.header;
    bool own_end = header->ended == CW_ENDED_EXIT || header->ended == CW_ENDED_SIGNAL;

    /* Without an fd to spare it could not ask who waits in its listeners' queues. */
    if (own_end && header->truth == CW_TRUTH_KERNEL && !(header->flags & CW_HEADER_NO_FDS))
        return;
    if (!own_end) {
        header->ended = CW_ENDED_KILLED;
        if (header->truth == CW_TRUTH_KERNEL)
            header->truth = CW_TRUTH_SWEEP;
    }
    cw_watch_enter(load, watched);
}

void cw_watch_take_in(struct cw_watch *watch, struct cw_watched *watched)
{
    char why[256];
    struct cw_load load;

    if (cw_load_ledger(&load, watched->fd, needs_room(watched), why, sizeof why) < 0) {
        cw_say("%s %s", watched->path, why);
        return;
    }
    if (cw_adopt_wanted(&load)) {
        cw_load_free(&load);
        if (cw_load_ledger(&load, watched->fd, true, why, sizeof why) < 0) {
            cw_say("%s %s", watched->path, why);
            return;
        }
        cw_watch_adopt(watch, watched, &load);
    }
    complete(&load, watched);
    if (!says_something(&load.view))
        reduce(&load);
    watched->load = load;
    watched->kept = true;
    remove_file(watched);
}

/* --- going before it does --- */

void cw_watch_leave(const struct cw_watched *watched)
{
    struct stat ours, there;
    int fd = watched->fd >= 0 ? open(watched->path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;

    if (fd < 0)
        return;
    if (fstat(watched->fd, &ours) == 0 && fstat(fd, &there) == 0 && ours.st_dev == there.st_dev &&
        ours.st_ino == there.st_ino && there.st_size >= (off_t)sizeof(struct cw_ledger)) {
        struct cw_ledger *header = mmap(NULL, sizeof *header, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (header != MAP_FAILED) {
            CW_OR(header->flags, CW_HEADER_RUN_GONE); /* the recorder changes others at the same time */
            munmap(header, sizeof *header);
        }
    }
    close(fd);
}

/* --- exec --- */

void cw_watch_keep_image(struct cw_watched *watched, struct cw_load *load)
{
    struct cw_load *more = realloc(watched->images, (watched->n_images + 1) * sizeof *more);

    if (!more) {
        cw_load_free(load);
        return;
    }
    watched->images = more;
    watched->images[watched->n_images++] = *load;
}

void cw_watch_adopt(const struct cw_watch *watch, const struct cw_watched *watched, struct cw_load *load)
{
    const struct cw_ledger *header = load->view.header;

    for (size_t i = watched->n_images; i-- && cw_adopt_wanted(load);)
        cw_adopt_from(load, &watched->images[i]);
    for (size_t i = 0; i < watch->n_list && cw_adopt_wanted(load); i++) {
        const struct cw_watched *parent = watch->list[i];
        struct cw_load of_parent;
        char why[256];
        if (parent == watched || parent->inner_pid != header->ppid || parent->pid_ns != header->pid_ns)
            continue;
        for (size_t k = parent->n_images; k--;)
            cw_adopt_from(load, &parent->images[k]);
        if (parent->kept) {
            cw_adopt_from(load, &parent->load);
        } else if (parent->fd >= 0 && cw_load_ledger(&of_parent, parent->fd, false, why, sizeof why) == 0) {
            cw_adopt_from(load, &of_parent);
            cw_load_free(&of_parent);
        }
    }
}
