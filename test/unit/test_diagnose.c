/* core/diagnose.c, core/diagnosis_*.c: every diagnosis on made-up facts, and at its limits. Which of two wins:
 * test_diagnose_pairs.c. */
#define _GNU_SOURCE /* POLLRDHUP */
#include "test/unit/makers.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Times that wrap between the opening and the FIN, between the FIN and now, and not at all. */
static const uint32_t bases[] = {0, UINT32_MAX - AT_USE - 1000, UINT32_MAX - AT_LATER - 1000};

static void expect(struct world *w, const char *name, enum cw_diagnosis_id id)
{
    struct cw_facts facts = world_facts(w);
    enum cw_diagnosis_id found = cw_diagnose(&facts);

    if (found != id || !cw_diagnoses[id].holds(&facts))
        fail_msg("%s: %s instead of %s", name, cw_diagnoses[found].id, cw_diagnoses[id].id);
}

static void test_each_holds(void **state)
{
    (void)state;
    for (size_t b = 0; b < sizeof(bases) / sizeof(bases[0]); b++) {
        for (size_t i = 0; i < MAKERS_COUNT; i++) {
            struct world w;
            world_new(&w, bases[b]);
            expect(&w, "nothing", CW_DIAGNOSIS_FIN_UNREAD);
            makers[i].make(&w);
            expect(&w, makers[i].name, makers[i].id);
            world_free(&w);
        }
    }
    for (unsigned i = 0; i < CW_DIAGNOSIS_COUNT; i++) {
        size_t n = 0;
        for (size_t k = 0; k < MAKERS_COUNT; k++)
            n += makers[k].id == i;
        assert_true(n > 0);
    }
}

