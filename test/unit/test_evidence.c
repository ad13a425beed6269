/* core/evidence*.c: every diagnosis is proved by entries with a value, and each of them follows its fact. */
#define _GNU_SOURCE /* POLLRDHUP */
#include "core/evidence.h"
#include "core/work.h"
#include "test/unit/makers.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct proof {
    struct cw_evidence entries[CW_EVIDENCE_MAX];
    unsigned n;
    char next[512], advice[512];
};

static const struct cw_holder held[] = {{777, 4242, 17, "server"}, {777, 6001, 9, "logger"}, {777, 6002, 3, "x"}};

/* The evidence for the world's one socket; `in` may hold what differs from a plain report. */
static void prove(struct world *w, enum cw_diagnosis_id id, struct cw_report_input in, struct proof *ret)
{
    struct cw_report report;
    size_t bytes = cw_report_scratch_bytes(&w->f->view);
    void *scratch = malloc(bytes);
    const struct cw_group *group = NULL;

    in.now_ms = world_at(w, NOW);
    in.grace_ms = GRACE;
    in.resolver = &w->f->resolver;
    assert_non_null(scratch);
    assert_int_equal(cw_report_build(&report, &w->f->view, &in, scratch, bytes), 0);
    for (unsigned i = 0; i < CW_REPORT_SECTIONS; i++) {
        assert_true(report.n_groups[i] <= 1);
        if (report.n_groups[i])
            group = &report.groups[i][0];
    }
    assert_non_null(group);
    if (group->diagnosis != id)
        fail_msg("%s instead of %s", cw_diagnoses[group->diagnosis].id, cw_diagnoses[id].id);
    ret->n = cw_evidence_collect(&report, group, ret->entries);
    strncpy(ret->next, cw_evidence_next(&report, group), sizeof(ret->next) - 1);
    strncpy(ret->advice, cw_evidence_advice(&report, group), sizeof(ret->advice) - 1);
    ret->next[sizeof(ret->next) - 1] = ret->advice[sizeof(ret->advice) - 1] = 0;
    free(scratch);
}

