/* Makers: each adds to a made-up world the facts for which one diagnosis of its socket holds. */
#ifndef TEST_UNIT_MAKERS_H
#define TEST_UNIT_MAKERS_H

#include "test/unit/world.h"

/* --- facts that several makers need --- */

static inline void make_unused(struct world *w)
{
    w->conn->flags &= ~(uint32_t)(CW_CONN_POLLED | CW_CONN_STDIO | CW_CONN_WATCHED | CW_CONN_WAS_WATCHED);
    w->conn->polled_ms = w->conn->event_ms = w->conn->in_first_ms = w->conn->in_last_ms = w->conn->turns_in = 0;
    w->conn->out_first_ms = w->conn->out_last_ms = 0;
}

static inline void make_read(struct world *w)
{
    w->conn->in_first_ms = w->conn->in_last_ms = world_at(w, AT_USE);
    w->conn->in_last_res = 100;
    w->conn->in_call = CW_CALL_recv;
    w->conn->touch_stack = w->touch_stack;
    w->conn->touch_thread = w->worker;
}

static inline void make_watched(struct world *w, uint32_t mask)
{
    w->conn->flags |= CW_CONN_WATCHED | CW_CONN_WAS_WATCHED;
    w->conn->epoll_sets = 1;
    w->conn->epoll_fd = 5;
    w->conn->epoll_set = w->set;
    w->conn->epoll_mask = mask;
    w->conn->ctl_ms = world_at(w, AT_OPEN + 10);
    w->conn->ctl_stack = w->ctl_stack;
}

static inline void make_unpolled(struct world *w)
{
    w->conn->flags &= ~(uint32_t)CW_CONN_POLLED;
    w->conn->polled_ms = 0;
}

static inline void make_unwatched(struct world *w)
{
    w->conn->flags &= ~(uint32_t)(CW_CONN_WATCHED | CW_CONN_WAS_WATCHED);
}

/* The set has returned at that time, and somebody waits on it now. */
static inline void make_set_alive(struct world *w, uint32_t returned)
{
    world_set(w)->return_ms = world_at(w, returned);
    world_set(w)->return_stack = w->wait_stack;
    world_set(w)->return_thread = w->waiter;
    world_thread(w, w->waiter)->in_wait = 1;
    world_thread(w, w->waiter)->waiting_set = w->set;
}

static inline void make_blocked(struct world *w, uint32_t thread, int syscall, int object)
{
    struct cw_thread *t = world_thread(w, thread);
    t->k_ms = world_at(w, NOW);
    t->k_state = 'S';
    t->k_syscall = (int16_t)syscall;
    t->k_object = object;
}

/* --- one maker for each form of each diagnosis --- */

static inline void make_error_not_closed(struct world *w)
{
    w->conn->k_state = TCP_CLOSE;
}

static inline void make_never_accepted(struct world *w)
{
    w->conn->origin = CW_ORIGIN_QUEUED;
    w->conn->fd = -1;
    if (!w->listener)
        w->listener = fixture_listener(w->f, world_at(w, AT_OPEN));
}

static inline void make_held_forked(struct world *w)
{
    make_unused(w);
    w->conn->origin = CW_ORIGIN_FORKED;
    w->f->header.flags |= CW_HEADER_FORKED;
    w->f->header.fork_stack = w->fork_stack;
    w->f->header.fork_ms = world_at(w, AT_OPEN);
}

static inline void make_held_passed(struct world *w)
{
    w->conn->flags |= CW_CONN_SCM_SENT;
    w->conn->copy_close_ms = world_at(w, NOW - 4000);
    w->conn->copy_stack = w->copy_stack;
}

static inline void make_held_copied(struct world *w)
{
    if (!w->conn->in_first_ms)
        make_read(w);
    w->conn->flags |= CW_CONN_COPIED;
    w->conn->copy_close_ms = world_at(w, NOW - 4000);
    w->conn->copy_stack = w->copy_stack;
}

static inline void make_left_to_child(struct world *w)
{
    make_unused(w);
    w->conn->origin = CW_ORIGIN_ACCEPT;
    w->conn->open_thread = w->worker;
    struct cw_fork *fork = fixture_fork(w->f, w->worker, world_at(w, AT_OPEN + 5));
    fork->stack = w->fork_stack;
    fork->pid = 5000;
    fork->conn = (uint32_t)(w->conn - w->f->view.conns);
    fork->conn_generation = w->conn->generation;
}

static inline void make_eof(struct world *w)
{
    w->conn->flags |= CW_CONN_EOF_SEEN | CW_CONN_EOF_CONSUMED;
    w->conn->eof_ms = world_at(w, AT_FIN + 10);
    w->conn->eof_stack = w->eof_stack;
    w->conn->eof_call = CW_CALL_read;
}

static inline void make_half_open(struct world *w)
{
    make_eof(w);
    if (!w->conn->out_first_ms)
        w->conn->out_first_ms = world_at(w, AT_USE);
    w->conn->out_last_ms = world_at(w, NOW - 5000);
    w->conn->out_last_res = 10;
    w->conn->out_gap_ds = 30;
    w->conn->k_last_data_sent = 5000;
}