static void test_each_decides(void **state)
{
    (void)state;
#define X(diagnosis, maker, stack_member, call_name)                                                                   \
    do {                                                                                                               \
        struct world w;                                                                                                \
        world_new(&w, 0);                                                                                              \
        maker(&w);                                                                                                     \
        struct cw_facts facts = world_facts(&w);                                                                       \
        struct cw_decision decision = cw_decide(CW_DIAGNOSIS_##diagnosis, &facts);                                     \
        if (decision.stack != w.stack_member || decision.call != CW_CALL_##call_name)                                  \
            fail_msg(#maker ": stack %u, call %u", decision.stack, decision.call);                                     \
        world_free(&w);                                                                                                \
    } while (0);
    MAKERS(X)
#undef X
}

/* --- limits: a maker, what is changed afterwards, and whether the diagnosis still holds --- */

#define CHANGES(X)                                                                                                     \
    X(make_error_not_closed, false, c->k_state = TCP_CLOSE_WAIT)                                                       \
    X(make_never_accepted, false, c->origin = CW_ORIGIN_ACCEPT)                                                        \
    X(make_never_accepted, true, w->listener->flags = 0)                                                               \
    /* held-elsewhere */                                                                                               \
    X(make_held_forked, true, c->origin = CW_ORIGIN_INHERITED)                                                         \
    X(make_held_forked, false, c->in_first_ms = AT_USE)                                                                \
    X(make_held_forked, false, c->out_first_ms = AT_USE)                                                               \
    X(make_held_forked, false, c->flags |= CW_CONN_POLLED)                                                             \
    X(make_held_forked, false, c->flags |= CW_CONN_STDIO)                                                              \
    X(make_held_forked, false, c->flags |= CW_CONN_WAS_WATCHED)                                                        \
    X(make_held_passed, false, c->flags &= ~(uint32_t)CW_CONN_SCM_SENT)                                                \
    X(make_held_passed, true, c->in_last_ms = NOW - 4000)                                                              \
    X(make_held_passed, false, c->in_last_ms = NOW - 3999)                                                             \
    X(make_held_passed, false, c->out_last_ms = NOW - 3999)                                                            \
    X(make_held_passed, false, c->ctl_ms = NOW - 3999)                                                                 \
    X(make_held_passed, false, c->polled_ms = NOW - 3999)                                                              \
    X(make_held_copied, false, c->flags &= ~(uint32_t)CW_CONN_COPIED)                                                  \
    X(make_held_copied, false, c->copy_close_ms = 0)                                                                   \
    X(make_held_copied, false, (make_unused(w), c->ctl_ms = 0))                                                        \
    X(make_held_copied, true, c->in_last_ms = NOW - 4000)                                                              \
    X(make_held_copied, false, c->in_last_ms = NOW - 3999)                                                             \
    /* left-to-child */                                                                                                \
    X(make_left_to_child, false, c->origin = CW_ORIGIN_FORKED)                                                         \
    X(make_left_to_child, false, c->in_first_ms = AT_USE)                                                              \
    X(make_left_to_child, false, c->flags |= CW_CONN_WAS_WATCHED)                                                      \
    X(make_left_to_child, false, c->open_thread = 0)                                                                   \
    X(make_left_to_child, false, c->open_thread = w->waiter)                                                           \
    X(make_left_to_child, false, c->fork_seq = 1)                                                                      \
    X(make_left_to_child, false, c->fork_seq = 77)                                                                     \
    X(make_left_to_child, false, w->f->view.forks[1].seq = 1 + FIXTURE_FORKS)                                          \
    X(make_left_to_child, false, w->f->header.sections[CW_SECTION_FORKS].capacity = 0)                                 \
    X(make_left_to_child, false, w->f->view.n_forks = 1)                                                               \
    /* half-open */                                                                                                    \
    X(make_half_open, false, c->flags &= ~(uint32_t)CW_CONN_EOF_SEEN)                                                  \
    X(make_half_open, true, c->out_last_ms = NOW - 5999)                                                               \
    X(make_half_open, false, c->out_last_ms = NOW - 6000)                                                              \
    X(make_half_open, false, c->out_gap_ds = 25)                                                                       \
    X(make_half_open, true, (c->out_gap_ds = 0, c->out_last_ms = NOW - GRACE + 1))                                     \
    X(make_half_open, false, (c->out_gap_ds = 0, c->out_last_ms = NOW - GRACE))                                        \
    X(make_half_open, false, c->out_last_res = -EPIPE)                                                                 \
    X(make_half_open, false, c->out_last_res = 0)                                                                      \
    X(make_half_open, false, c->eof_ms = c->out_last_ms)                                                               \
    X(make_half_open_sending, false, c->flags &= ~(uint32_t)CW_CONN_EOF_SEEN)                                          \
    X(make_half_open_sending, false, c->k_send_q = 0)                                                                  \
    X(make_half_open_sending, false, c->k_flags = 0)                                                                   \
    X(make_half_open_sending, false, c->k_last_data_sent = 0) /* not known */                                          \
    X(make_half_open_sending, true, c->k_last_data_sent = GRACE - 1)                                                   \
    X(make_half_open_sending, false, c->k_last_data_sent = GRACE)                                                      \
    /* owner-stuck, its handler has not returned */                                                                    \
    X(make_stuck_handler, false, c->k_live = 0)                                                                        \
    X(make_stuck_handler, true, c->k_live = 1)                                                                         \
    X(make_stuck_handler, false, c->k_live = 3) /* these frames it has when it waits */                                \
    X(make_stuck_handler, false, c->k_live = 5)                                                                        \
    X(make_stuck_handler, false, c->k_live = 255)                                                                      \
    X(make_stuck_handler, false, c->flags |= CW_CONN_LATE)                                                             \
    X(make_stuck_handler, false, c->touch_thread = 0)                                                                  \
    X(make_stuck_handler, false, c->touch_thread += 1u << 16) /* its record is another thread's now */                 \
    X(make_stuck_handler, false, c->touch_stack = 0)                                                                   \
    X(make_stuck_handler, true, c->in_last_ms = NOW - GRACE)                                                           \
    X(make_stuck_handler, false, c->in_last_ms = NOW - GRACE + 1)                                                      \
    X(make_stuck_handler, true, worker->wait_ms = NOW - GRACE)                                                         \
    X(make_stuck_handler, false, worker->wait_ms = NOW - GRACE + 1)                                                    \
    X(make_stuck_handler, false, worker->exit_ms = AT_LATER)                                                           \
    X(make_stuck_handler, false, worker->k_state = 'X')                                                                \
    X(make_stuck_handler, false, worker->k_state = 'Z')                                                                \
    X(make_stuck_handler, false, (w->f->header.ended = CW_ENDED_EXIT, w->f->header.end_thread = w->worker))            \
    X(make_stuck_handler, true, (w->f->header.ended = CW_ENDED_SIGNAL, w->f->header.end_thread = w->worker))           \
    X(make_stuck_handler, false, interpret(w, 2))                                                                      \
    X(make_stuck_handler, false, interpret(w, 4))                                                                      \
    X(make_stuck_handler, true, interpret(w, 1)) /* that one has returned */                                           \
    X(make_stuck_handler, false, compile(w, 2))                                                                        \
    X(make_stuck_handler, false, compile(w, 3))                                                                        \
    /* Nothing says what the thread looks like when it is idle: its own frames count, libc's start of it does not, */  \
    /* unless it waits for a lock that somebody holds. */                                                              \
    X(make_stuck_handler, false, (worker->wait_stack = 0, worker->k_object = 0)) /* a pool's condition variable */     \
    X(make_stuck_handler, true, worker->k_object = 0)                                                                  \
    X(make_stuck_handler, false, (worker->k_object = 0, cut(w, w->touch_stack, CW_STACK_TRUNCATED)))                   \
    X(make_stuck_handler, false, (worker->k_object = 0, cut(w, w->wait_stack, CW_STACK_CALLER_ONLY)))                  \
    X(make_stuck_handler, true, cut(w, w->wait_stack, CW_STACK_TRUNCATED)) /* a lock that somebody holds */            \
    X(make_stuck_handler, true,                                                                                        \
      (worker->wait_stack = 0, worker->k_object = 0, worker->k_syscall = SYS_read, c->k_live = 1))                     \
    X(make_stuck_handler, false, (worker->wait_stack = 0, worker->k_object = 0, c->k_live = 4))                        \
    X(make_stuck_handler, true, (worker->wait_stack = 0, c->k_live = 4))                                               \
    /* The next client's request is waited for: idle, by the same functions over again. */                             \
    X(make_stuck_handler, false, read_next(w, SYS_recvfrom))                                                           \
    X(make_stuck_handler, false, read_next(w, SYS_read))                                                               \
    X(make_stuck_handler, true, (read_next(w, SYS_read), w->other->flags &= ~(uint32_t)CW_CONN_LAST_WAS_OUT))          \
    X(make_stuck_handler, false, (read_next(w, SYS_read), w->other->in_first_ms = 0, w->other->open_ms = c->open_ms))  \
    X(make_stuck_handler, false,                                                                                       \
      (read_next(w, SYS_read), w->other->in_first_ms = 0, w->other->open_ms = c->open_ms + 1))                         \
    X(make_stuck_handler, true, (read_next(w, SYS_read), w->other->in_first_ms = 0))                                   \
    X(make_stuck_handler, true, (read_next(w, SYS_recvfrom), w->other->origin = CW_ORIGIN_CONNECT))                    \
    X(make_stuck_handler, true, read_next(w, SYS_sendto))                                                              \
    X(make_stuck_handler, true, (read_next(w, SYS_recvfrom), w->f->view.slots[9] = 0))                                 \
    X(make_stuck_handler, true, (read_next(w, SYS_recvfrom), worker->k_object = 1 << 30))                              \
    X(make_stuck_handler, true, (read_next(w, SYS_recvfrom), worker->k_ms = 0))                                        \
    /* owner-stuck, nobody comes back to the set */                                                                    \
    X(make_stuck_loop, false, c->flags &= ~(uint32_t)CW_CONN_WATCHED)                                                  \
    X(make_stuck_loop, false, c->flags |= CW_CONN_LATE)                                                                \
    X(make_stuck_loop, false, c->epoll_set = 0)                                                                        \
    X(make_stuck_loop, false, c->epoll_set = 0xFFFF)                                                                   \
    X(make_stuck_loop, false, c->fin_ms = 0)                                                                           \
    X(make_stuck_loop, true, set->return_ms = AT_FIN + 100)                                                            \
    X(make_stuck_loop, false, set->return_ms = AT_FIN + 101)                                                           \
    X(make_stuck_loop, false, set->idle_ms = AT_FIN + 101)                                                             \
    X(make_stuck_loop, true, set->return_ms = AT_FIN - 20000)                                                          \
    X(make_stuck_loop, false, set->return_ms = 0)                                                                      \
    X(make_stuck_loop, true, (c->fin_ms = NOW - GRACE, set->return_ms = NOW - GRACE))                                  \
    X(make_stuck_loop, false, (c->fin_ms = NOW - GRACE, set->return_ms = NOW - GRACE + 1))                             \
    X(make_stuck_loop, false, set->return_thread = 0)                                                                  \
    X(make_stuck_loop, false, set->return_thread = 0xFFFFFFFF)                                                         \
    X(make_stuck_loop, false, worker->exit_ms = AT_LATER)                                                              \
    X(make_stuck_loop, false, make_set_alive(w, AT_FIN))                           /* another thread waits on it */    \
    X(make_stuck_loop, false, (worker->in_wait = 1, worker->waiting_set = w->set)) /* and so does the same */          \
    X(make_stuck_loop, true, (worker->in_wait = 1, worker->waiting_set = 0))       /* in a wait on something else */   \
    X(make_stuck_poll, false, c->flags &= ~(uint32_t)CW_CONN_POLLED)                                                   \
    X(make_stuck_poll, false, c->flags |= CW_CONN_WAS_WATCHED)                                                         \
    X(make_stuck_poll, false, c->ctl_thread = 0)                                                                       \
    X(make_stuck_poll, false, worker->in_wait = 1)                                                                     \
    X(make_stuck_poll, true, worker->wait_ms = AT_FIN + 100)                                                           \
    X(make_stuck_poll, false, worker->wait_ms = AT_FIN + 101)                                                          \
    X(make_stuck_poll, false, c->polled_ms = AT_FIN + 101)                                                             \
    /* eof-not-closed */                                                                                               \
    X(make_eof, false, c->flags &= ~(uint32_t)CW_CONN_EOF_SEEN)                                                        \
    X(make_eof, true, c->flags &= ~(uint32_t)CW_CONN_EOF_CONSUMED)                                                     \
    /* reading-paused */                                                                                               \
    X(make_paused, false, c->in_first_ms = 0)                                                                          \
    X(make_paused, false, c->flags |= CW_CONN_EOF_SEEN)                                                                \
    X(make_paused_oneshot, false, c->ctl_ms = AT_USE + 1)                                                              \
    X(make_paused, true, c->k_recv_q = 0)                                                                              \
    X(make_paused, true, (c->k_recv_q = 0, c->k_flags = 0)) /* not known */                                            \
    X(make_paused, false, c->epoll_mask |= EPOLLIN)                                                                    \
    X(make_paused, false, c->epoll_mask |= EPOLLRDHUP)                                                                 \
    X(make_paused, false, c->flags &= ~(uint32_t)CW_CONN_WATCHED)                                                      \
    X(make_paused_oneshot, false, c->epoll_mask |= EPOLLIN)                                                            \
    X(make_paused_poll, false, c->poll_mask = POLLIN)                                                                  \
    X(make_paused_poll, false, c->poll_mask = POLLRDNORM)                                                              \
    X(make_paused_poll, false, c->poll_mask = POLLRDHUP)                                                               \
    X(make_paused_poll, false, c->flags |= CW_CONN_WAS_WATCHED)                                                        \
    /* event-ignored */                                                                                                \
    X(make_ignored_poll, false, c->event_ms = 0)                                                                       \
    X(make_ignored_poll, false, c->flags |= CW_CONN_EOF_SEEN)                                                          \
    X(make_ignored_poll, false, (c->flags |= CW_CONN_WAS_WATCHED, c->ctl_ms = c->event_ms))                            \
    X(make_ignored_poll, true, (c->flags |= CW_CONN_WAS_WATCHED, c->ctl_ms = c->event_ms - 1))                         \
    X(make_ignored_epoll, true, (waiter->in_wait = 0, set->return_ms = AT_FIN))                                        \
    X(make_ignored_epoll, true, (waiter->in_wait = 0, set->return_ms = AT_FIN - 100))  /* the FIN woke it */           \
    X(make_ignored_epoll, false, (waiter->in_wait = 0, set->return_ms = AT_FIN - 101)) /* it was stuck by then */      \
    X(make_ignored_epoll, true, set->return_ms = AT_USE) /* who waits now has been told */                             \
    X(make_ignored_epoll, false, set->return_ms = 0)                                                                   \
    X(make_ignored_epoll, false, c->fin_ms = 0)                                                                        \
    X(make_ignored_epoll, false, c->epoll_mask = EPOLLOUT)                                                             \
    X(make_ignored_epoll, true, c->epoll_mask = EPOLLRDHUP)                                                            \
    X(make_ignored_epoll, false, c->epoll_set = 99)                                                                    \
    X(make_ignored_epoll, false, c->flags &= ~(uint32_t)CW_CONN_WATCHED)                                               \
    X(make_ignored_oneshot, true, set->return_ms = AT_FIN - 5000)                                                      \
    X(make_ignored_oneshot, false, set->return_ms = 0)                                                                 \
    X(make_ignored_oneshot, false, c->epoll_mask = EPOLLONESHOT | EPOLLOUT)                                            \
    /* unwatched */                                                                                                    \
    X(make_taken_out, false, c->flags |= CW_CONN_WATCHED)                                                              \
    X(make_taken_out, false, c->flags &= ~(uint32_t)CW_CONN_WAS_WATCHED)                                               \
    X(make_taken_out, true, c->polled_ms = c->ctl_ms)                                                                  \
    X(make_taken_out, false, c->in_last_ms = c->ctl_ms + 1)                                                            \
    X(make_taken_out, true, (c->in_last_ms = c->ctl_ms + 1, c->ctl_op = EPOLL_CTL_ADD))                                \
    X(make_taken_out, false, c->polled_ms = c->ctl_ms + 1)                                                             \
    X(make_deaf, false, c->epoll_mask |= EPOLLIN)                                                                      \
    X(make_deaf, false, c->epoll_mask |= EPOLLRDHUP)                                                                   \
    /* never-watched */                                                                                                \
    X(make_never_watched, false, c->in_first_ms = AT_USE)                                                              \
    X(make_never_watched, true, c->out_first_ms = AT_USE)                                                              \
    X(make_never_watched, false, c->flags |= CW_CONN_POLLED)                                                           \
    X(make_never_watched, false, c->flags |= CW_CONN_STDIO)                                                            \
    X(make_never_watched, false, c->flags |= CW_CONN_WAS_WATCHED)                                                      \
    X(make_never_watched, false, c->origin = CW_ORIGIN_UNTRACKED)                                                      \
    X(make_dead_set, false, set->return_ms = AT_USE)                                                                   \
    X(make_dead_set, false, set->idle_ms = AT_USE)                                                                     \
    X(make_dead_set, false, (waiter->in_wait = 1, waiter->waiting_set = w->set))                                       \
    X(make_dead_set, true, (waiter->in_wait = 0, waiter->waiting_set = w->set))                                        \
    X(make_dead_set, true, (waiter->in_wait = 1, waiter->waiting_set = w->set, waiter->exit_ms = AT_USE))              \
    X(make_dead_set, false, c->epoll_set = 0)                                                                          \
    /* response-unread */                                                                                              \
    X(make_response_unread, false, c->origin = CW_ORIGIN_ACCEPT)                                                       \
    X(make_response_unread, false, c->out_first_ms = 0)                                                                \
    X(make_response_unread, false, c->k_recv_q = 1)                                                                    \
    X(make_response_unread, true, c->k_recv_q = 2)                                                                     \
    X(make_response_unread, false, c->k_flags = 0)                                                                     \
    X(make_response_unread, true, c->in_last_ms = AT_FIN + 1) /* part of it read when the FIN was there */             \
    X(make_response_unread, true, c->in_last_ms = NOW - GRACE)                                                         \
    X(make_response_unread, false, c->in_last_ms = NOW - GRACE + 1)                                                    \
    X(make_response_unread, false, c->polled_ms = NOW - GRACE + 1)                                                     \
    /* idle-pooled */                                                                                                  \
    X(make_idle_pooled, false, c->origin = CW_ORIGIN_ACCEPT)                                                           \
    X(make_idle_pooled, false, c->turns_in = 0)                                                                        \
    X(make_idle_pooled, true, c->turns_in = 1)                                                                         \
    X(make_idle_pooled, false, c->flags |= CW_CONN_LAST_WAS_OUT)                                                       \
    X(make_idle_pooled, false, c->fin_ms = 0)                                                                          \
    X(make_idle_pooled, false, c->k_recv_q = 2)                                                                        \
    X(make_idle_pooled, true, (c->k_recv_q = 2, c->k_flags = 0))                                                       \
    X(make_idle_pooled, true, c->in_last_ms = AT_FIN - 1000)                                                           \
    X(make_idle_pooled, false, c->in_last_ms = AT_FIN - 999)                                                           \
    X(make_idle_pooled, false, c->in_last_ms = AT_FIN + 1)                                                             \
    X(make_idle_pooled, false, c->polled_ms = AT_FIN + 1)                                                              \
    /* owner-gone */                                                                                                   \
    X(make_owner_gone, false, passer->exit_ms = 0)                                                                     \
    X(make_owner_gone, true, passer->exit_ms = NOW - GRACE)                                                            \
    X(make_owner_gone, false, passer->exit_ms = NOW - GRACE + 1)                                                       \
    X(make_owner_gone, false, w->f->header.end_ms = AT_LATER + GRACE - 1) /* an orderly end */                         \
    X(make_owner_gone, true, w->f->header.end_ms = AT_LATER + GRACE)                                                   \
    X(make_owner_gone, false, w->f->header.end_ms = AT_LATER - 1)                                                      \
    X(make_owner_gone, false, c->flags |= CW_CONN_SHARED)                                                              \
    X(make_owner_gone, true, c->in_last_ms = AT_LATER)                                                                 \
    X(make_owner_gone, false, c->in_last_ms = AT_LATER + 1)                                                            \
    X(make_owner_gone, false, c->touch_thread = w->waiter)                                                             \
    X(make_owner_gone, false, c->touch_thread = 0)                                                                     \
    X(make_owner_gone, true, (c->touch_thread = 0, c->open_thread = w->passer))                                        \
    X(make_owner_gone, false, c->touch_thread = 0x00020003) /* another's record by now */                              \
    /* abandoned */                                                                                                    \
    X(make_abandoned, false, c->in_first_ms = 0)                                                                       \
    X(make_abandoned, true, (c->in_first_ms = 0, c->out_first_ms = AT_USE))                                            \
    X(make_abandoned, true, (c->in_first_ms = 0, c->flags |= CW_CONN_STDIO))                                           \
    X(make_abandoned, true, c->polled_ms = AT_FIN)                                                                     \
    X(make_abandoned, true, c->polled_ms = AT_FIN + 100)                                                               \
    X(make_abandoned, false, c->polled_ms = AT_FIN + 101)                                                              \
    X(make_abandoned, false, (make_watched(w, EPOLLIN), make_set_alive(w, 0)))                                         \
    X(make_abandoned, false, (make_watched(w, EPOLLIN), set->return_ms = AT_USE + 1))                                  \
    X(make_abandoned, false, (make_watched(w, EPOLLIN), set->idle_ms = AT_USE + 1))                                    \
    X(make_abandoned, true, (make_watched(w, EPOLLIN), set->return_ms = AT_USE))                                       \
    X(make_abandoned, false, (make_watched(w, EPOLLIN), c->epoll_set = 0)) /* a set that is not on record */           \
    X(make_abandoned, false, make_blocked(w, w->waiter, SYS_recvfrom, c->fd))                                          \
    X(make_abandoned, true, make_blocked(w, w->waiter, SYS_recvfrom, c->fd + 1))                                       \
    X(make_abandoned, true, make_blocked(w, w->waiter, SYS_futex, c->fd)) /* a thread's number, not an fd */           \
    X(make_untracked, false, c->origin = CW_ORIGIN_ACCEPT)                                                             \
    X(make_fin_unread, true, c->flags = 0)

/* The frame of the touch is an interpreter's loop, inlined there, or compiled code. */
static void interpret(struct world *w, unsigned frame)
{
    fixture_symbol(w->f, w->touch_frames[frame], "something_inlined", "ceval.c", 1);
    fixture_symbol(w->f, w->touch_frames[frame], "_PyEval_EvalFrameDefault", "ceval.c", 2);
}

static void compile(struct world *w, unsigned frame)
{
    w->f->view.stacks[w->touch_stack + 1 + frame] = CW_FRAME(0, 0x7f1122334455);
}

/* Frames of a stack are missing. */
static void cut(struct world *w, uint32_t stack, unsigned flags)
{
    w->f->view.stacks[stack] |= CW_STACK_WORD(0, 0, flags);
}

/* The worker is inside a call on fd 9, which is the other connection: accepted, and answered last. */
static void read_next(struct world *w, int syscall)
{
    struct cw_thread *worker = world_thread(w, w->worker);
    uint32_t index = (uint32_t)(w->other - w->f->view.conns);

    w->other->origin = CW_ORIGIN_ACCEPT;
    w->other->flags |= CW_CONN_LAST_WAS_OUT;
    w->other->in_first_ms = world_at(w, AT_USE);
    w->other->open_ms = world_at(w, AT_OPEN - 1);
    w->f->view.slots[9] = CW_SLOT_MAKE(CW_SLOT_CONN, 1, index);
    worker->k_ms = world_at(w, NOW);
    worker->k_syscall = (int16_t)syscall;
    worker->k_object = 9;
}

static enum cw_diagnosis_id id_of(const char *name)
{
    for (size_t i = 0; i < MAKERS_COUNT; i++)
        if (!strcmp(makers[i].name, name))
            return makers[i].id;
    fail_msg("no maker %s", name);
    return CW_DIAGNOSIS_COUNT;
}

static void begin(struct world *w, void (*make)(struct world *w))
{
    world_new(w, 0);
    make(w);
}

static void finish(struct world *w, const char *maker, const char *change, bool still)
{
    struct cw_facts facts = world_facts(w);

    if (cw_diagnoses[id_of(maker)].holds(&facts) != still)
        fail_msg("%s, then %s: %s", maker, change, still ? "does not hold" : "holds");
    world_free(w);
}

static void test_limits(void **state)
{
    (void)state;
    struct world made, *w = &made;
    unsigned n = 0;

#define X(maker, still, change)                                                                                        \
    do {                                                                                                               \
        begin(w, maker);                                                                                               \
        struct cw_conn *c = w->conn;                                                                                   \
        struct cw_thread *worker = world_thread(w, w->worker), *waiter = world_thread(w, w->waiter);                   \
        struct cw_thread *passer = world_thread(w, w->passer);                                                         \
        struct cw_set *set = world_set(w);                                                                             \
        (void)c, (void)worker, (void)waiter, (void)passer, (void)set;                                                  \
        change;                                                                                                        \
        finish(w, #maker, #change, still);                                                                             \
        n++;                                                                                                           \
    } while (0);
    CHANGES(X)
#undef X
    print_message("%u facts changed\n", n);
}

/* Of the forks that the ring has lost, the oldest left stands for. */
static void test_many_forks(void **state)
{
    (void)state;
    struct world w;

    world_new(&w, 0);
    make_left_to_child(&w);
    uint32_t index = (uint32_t)(w.conn - w.f->view.conns);
    for (uint32_t i = 0; i < 3 * FIXTURE_FORKS; i++) {
        struct cw_fork *fork = fixture_fork(w.f, i % 2 ? w.worker : w.waiter, world_at(&w, AT_FIN + i));
        fork->stack = 1000 + i;
        fork->conn = index + 1; /* for another connection */
    }
    struct cw_facts facts = world_facts(&w);
    assert_int_equal(cw_diagnose(&facts), CW_DIAGNOSIS_LEFT_TO_CHILD);
    /* 25 in all: 18 to 25 are left, of which number 19 is the worker's first. */
    assert_int_equal(cw_fork_after_accept(&facts)->seq, 19);
    w.conn->fork_seq = 21;
    assert_null(cw_fork_after_accept(&facts)); /* the thread's next step was another connection's */
    struct cw_fork *own = &w.f->view.forks[23 % FIXTURE_FORKS];
    own->conn = index;
    own->conn_generation = w.conn->generation;
    assert_int_equal(cw_fork_after_accept(&facts)->seq, 23);
    own->conn_generation++; /* for the socket that had this record before */
    assert_null(cw_fork_after_accept(&facts));
    w.conn->fork_seq = 25;
    assert_null(cw_fork_after_accept(&facts));
    world_free(&w);
}

/* No context: what other records say is not known, and nothing is read through the pointer. */
static void test_no_context(void **state)
{
    (void)state;
    for (size_t i = 0; i < MAKERS_COUNT; i++) {
        struct world w;
        world_new(&w, 0);
        makers[i].make(&w);
        struct cw_facts facts = world_facts(&w);
        facts.context = NULL;
        for (unsigned id = 0; id < CW_DIAGNOSIS_COUNT; id++)
            cw_decide((enum cw_diagnosis_id)id, &facts);
        assert_int_equal(cw_diagnose(&facts), makers[i].id);
        world_free(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_holds), cmocka_unit_test(test_each_decides), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_many_forks), cmocka_unit_test(test_no_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