static const struct cw_evidence *entry(const struct proof *proof, const char *key)
{
    for (unsigned i = 0; i < proof->n; i++)
        if (!strcmp(proof->entries[i].key, key))
            return &proof->entries[i];
    return NULL;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

static bool same(const struct cw_evidence *a, const struct cw_evidence *b)
{
    if (!a || !b)
        return a == b;
    return a->has_value == b->has_value && a->value == b->value && same_text(a->unit, b->unit) &&
           !strcmp(a->text, b->text) && same_text(a->unavailable, b->unavailable);
}

static void test_three_values_each(void **state)
{
    (void)state;
    for (size_t i = 0; i < MAKERS_COUNT; i++) {
        struct world w;
        struct proof proof;
        unsigned n = 0;
        if (makers[i].make == make_half_open_sending)
            continue; /* sends: no leak, not in a report */
        world_new(&w, 0);
        makers[i].make(&w);
        prove(&w, makers[i].id, (struct cw_report_input){0}, &proof);
        for (unsigned k = 0; k < proof.n; k++) {
            const struct cw_evidence *e = &proof.entries[k];
            n += e->has_value;
            assert_true(e->has_value == (e->unit != NULL));
            assert_true(e->text[0] || e->has_value);
            assert_true(strlen(e->text) + 1 < sizeof(e->text));
            for (unsigned j = 0; j < k; j++)
                assert_string_not_equal(e->key, proof.entries[j].key);
        }
        if (n < 3)
            fail_msg("%s: %u entries with a value", makers[i].name, n);
        world_free(&w);
    }
}

/* maker, key, what is changed: the entry has a value or words before, and others (or is there at all) afterwards */
#define CHANGES(X)                                                                                                     \
    X(make_error_not_closed, "last_read", c->in_last_ms = AT_USE)                                                      \
    X(make_error_not_closed, "last_write", c->out_last_ms = AT_USE)                                                    \
    X(make_error_not_closed, "origin", c->open_ms = AT_USE)                                                            \
    X(make_error_not_closed, "last_errno",                                                                             \
      (c->flags |= CW_CONN_IN_FAILED, c->in_last_ms = AT_USE, c->in_last_res = -ECONNRESET))                           \
    X(make_never_accepted, "listener", w->listener->fd = 99)                                                           \
    X(make_never_accepted, "listener", (w->listener->flags |= CW_CONN_WATCHED, w->listener->epoll_fd = 7))             \
    X(make_never_accepted, "listener_state", (w->listener->in_last_ms = AT_USE, w->listener->in_last_res = -EMFILE))   \
    X(make_never_accepted, "queue", w->listener->k_recv_q = 4)                                                         \
    X(make_never_accepted, "queue", w->listener->k_send_q = 4)                                                         \
    X(make_never_accepted, "last_accept", w->listener->in_last_ms = AT_USE)                                            \
    X(make_never_accepted, "accept_errno", (w->listener->in_last_ms = AT_USE, w->listener->in_last_res = -EMFILE))     \
    X(make_never_accepted, "acceptor",                                                                                 \
      (w->listener->in_first_ms = w->listener->in_last_ms = AT_USE, w->listener->touch_thread = w->worker))            \
    X(make_never_accepted, "recv_q", c->k_recv_q = 5)                                                                  \
    X(make_held_forked, "parent", w->f->header.ppid = 99)                                                              \
    X(make_held_forked, "parent", w->f->header.fork_ms = AT_USE)                                                       \
    X(make_held_forked, "holders", in.holders = held + 2)                                                              \
    X(make_held_forked, "holders", in.n_holders = 2)                                                                   \
    X(make_held_forked, "origin", c->open_ms = AT_USE)                                                                 \
    X(make_held_copied, "copy_closed", c->copy_close_ms = NOW - 9000)                                                  \
    X(make_held_copied, "copies", c->refs = 3)                                                                         \
    X(make_held_copied, "last_read", c->in_last_ms = AT_USE - 9000)                                                    \
    X(make_held_passed, "scm_sent", (c->flags &= ~(uint32_t)CW_CONN_SCM_SENT, make_held_copied(w)))                    \
    X(make_held_passed, "passed", c->copy_close_ms = NOW - 9000)                                                       \
    X(make_held_passed, "forks_while_open", w->f->header.counters[CW_COUNTER_forks] = 2)                               \
    X(make_left_to_child, "fork", w->f->view.forks[1].pid = 5001)                                                      \
    X(make_left_to_child, "fork", w->f->view.forks[1].ms += 3000)                                                      \
    X(make_left_to_child, "holders", in.holders_known = false)                                                         \
    X(make_left_to_child, "recv_q", c->k_recv_q = 5)                                                                   \
    X(make_half_open, "end_of_stream", c->eof_ms -= 2000)                                                              \
    X(make_half_open, "last_write", c->out_last_ms -= 900)                                                             \
    X(make_half_open, "send_q", c->k_send_q = 5)                                                                       \
    X(make_half_open, "send_gap", c->out_gap_ds = 31)                                                                  \
    X(make_stuck_handler, "thread", worker->tid = 99)                                                                  \
    X(make_stuck_handler, "thread", worker->name[0] = 'x')                                                             \
    X(make_stuck_handler, "thread", worker->k_object = 99)                                                             \
    X(make_stuck_handler, "thread", (worker->k_syscall = CW_SYSCALL_NONE, worker->k_state = 'R'))                      \
    X(make_stuck_handler, "thread_syscall", worker->k_syscall = SYS_nanosleep)                                         \
    X(make_stuck_handler, "thread_seen", worker->wait_ms = AT_USE + 9000)                                              \
    X(make_stuck_handler, "last_read", c->in_last_ms = AT_USE + 9000)                                                  \
    X(make_stuck_handler, "recv_q", c->k_recv_q = 5)                                                                   \
    X(make_stuck_loop, "stuck_on", w->other->fd = 99)                                                                  \
    X(make_stuck_loop, "stuck_on", w->other->peer_port = 99)                                                           \
    X(make_stuck_loop, "epoll", c->epoll_fd = 6)                                                                       \
    X(make_stuck_loop, "epoll_mask", c->epoll_mask |= EPOLLRDHUP)                                                      \
    X(make_stuck_loop, "thread", worker->k_object = 34)                                                                \
    X(make_stuck_poll, "epoll", c->polled_ms = worker->wait_ms = AT_FIN - 9000)                                        \
    X(make_stuck_poll, "poll_mask", c->poll_mask = POLLRDHUP)                                                          \
    X(make_eof, "end_of_stream", c->eof_ms += 9000)                                                                    \
    X(make_eof, "fin", c->k_last_ack_recv += 9000)                                                                     \
    X(make_eof, "last_write", c->out_last_ms = AT_USE)                                                                 \
    X(make_eof, "recv_q", c->k_recv_q = 0)                                                                             \
    X(make_eof, "stdio", c->flags |= CW_CONN_STDIO)                                                                    \
    X(make_eof, "shutdown", c->flags |= CW_CONN_SHUT_WR)                                                               \
    X(make_eof, "keepalive", c->flags |= CW_CONN_KEEPALIVE)                                                            \
    X(make_paused, "epoll_mask", c->epoll_mask = EPOLLOUT | EPOLLET)                                                   \
    X(make_paused, "epoll", c->epoll_mask = EPOLLOUT | EPOLLET)                                                        \
    X(make_paused, "recv_q", c->k_recv_q = 5)                                                                          \
    X(make_paused, "last_read", c->in_last_ms = AT_USE + 9000)                                                         \
    X(make_ignored_poll, "event", c->event_ms = AT_FIN + 9000)                                                         \
    X(make_ignored_poll, "event", c->event_mask = POLLIN)                                                              \
    X(make_ignored_poll, "event_mask", c->event_mask = POLLIN)                                                         \
    X(make_ignored_epoll, "event", set->return_ms = AT_FIN + 9000)                                                     \
    X(make_ignored_epoll, "event", set->fd = 6)                                                                        \
    X(make_ignored_epoll, "epoll", c->epoll_fd = 6)                                                                    \
    X(make_ignored_epoll, "recv_q", c->k_recv_q = 5)                                                                   \
    X(make_taken_out, "epoll", c->epoll_fd = 6)                                                                        \
    X(make_taken_out, "recv_q", c->k_recv_q = 5)                                                                       \
    X(make_taken_out, "last_write", c->out_last_ms = AT_USE)                                                           \
    X(make_never_watched, "epoll", c->epoll_sets = 1)                                                                  \
    X(make_never_watched, "recv_q", c->k_recv_q = 5)                                                                   \
    X(make_never_watched, "origin", c->open_ms = AT_USE)                                                               \
    X(make_response_unread, "recv_q", c->k_recv_q = 5)                                                                 \
    X(make_response_unread, "turns", c->turns_in = 5)                                                                  \
    X(make_response_unread, "last_write", c->out_last_ms = AT_USE + 9000)                                              \
    X(make_idle_pooled, "turns", c->turns_in = 5)                                                                      \
    X(make_idle_pooled, "idle", c->in_last_ms = AT_USE + 5000)                                                         \
    X(make_idle_pooled, "recv_q", c->k_recv_q = 0)                                                                     \
    X(make_owner_gone, "thread", passer->tid = 99)                                                                     \
    X(make_owner_gone, "thread_seen", passer->exit_ms += 9000)                                                         \
    X(make_owner_gone, "last_read", c->in_last_ms = AT_USE + 9000)                                                     \
    X(make_owner_gone, "recv_q", c->k_recv_q = 5)                                                                      \
    X(make_abandoned, "last_read", c->in_last_ms = AT_USE + 9000)                                                      \
    X(make_abandoned, "last_write", c->out_last_ms = AT_USE)                                                           \
    X(make_abandoned, "recv_q", c->k_recv_q = 5)                                                                       \
    X(make_untracked, "recv_q", c->k_recv_q = 5)                                                                       \
    X(make_untracked, "fin", c->k_last_ack_recv += 9000)                                                               \
    X(make_untracked, "origin", c->fd = 99)                                                                            \
    X(make_fin_unread, "recv_q", c->k_recv_q = 5)                                                                      \
    X(make_fin_unread, "fin", c->k_last_ack_recv += 9000)                                                              \
    X(make_fin_unread, "epoll", c->polled_ms += 9000)

static enum cw_diagnosis_id id_of(void (*make)(struct world *))
{
    size_t i = 0;
    while (makers[i].make != make)
        i++;
    return makers[i].id;
}

static void begin(struct world *w, void (*make)(struct world *w), struct cw_report_input *ret_in,
                  struct proof *ret_before)
{
    *ret_in = (struct cw_report_input){.holders = held, .n_holders = 3, .holders_known = true};
    world_new(w, 0);
    make(w);
    prove(w, id_of(make), *ret_in, ret_before);
}

static void finish(struct world *w, enum cw_diagnosis_id id, struct cw_report_input in, const struct proof *before,
                   const char *key, const char *change)
{
    struct proof after;

    if (in.holders != held)
        in.n_holders = 1;
    prove(w, id, in, &after);
    if (same(entry(before, key), entry(&after, key)))
        fail_msg("%s: %s is the same after %s", cw_diagnoses[id].id, key, change);
    world_free(w);
}

static void test_entries_follow_facts(void **state)
{
    (void)state;
    unsigned of[CW_DIAGNOSIS_COUNT] = {0};
    struct world made, *w = &made;
    struct cw_report_input in;
    struct proof before;

#define X(maker, key, change)                                                                                          \
    do {                                                                                                               \
        begin(w, maker, &in, &before);                                                                                 \
        struct cw_conn *c = w->conn;                                                                                   \
        struct cw_thread *worker = world_thread(w, w->worker), *passer = world_thread(w, w->passer);                   \
        struct cw_set *set = world_set(w);                                                                             \
        (void)c, (void)worker, (void)passer, (void)set;                                                                \
        change;                                                                                                        \
        finish(w, id_of(maker), in, &before, key, #change);                                                            \
        of[id_of(maker)]++;                                                                                            \
    } while (0);
    CHANGES(X)
#undef X
    for (unsigned i = 0; i < CW_DIAGNOSIS_COUNT; i++)
        if (of[i] < 3)
            fail_msg("%s: %u entries tested", cw_diagnoses[i].id, of[i]);
}

/* --- what cannot be had --- */

static void test_refused(void **state)
{
    (void)state;
    struct world w;
    struct proof proof;

    world_new(&w, 0);
    make_stuck_handler(&w);
    world_thread(&w, w.worker)->k_errno = EPERM;
    world_thread(&w, w.worker)->k_syscall = CW_SYSCALL_UNKNOWN;
    prove(&w, CW_DIAGNOSIS_OWNER_STUCK, (struct cw_report_input){0}, &proof);
    assert_string_equal(entry(&proof, "thread")->text, "thread 4243 (worker) is blocked, last seen 70 s ago");
    assert_int_equal(entry(&proof, "thread")->value, 4243);
    assert_string_equal(entry(&proof, "thread_syscall")->unavailable, "EPERM");
    assert_string_equal(entry(&proof, "thread_syscall")->text, "its system call may not be read (EPERM)");
    world_thread(&w, w.worker)->k_errno = 253; /* no errno at all */
    prove(&w, CW_DIAGNOSIS_OWNER_STUCK, (struct cw_report_input){0}, &proof);
    assert_string_equal(entry(&proof, "thread_syscall")->unavailable, "refused");
    world_thread(&w, w.worker)->k_errno = 0;
    world_thread(&w, w.worker)->k_state = 'T';
    prove(&w, CW_DIAGNOSIS_OWNER_STUCK, (struct cw_report_input){0}, &proof);
    assert_non_null(strstr(entry(&proof, "thread")->text, " is stopped by a signal "));
    world_thread(&w, w.worker)->k_state = 't'; /* by a debugger */
    prove(&w, CW_DIAGNOSIS_OWNER_STUCK, (struct cw_report_input){0}, &proof);
    assert_non_null(strstr(entry(&proof, "thread")->text, ", its present state is not known"));
    w.conn->k_flags = 0;
    prove(&w, CW_DIAGNOSIS_OWNER_STUCK, (struct cw_report_input){0}, &proof);
    assert_string_equal(entry(&proof, "recv_q")->unavailable, "sock_diag does not tell"); /* as of MPTCP */
    assert_false(entry(&proof, "recv_q")->has_value);
    w.f->header.truth = CW_TRUTH_SWEEP;
    prove(&w, CW_DIAGNOSIS_OWNER_STUCK, (struct cw_report_input){0}, &proof);
    assert_string_equal(entry(&proof, "recv_q")->unavailable, "sock_diag was not asked");
    w.f->header.flags |= CW_HEADER_NO_NETLINK;
    prove(&w, CW_DIAGNOSIS_OWNER_STUCK, (struct cw_report_input){0}, &proof);
    assert_string_equal(entry(&proof, "recv_q")->unavailable, "sock_diag refused");
    w.f->header.netlink_errno = EACCES;
    prove(&w, CW_DIAGNOSIS_OWNER_STUCK, (struct cw_report_input){0}, &proof);
    assert_string_equal(entry(&proof, "recv_q")->text, "Recv-Q not known: sock_diag refused (EACCES)");
    assert_string_equal(entry(&proof, "recv_q")->unavailable, "EACCES");
    world_free(&w);
}

static void test_holders(void **state)
{
    (void)state;
    struct world w;
    struct proof proof;

    world_new(&w, 0);
    make_held_forked(&w);
    w.f->header.ppid = 4100;
    prove(&w, CW_DIAGNOSIS_HELD_ELSEWHERE, (struct cw_report_input){0}, &proof);
    assert_string_equal(entry(&proof, "holders")->unavailable, "not looked for");
    assert_string_equal(entry(&proof, "parent")->text, "forked by pid 4100 90 s ago");
    prove(&w, CW_DIAGNOSIS_HELD_ELSEWHERE, (struct cw_report_input){.holders_errno = EACCES}, &proof);
    assert_string_equal(entry(&proof, "holders")->unavailable, "EACCES");
    prove(&w, CW_DIAGNOSIS_HELD_ELSEWHERE, (struct cw_report_input){.holders_known = true}, &proof);
    assert_string_equal(entry(&proof, "holders")->text, "no other process has it open");
    assert_null(entry(&proof, "holders")->unavailable);
    struct cw_report_input in = {.holders = held,
                                 .n_holders = 3,
                                 .holders_known = true,
                                 .holders_refused = 1,
                                 .holders_refused_errno = EPERM,
                                 .holders_refused_pid = 77};
    prove(&w, CW_DIAGNOSIS_HELD_ELSEWHERE, in, &proof);
    assert_string_equal(entry(&proof, "holders")->text,
                        "held by pid 6001 (logger) as fd 9 and 1 more; pid 77 may not be looked into (EPERM)");
    assert_int_equal(entry(&proof, "holders")->value, 6001);
    assert_string_equal(entry(&proof, "holders")->unavailable, "EPERM");
    in.holders_refused = 2;
    in.holders_refused_errno = EACCES;
    prove(&w, CW_DIAGNOSIS_HELD_ELSEWHERE, in, &proof);
    assert_string_equal(entry(&proof, "holders")->text,
                        "held by pid 6001 (logger) as fd 9 and 1 more; 2 processes may not be looked into (EACCES)");
    assert_string_equal(entry(&proof, "holders")->unavailable, "EACCES");
    w.conn->inode = 778;
    in.holders_refused = 0;
    prove(&w, CW_DIAGNOSIS_HELD_ELSEWHERE, in, &proof);
    assert_string_equal(entry(&proof, "holders")->text, "no other process has it open");
    world_free(&w);
}

/* Of a set that may not be looked into only what was registered is known. */
static void test_mask_as_registered(void **state)
{
    (void)state;
    struct world w;
    struct proof proof;

    world_new(&w, 0);
    make_paused(&w);
    prove(&w, CW_DIAGNOSIS_READING_PAUSED, (struct cw_report_input){0}, &proof);
    assert_null(strstr(entry(&proof, "epoll")->text, "registered"));
    assert_null(entry(&proof, "epoll")->unavailable);
    w.f->view.sets[w.conn->epoll_set].k_errno = EACCES;
    prove(&w, CW_DIAGNOSIS_READING_PAUSED, (struct cw_report_input){0}, &proof);
    assert_non_null(strstr(entry(&proof, "epoll")->text, " as registered; the set's fdinfo may not be read (EACCES)"));
    assert_string_equal(entry(&proof, "epoll")->unavailable, "EACCES");
    assert_true(entry(&proof, "epoll")->has_value);
    world_free(&w);
}

/* Several listeners on the port, and what each of them says. */
static void test_listeners_that_share_a_port(void **state)
{
    (void)state;
    struct world w;
    struct proof proof;

    world_new(&w, 0);
    make_never_accepted(&w);
    struct cw_conn *second = fixture_listener(w.f, world_at(&w, AT_OPEN)), *idle = NULL;
    second->fd = 98;
    second->k_recv_q = 5;
    second->in_last_ms = world_at(&w, NOW - 4000);
    second->in_last_res = 12;
    w.listener->fd = 97;
    prove(&w, CW_DIAGNOSIS_NEVER_ACCEPTED, (struct cw_report_input){0}, &proof);
    assert_string_equal(entry(&proof, "listener")->text, "listener fd 97: 3 waiting of at most 128, no accept seen");
    assert_int_equal(entry(&proof, "listener_queue")->value, 3);
    assert_null(entry(&proof, "last_accept"));
    assert_string_equal(entry(&proof, "listener_2")->text,
                        "listener fd 98: 5 waiting of at most 128, last accept 4 s ago returned fd 12");
    assert_int_equal(entry(&proof, "listener_2")->value, 98);
    assert_int_equal(entry(&proof, "listener_2_queue")->value, 5);
    assert_int_equal(entry(&proof, "last_accept_2")->value, 4000);
    assert_string_equal(entry(&proof, "queue")->text,
                        "1 closed by its peer, on the port of 2 listeners: the kernel does not "
                        "say at which of them each waits");
    assert_null(entry(&proof, "port_shared"));
    second->k_flags |= CW_K_PORT_SHARED;
    second->k_send_q = 0; /* /proc/net/tcp does not say */
    prove(&w, CW_DIAGNOSIS_NEVER_ACCEPTED, (struct cw_report_input){0}, &proof);
    assert_int_equal(entry(&proof, "port_shared")->value, w.conn->local_port);
    assert_string_equal(entry(&proof, "listener_2")->text,
                        "listener fd 98: 5 waiting, last accept 4 s ago returned fd 12");
    for (int i = 0; i < 4; i++)
        idle = fixture_listener(w.f, world_at(&w, AT_OPEN));
    prove(&w, CW_DIAGNOSIS_NEVER_ACCEPTED, (struct cw_report_input){0}, &proof);
    assert_non_null(entry(&proof, "listener_4"));
    assert_string_equal(entry(&proof, "listeners")->text, "2 more listeners");
    assert_int_equal(entry(&proof, "listeners")->value, 6);
    assert_true(proof.n + 1 < CW_EVIDENCE_MAX);
    idle->k_state = TCP_LISTEN; /* nobody waits there */
    idle->k_recv_q = 0;
    prove(&w, CW_DIAGNOSIS_NEVER_ACCEPTED, (struct cw_report_input){0}, &proof);
    assert_string_equal(entry(&proof, "listeners")->text, "1 more listener");
    world_free(&w);
}

/* --- advice --- */

static void test_next_names_the_function(void **state)
{
    (void)state;
    struct world w;
    struct proof proof;

    world_new(&w, 0);
    make_eof(&w);
    fixture_symbol(w.f, CW_FRAME(w.main, 0x30), "on_readable", "/src/server.c", 164);
    prove(&w, CW_DIAGNOSIS_EOF_NOT_CLOSED, (struct cw_report_input){0}, &proof);
    assert_string_equal(proof.next, "close() it where read returns 0: on_readable (server.c:164)");
    world_free(&w);
    world_new(&w, 0);
    make_never_watched(&w);
    fixture_symbol(w.f, CW_FRAME(w.main, 0x20), "on_accept", NULL, 0);
    prove(&w, CW_DIAGNOSIS_NEVER_WATCHED, (struct cw_report_input){0}, &proof);
    assert_string_equal(proof.next, "register the socket, hand it to a thread that reads it, or close() it; it was "
                                    "opened in on_accept (server+0x20)");
    world_free(&w);
}

static void test_advice_by_listener(void **state)
{
    (void)state;
    struct world w;
    struct proof proof;

    world_new(&w, 0);
    make_never_accepted(&w);
    prove(&w, CW_DIAGNOSIS_NEVER_ACCEPTED, (struct cw_report_input){0}, &proof);
    assert_string_equal(proof.advice, cw_listener_variants[CW_LISTENER_NEVER_REGISTERED].advice);
    assert_string_equal(entry(&proof, "listener_state")->text,
                        "never in an epoll, poll or select set, never accepted from");
    w.listener->in_first_ms = w.listener->in_last_ms = AT_USE;
    w.listener->in_last_res = -EMFILE;
    w.listener->in_call = CW_CALL_accept;
    w.listener->touch_stack = w.event_stack;
    fixture_symbol(w.f, CW_FRAME(w.main, 0x50), "accept_all", "/src/server.c", 7);
    prove(&w, CW_DIAGNOSIS_NEVER_ACCEPTED, (struct cw_report_input){0}, &proof);
    assert_string_equal(proof.advice, cw_listener_variants[CW_LISTENER_ACCEPT_FAILS].advice);
    assert_string_equal(proof.next, "make room for fds: accept fails: accept_all (server.c:7)");
    assert_int_equal(entry(&proof, "accept_errno")->value, EMFILE);
    w.listener->flags = 0; /* closed by now */
    prove(&w, CW_DIAGNOSIS_NEVER_ACCEPTED, (struct cw_report_input){0}, &proof);
    assert_string_equal(proof.advice, cw_listener_variants[CW_LISTENER_UNKNOWN].advice);
    assert_int_equal(entry(&proof, "listener")->value, 8080);
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_values_each),
        cmocka_unit_test(test_entries_follow_facts),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_holders),
        cmocka_unit_test(test_mask_as_registered),
        cmocka_unit_test(test_listeners_that_share_a_port),
        cmocka_unit_test(test_next_names_the_function),
        cmocka_unit_test(test_advice_by_listener),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
