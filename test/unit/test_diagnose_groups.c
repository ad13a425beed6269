/* core/diagnosis_listener.c, core/diagnosis_owner.c, core/report.c: diagnoses that concern several sockets at
 * once: those that wait for one listener or one thread. */
#define _GNU_SOURCE /* POLLRDHUP */
#include "core/evidence.h"
#include "core/work.h"
#include "test/unit/makers.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct built {
    struct cw_report report;
    void *scratch;
};

static struct built build(struct world *w)
{
    struct built built;
    size_t bytes = cw_report_scratch_bytes(&w->f->view);
    struct cw_report_input in = {.now_ms = world_at(w, NOW), .grace_ms = GRACE, .resolver = &w->f->resolver};

    built.scratch = malloc(bytes);
    assert_non_null(built.scratch);
    assert_int_equal(cw_report_build(&built.report, &w->f->view, &in, built.scratch, bytes), 0);
    return built;
}

/* --- listeners --- */

static void never_registered(struct cw_conn *listener)
{
    (void)listener;
}

static void busy(struct cw_conn *listener)
{
    listener->in_first_ms = listener->in_last_ms = AT_USE;
    listener->in_last_res = 17;
    listener->in_call = CW_CALL_accept4;
}

static void in_set(struct cw_conn *listener)
{
    listener->flags |= CW_CONN_WATCHED | CW_CONN_WAS_WATCHED;
    listener->epoll_fd = 5;
    listener->epoll_set = 1;
    listener->epoll_mask = EPOLLIN;
    listener->ctl_ms = AT_OPEN + 1;
}

static void taken_out(struct cw_conn *listener)
{
    in_set(listener);
    listener->flags &= ~(uint32_t)CW_CONN_WATCHED;
    listener->ctl_ms = AT_USE + 1;
}

static void switched_off(struct cw_conn *listener)
{
    in_set(listener);
    listener->epoll_mask = 0;
}

static void polled_off(struct cw_conn *listener)
{
    listener->flags |= CW_CONN_POLLED;
    listener->poll_mask = 0;
    listener->polled_ms = AT_LATER;
}

static void polled(struct cw_conn *listener)
{
    polled_off(listener);
    listener->poll_mask = POLLIN;
}

static void fails(struct cw_conn *listener)
{
    busy(listener);
    listener->in_last_res = -EMFILE;
}

static void fails_otherwise(struct cw_conn *listener)
{
    busy(listener);
    listener->in_last_res = -EAGAIN;
}

/* Facts in the order in which they are added, and what is the matter then. */
static const struct {
    const char *name;
    void (*make[3])(struct cw_conn *listener);
    enum cw_listener_variant_id variant;
} variants[] = {
    {"nothing", {never_registered}, CW_LISTENER_NEVER_REGISTERED},
    {"accepted from", {busy}, CW_LISTENER_ACCEPTOR_BUSY},
    {"EAGAIN", {fails_otherwise}, CW_LISTENER_ACCEPTOR_BUSY},
    {"in a set", {in_set}, CW_LISTENER_ACCEPTOR_BUSY},
    {"in a set and accepted from", {in_set, busy}, CW_LISTENER_ACCEPTOR_BUSY},
    {"polled", {polled}, CW_LISTENER_ACCEPTOR_BUSY},
    {"taken out", {taken_out}, CW_LISTENER_TAKEN_OUT},
    {"taken out, accepted from before", {busy, taken_out}, CW_LISTENER_TAKEN_OUT},
    {"taken out, polled since", {taken_out, polled}, CW_LISTENER_ACCEPTOR_BUSY},
    {"switched off", {switched_off}, CW_LISTENER_TAKEN_OUT},
    {"polled for nothing", {polled_off}, CW_LISTENER_TAKEN_OUT},
    {"polled for nothing, accepted from", {polled_off, busy}, CW_LISTENER_TAKEN_OUT},
    {"fails", {fails}, CW_LISTENER_ACCEPT_FAILS},
    {"fails and in a set", {fails, in_set}, CW_LISTENER_ACCEPT_FAILS},
    {"fails and taken out", {fails, taken_out}, CW_LISTENER_ACCEPT_FAILS},
    {"fails and polled for nothing", {fails, polled_off}, CW_LISTENER_ACCEPT_FAILS},
};

static const struct cw_view nothing; /* no threads, no sets */