static inline void make_half_open_sending(struct world *w)
{
    make_eof(w);
    w->conn->k_send_q = 4000;
    w->conn->k_last_data_sent = 500;
}

/* The worker's handler has not returned; its loop waits in the frame before. */
static inline void make_stuck_handler(struct world *w)
{
    struct cw_thread *worker = world_thread(w, w->worker);

    make_read(w);
    worker->wait_ms = world_at(w, AT_USE - 10);
    worker->wait_stack = w->wait_stack;
    worker->wait_call = CW_CALL_epoll_wait;
    w->conn->k_live = 2;
    make_blocked(w, w->worker, SYS_futex, 4244);
}

/* The worker has not come back to the set since it returned with the end of stream, and is at another connection. */
static inline void make_stuck_loop(struct world *w)
{
    make_watched(w, EPOLLIN);
    world_set(w)->return_ms = world_at(w, AT_FIN);
    world_set(w)->return_thread = w->worker;
    world_thread(w, w->worker)->wait_ms = world_at(w, AT_FIN);
    world_thread(w, w->worker)->wait_stack = w->wait_stack;
    world_thread(w, w->worker)->wait_call = CW_CALL_epoll_wait;
    w->other->in_first_ms = w->other->in_last_ms = world_at(w, AT_FIN + 20);
    w->other->in_call = CW_CALL_recvmsg;
    w->other->touch_thread = w->worker;
    w->other->touch_stack = w->touch_stack;
    make_blocked(w, w->worker, SYS_read, 33);
}

static inline void make_stuck_poll(struct world *w)
{
    make_unwatched(w);
    w->conn->flags |= CW_CONN_POLLED;
    w->conn->polled_ms = world_at(w, AT_FIN);
    w->conn->ctl_thread = w->worker;
    world_thread(w, w->worker)->wait_ms = world_at(w, AT_FIN);
    world_thread(w, w->worker)->wait_stack = w->wait_stack;
    world_thread(w, w->worker)->wait_call = CW_CALL_poll;
}

static inline void make_paused(struct world *w)
{
    make_read(w);
    make_watched(w, EPOLLOUT);
    w->conn->ctl_ms = world_at(w, AT_USE + 1);
    make_set_alive(w, AT_USE);
}

static inline void make_paused_oneshot(struct world *w)
{
    make_paused(w);
    w->conn->ctl_ms = world_at(w, AT_USE - 1);
    w->conn->epoll_mask = EPOLLONESHOT | EPOLLET;
}

static inline void make_paused_poll(struct world *w)
{
    make_unwatched(w);
    make_read(w);
    w->conn->flags |= CW_CONN_POLLED;
    w->conn->polled_ms = world_at(w, AT_LATER);
    w->conn->poll_mask = POLLOUT;
}

/* Polled for writing alone, and not any more. */
static inline void make_paused_once(struct world *w)
{
    make_paused_poll(w);
    w->conn->polled_ms = world_at(w, AT_USE + 5);
}

static inline void make_ignored_poll(struct world *w)
{
    make_unwatched(w);
    w->conn->flags |= CW_CONN_POLLED;
    w->conn->polled_ms = w->conn->event_ms = world_at(w, AT_FIN + 1);
    w->conn->event_stack = w->event_stack;
    w->conn->event_call = CW_CALL_poll;
    w->conn->event_mask = POLLIN | POLLRDHUP;
}

static inline void make_ignored_epoll(struct world *w)
{
    make_watched(w, EPOLLIN | EPOLLRDHUP | EPOLLET);
    make_set_alive(w, AT_FIN + 3);
}

static inline void make_ignored_oneshot(struct world *w)
{
    make_watched(w, EPOLLONESHOT);
    make_set_alive(w, AT_FIN + 3);
}

static inline void make_taken_out(struct world *w)
{
    make_unpolled(w);
    make_watched(w, EPOLLIN);
    w->conn->flags &= ~(uint32_t)CW_CONN_WATCHED;
    w->conn->ctl_op = EPOLL_CTL_DEL;
    w->conn->ctl_ms = world_at(w, AT_USE + 5);
}

static inline void make_deaf(struct world *w)
{
    make_unpolled(w);
    make_watched(w, EPOLLOUT);
}

static inline void make_never_watched(struct world *w)
{
    make_unpolled(w);
    make_unwatched(w);
    w->conn->in_first_ms = w->conn->in_last_ms = w->conn->turns_in = 0;
}

static inline void make_dead_set(struct world *w)
{
    make_unpolled(w);
    make_watched(w, EPOLLIN);
    w->conn->in_first_ms = w->conn->in_last_ms = w->conn->turns_in = 0;
}

static inline void make_response_unread(struct world *w)
{
    w->conn->origin = CW_ORIGIN_CONNECT;
    w->conn->open_call = CW_CALL_socket;
    w->conn->out_first_ms = w->conn->out_last_ms = world_at(w, AT_USE);
    w->conn->touch_stack = w->touch_stack;
    w->conn->out_call = CW_CALL_send;
    w->conn->k_recv_q = 501;
}

static inline void make_idle_pooled(struct world *w)
{
    make_read(w);
    w->conn->polled_ms = w->conn->flags & CW_CONN_POLLED ? world_at(w, AT_USE) : 0;
    w->conn->origin = CW_ORIGIN_CONNECT;
    w->conn->open_call = CW_CALL_socket;
    w->conn->out_first_ms = w->conn->out_last_ms = world_at(w, AT_USE - 10);
    w->conn->turns_in = 3;
}

static inline void make_owner_gone(struct world *w)
{
    make_read(w);
    w->conn->touch_thread = w->passer;
    world_thread(w, w->passer)->exit_ms = world_at(w, AT_LATER);
}

static inline void make_abandoned(struct world *w)
{
    make_read(w);
    make_unpolled(w);
    w->conn->flags &= ~(uint32_t)CW_CONN_WATCHED;
}

/* Written and forgotten; never watched, too. */
static inline void make_written(struct world *w)
{
    make_unpolled(w);
    w->conn->flags &= ~(uint32_t)CW_CONN_WATCHED;
    w->conn->out_first_ms = w->conn->out_last_ms = world_at(w, AT_USE + 1);
    w->conn->touch_stack = w->touch_stack;
    w->conn->out_call = CW_CALL_write;
}

static inline void make_untracked(struct world *w)
{
    w->conn->origin = CW_ORIGIN_UNTRACKED;
    w->conn->open_stack = 0;
    w->conn->open_ms = 0;
}

static inline void make_fin_unread(struct world *w)
{
    (void)w;
}

/* diagnosis, maker, member of struct world that is the deciding stack (or none), the call made there */
#define MAKERS(X)                                                                                                      \
    X(ERROR_NOT_CLOSED, make_error_not_closed, none, none)                                                             \
    X(NEVER_ACCEPTED, make_never_accepted, none, none)                                                                 \
    X(HELD_ELSEWHERE, make_held_forked, fork_stack, fork)                                                              \
    X(HELD_ELSEWHERE, make_held_passed, copy_stack, sendmsg)                                                           \
    X(HELD_ELSEWHERE, make_held_copied, copy_stack, dup)                                                               \
    X(LEFT_TO_CHILD, make_left_to_child, fork_stack, fork)                                                             \
    X(HALF_OPEN, make_half_open, eof_stack, read)                                                                      \
    X(HALF_OPEN, make_half_open_sending, eof_stack, read)                                                              \
    X(OWNER_STUCK, make_stuck_handler, touch_stack, recv)                                                              \
    X(OWNER_STUCK, make_stuck_loop, touch_stack, recvmsg)                                                              \
    X(OWNER_STUCK, make_stuck_poll, wait_stack, poll)                                                                  \
    X(EOF_NOT_CLOSED, make_eof, eof_stack, read)                                                                       \
    X(READING_PAUSED, make_paused, ctl_stack, epoll_ctl)                                                               \
    X(READING_PAUSED, make_paused_oneshot, ctl_stack, epoll_ctl)                                                       \
    X(READING_PAUSED, make_paused_poll, none, none)                                                                    \
    X(EVENT_IGNORED, make_ignored_poll, event_stack, poll)                                                             \
    X(EVENT_IGNORED, make_ignored_epoll, wait_stack, epoll_wait)                                                       \
    X(EVENT_IGNORED, make_ignored_oneshot, wait_stack, epoll_wait)                                                     \
    X(UNWATCHED, make_taken_out, ctl_stack, epoll_ctl)                                                                 \
    X(UNWATCHED, make_deaf, ctl_stack, epoll_ctl)                                                                      \
    X(NEVER_WATCHED, make_never_watched, none, none)                                                                   \
    X(NEVER_WATCHED, make_dead_set, none, none)                                                                        \
    X(RESPONSE_UNREAD, make_response_unread, touch_stack, send)                                                        \
    X(IDLE_POOLED, make_idle_pooled, touch_stack, recv)                                                                \
    X(OWNER_GONE, make_owner_gone, touch_stack, recv)                                                                  \
    X(ABANDONED, make_abandoned, touch_stack, recv)                                                                    \
    X(ABANDONED, make_paused_once, touch_stack, recv)                                                                  \
    X(UNTRACKED, make_untracked, none, none)                                                                           \
    X(FIN_UNREAD, make_fin_unread, none, none)

struct maker {
    enum cw_diagnosis_id id;
    const char *name;
    void (*make)(struct world *w);
};
static const struct maker makers[] = {
#define X(id, function, stack, call) {CW_DIAGNOSIS_##id, #function, function},
    MAKERS(X)
#undef X
};
enum { MAKERS_COUNT = sizeof(makers) / sizeof(makers[0]) };

#endif