static void test_variants(void **state)
{
    (void)state;
    static const int32_t no_room[] = {-EMFILE, -ENFILE, -ENOBUFS, -ENOMEM};
    unsigned of[CW_LISTENER_VARIANT_COUNT] = {0};

    for (size_t i = 0; i < sizeof(variants) / sizeof(variants[0]); i++) {
        struct cw_conn listener = {.flags = CW_CONN_IN_USE | CW_CONN_LISTENER};
        for (unsigned k = 0; k < 3 && variants[i].make[k]; k++)
            variants[i].make[k](&listener);
        if (cw_listener_variant(&nothing, &listener) != variants[i].variant)
            fail_msg("%s: %s", variants[i].name, cw_listener_variants[cw_listener_variant(&nothing, &listener)].id);
        of[variants[i].variant]++;
    }
    assert_int_equal(cw_listener_variant(&nothing, NULL), CW_LISTENER_UNKNOWN);
    for (unsigned i = 0; i < CW_LISTENER_VARIANT_COUNT; i++)
        assert_true(of[i] || i == CW_LISTENER_UNKNOWN || i == CW_LISTENER_LEFT_TO_CHILDREN);
    for (size_t i = 0; i < sizeof(no_room) / sizeof(no_room[0]); i++) {
        struct cw_conn listener = {.in_first_ms = 1, .in_last_ms = 1, .in_last_res = no_room[i]};
        assert_int_equal(cw_listener_variant(&nothing, &listener), CW_LISTENER_ACCEPT_FAILS);
    }
}

/* A one-shot registration is spent while its event is handled; that nobody has armed it again shows when its thread waits. */
static void test_spent_listener(void **state)
{
    (void)state;
    struct world w;
    world_new(&w, 0);
    const struct cw_view *view = &w.f->view;
    struct cw_conn *listener = fixture_listener(w.f, AT_OPEN);
    struct cw_thread *waiter = world_thread(&w, w.waiter);

    listener->flags |= CW_CONN_WAS_WATCHED | CW_CONN_WATCHED;
    listener->epoll_mask = EPOLLONESHOT;
    listener->ctl_ms = AT_USE;
    listener->in_first_ms = listener->in_last_ms = AT_USE;
    listener->touch_thread = w.waiter;
    assert_int_equal(cw_listener_variant(view, listener), CW_LISTENER_ACCEPTOR_BUSY);
    waiter->in_wait = 1;
    assert_int_equal(cw_listener_variant(view, listener), CW_LISTENER_TAKEN_OUT);
    waiter->in_wait = 0;
    listener->epoll_mask = EPOLLOUT;
    assert_int_equal(cw_listener_variant(view, listener), CW_LISTENER_TAKEN_OUT);
    listener->epoll_mask = EPOLLONESHOT;
    listener->flags &= ~(uint32_t)CW_CONN_WATCHED;
    assert_int_equal(cw_listener_variant(view, listener), CW_LISTENER_TAKEN_OUT);
    assert_int_equal(cw_listener_variant(view, NULL), CW_LISTENER_UNKNOWN);
    world_free(&w);
}

/* Whoever listens before it forks may leave the accepting to its children. */
static void test_left_to_children(void **state)
{
    (void)state;
    struct world w;
    world_new(&w, 0);
    struct cw_conn *listener = fixture_listener(w.f, AT_OPEN);

    w.f->header.counters[CW_COUNTER_forks] = listener->fork_seq = 3;
    assert_int_equal(cw_listener_variant(&w.f->view, listener), CW_LISTENER_NEVER_REGISTERED);
    w.f->header.counters[CW_COUNTER_forks] = 4;
    assert_int_equal(cw_listener_variant(&w.f->view, listener), CW_LISTENER_LEFT_TO_CHILDREN);
    busy(listener);
    assert_int_equal(cw_listener_variant(&w.f->view, listener), CW_LISTENER_ACCEPTOR_BUSY);
    world_free(&w);
}

/* Its poller is inside poll now, and has not asked for it. */
static void test_left_out_listener(void **state)
{
    (void)state;
    struct world w;
    world_new(&w, 0);
    const struct cw_view *view = &w.f->view;
    struct cw_conn *listener = fixture_listener(w.f, AT_OPEN);
    struct cw_thread *waiter = world_thread(&w, w.waiter);

    polled(listener);
    listener->ctl_thread = listener->touch_thread = w.waiter;
    listener->in_first_ms = listener->in_last_ms = listener->polled_ms = AT_USE;
    assert_int_equal(cw_listener_variant(view, listener), CW_LISTENER_ACCEPTOR_BUSY);
    waiter->k_ms = NOW;
    waiter->k_syscall = SYS_futex;
    assert_int_equal(cw_listener_variant(view, listener), CW_LISTENER_ACCEPTOR_BUSY);
    waiter->k_syscall = SYS_poll;
    assert_int_equal(cw_listener_variant(view, listener), CW_LISTENER_TAKEN_OUT);
    listener->polled_ms = NOW; /* it was read from the set of that very call */
    assert_int_equal(cw_listener_variant(view, listener), CW_LISTENER_ACCEPTOR_BUSY);
    world_free(&w);
}

static void expect_decision(struct world *w, uint32_t stack, enum cw_call call)
{
    struct cw_facts facts = world_facts(w);
    struct cw_decision decision = cw_decide(CW_DIAGNOSIS_NEVER_ACCEPTED, &facts);
    assert_int_equal(decision.stack, stack);
    assert_int_equal(decision.call, call);
    assert_int_equal(decision.grouped, CW_GROUPED_BY_PART);
}

static void test_deciding_stacks(void **state)
{
    (void)state;
    struct world w;

    world_new(&w, 0);
    make_never_accepted(&w);
    expect_decision(&w, 0, CW_CALL_none); /* never registered: where it was set up is all there is */
    w.listener->touch_stack = w.event_stack;
    w.listener->ctl_stack = w.ctl_stack;
    fails(w.listener);
    expect_decision(&w, w.event_stack, CW_CALL_accept4);
    busy(w.listener);
    taken_out(w.listener);
    expect_decision(&w, w.ctl_stack, CW_CALL_epoll_ctl);
    in_set(w.listener);
    expect_decision(&w, w.event_stack, CW_CALL_accept4); /* nobody knows who accepts */
    w.listener->touch_thread = w.worker;
    w.other->in_first_ms = w.other->in_last_ms = AT_USE + 1;
    w.other->in_call = CW_CALL_readv;
    w.other->touch_thread = w.worker;
    w.other->touch_stack = w.touch_stack;
    expect_decision(&w, w.touch_stack, CW_CALL_readv); /* it reads there since */
    w.other->in_last_ms = AT_USE - 1;
    expect_decision(&w, w.event_stack, CW_CALL_accept4); /* no more: it has accepted since */
    world_thread(&w, w.worker)->k_stack = w.copy_stack;
    expect_decision(&w, w.copy_stack, CW_CALL_none); /* the kernel was asked where it is */
    w.listener->flags = 0;
    expect_decision(&w, 0, CW_CALL_none);
    world_free(&w);
}

/* Connections that came to different listeners, or to nobody knows which, are different groups; the stack at which
 * their listener was set up does not part them. */
static void test_listeners_are_groups(void **state)
{
    (void)state;
    struct world w;

    world_new(&w, 0);
    make_never_accepted(&w);
    struct cw_conn *second = fixture_listener(w.f, AT_OPEN), *third = fixture_listener(w.f, AT_OPEN);
    struct cw_conn *fourth = fixture_listener(w.f, AT_OPEN);
    second->local_port = 8081;
    third->local_port = fourth->local_port = 8082; /* SO_REUSEPORT: nobody knows whose a connection is */
    static const uint16_t ports[] = {8080, 8080, 8081, 8082, 8082, 8082};
    for (unsigned i = 0; i < 6; i++) {
        struct cw_conn *conn = fixture_conn(w.f, 0);
        world_neutral(&w, conn);
        conn->origin = CW_ORIGIN_QUEUED;
        conn->fd = -1;
        conn->local_port = ports[i];
        conn->open_stack = i % 2 ? w.ctl_stack : w.open_stack;
    }
    struct built b = build(&w);
    const struct cw_group *groups = b.report.groups[CW_REPORT_LEAKS];
    assert_int_equal(b.report.n_groups[CW_REPORT_LEAKS], 3);
    assert_int_equal(groups[0].count, 3);
    assert_int_equal(groups[1].count, 3);
    assert_int_equal(groups[2].count, 1);
    assert_int_equal(b.report.totals.queued, 7);
    assert_int_equal(b.report.totals.close_wait, 0);
    for (unsigned i = 0; i < 3; i++) {
        const struct cw_conn *conn = cw_report_conn(&b.report, &b.report.items[groups[i].first]);
        const struct cw_conn *listener = cw_context_listener(&b.report.context, conn);
        assert_int_equal(cw_listener_variant(&w.f->view, listener),
                         conn->local_port == 8082 ? CW_LISTENER_UNKNOWN : CW_LISTENER_NEVER_REGISTERED);
        assert_true((listener == NULL) == (conn->local_port == 8082));
    }
    free(b.scratch);
    world_free(&w);
}

/* --- threads --- */

/* Five connections from two places wait for the worker, which is stuck at another one; a sixth for another thread. */
static void test_one_thread_one_group(void **state)
{
    (void)state;
    struct world w;
    struct cw_evidence entries[CW_EVIDENCE_MAX];

    world_new(&w, 0);
    make_stuck_loop(&w);
    struct cw_conn *first = w.conn;
    for (unsigned i = 0; i < 5; i++) {
        w.conn = fixture_conn(w.f, AT_OPEN);
        world_neutral(&w, w.conn);
        make_watched(&w, EPOLLIN);
        w.conn->open_stack = i % 2 ? w.eof_stack : w.open_stack;
        if (i % 2)
            make_eof(&w); /* what became of them before does not matter */
        if (i < 4)
            continue;
        w.conn->epoll_set = fixture_set(w.f, 6);
        w.f->view.sets[w.conn->epoll_set].return_ms = AT_FIN;
        w.f->view.sets[w.conn->epoll_set].return_thread = w.waiter;
    }
    struct built b = build(&w);
    const struct cw_group *groups = b.report.groups[CW_REPORT_LEAKS];
    assert_int_equal(b.report.n_groups[CW_REPORT_LEAKS], 2);
    assert_int_equal(groups[0].diagnosis, CW_DIAGNOSIS_OWNER_STUCK);
    assert_int_equal(groups[0].count, 5);
    assert_int_equal(groups[1].diagnosis, CW_DIAGNOSIS_OWNER_STUCK);
    assert_int_equal(groups[1].count, 1);
    assert_int_equal(groups[0].deciding_stack, w.touch_stack);
    unsigned n = cw_evidence_collect(&b.report, &groups[0], entries), seen = 0;
    for (unsigned i = 0; i < n; i++) {
        if (!strcmp(entries[i].key, "stuck_on")) {
            assert_int_equal(entries[i].value, w.other->fd);
            assert_string_equal(entries[i].text, "it last used fd 16, peer 10.0.0.2:50001");
            seen++;
        } else if (!strcmp(entries[i].key, "thread")) {
            assert_int_equal(entries[i].value, 4243);
            assert_string_equal(entries[i].text, "thread 4243 (worker) is in read on fd 33, last seen 59 s ago");
            seen++;
        }
    }
    assert_int_equal(seen, 2);
    free(b.scratch);
    /* It comes back, and all that is left is what each connection is worth. */
    world_thread(&w, w.worker)->in_wait = 1;
    world_thread(&w, w.worker)->waiting_set = w.set;
    w.conn = first;
    struct cw_facts facts = world_facts(&w);
    assert_int_equal(cw_diagnose(&facts), CW_DIAGNOSIS_EVENT_IGNORED);
    world_free(&w);
}

/* What it is stuck in decides where its stack could be had. */
static void test_stack_of_a_stuck_thread(void **state)
{
    (void)state;
    struct world w;

    world_new(&w, 0);
    make_stuck_loop(&w);
    struct cw_facts facts = world_facts(&w);
    assert_ptr_equal(cw_stuck_thread(&facts), world_thread(&w, w.worker));
    world_thread(&w, w.worker)->k_stack = w.copy_stack;
    assert_int_equal(cw_decide(CW_DIAGNOSIS_OWNER_STUCK, &facts).stack, w.copy_stack);
    world_thread(&w, w.worker)->k_stack = 0;
    w.other->in_last_ms = AT_FIN - 1; /* it has waited since */
    struct cw_decision decision = cw_decide(CW_DIAGNOSIS_OWNER_STUCK, &facts);
    assert_int_equal(decision.stack, w.wait_stack);
    assert_int_equal(decision.call, CW_CALL_epoll_wait);
    world_free(&w);
}

/* Stopped by a signal before the FIN: nobody could see it. Not so where it was seen, or the thread has gone on since. */
static void test_stopped_thread(void **state)
{
    (void)state;
    struct world w;

    world_new(&w, 0);
    w.conn->touch_thread = w.worker;
    w.conn->ctl_thread = 0;
    w.conn->fin_ms = world_at(&w, AT_FIN);
    world_thread(&w, w.worker)->k_ms = world_at(&w, NOW);
    world_thread(&w, w.worker)->k_state = 'S';
    struct cw_facts facts = world_facts(&w);
    assert_null(cw_stuck_thread(&facts));
    world_thread(&w, w.worker)->k_state = 'T';
    assert_ptr_equal(cw_stuck_thread(&facts), world_thread(&w, w.worker));
    assert_int_equal(cw_diagnose(&facts), CW_DIAGNOSIS_OWNER_STUCK);
    world_thread(&w, w.worker)->wait_ms = world_at(&w, AT_LATER);
    assert_null(cw_stuck_thread(&facts));
    world_thread(&w, w.worker)->wait_ms = world_at(&w, AT_USE);
    w.conn->flags |= CW_CONN_EOF_SEEN;
    assert_null(cw_stuck_thread(&facts));
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_spent_listener),
        cmocka_unit_test(test_left_out_listener),
        cmocka_unit_test(test_left_to_children),
        cmocka_unit_test(test_deciding_stacks),
        cmocka_unit_test(test_listeners_are_groups),
        cmocka_unit_test(test_one_thread_one_group),
        cmocka_unit_test(test_stack_of_a_stuck_thread),
        cmocka_unit_test(test_stopped_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
