/* core/outside_words.c, thread_places.c, text_threads.c, json_threads.c: what is said of a process that had no recorder. */
#define _GNU_SOURCE /* POLLRDHUP */
#include "core/outside_words.h"
#include "core/report.h"
#include "core/thread_places.h"
#include "core/threads_report.h"
#include "test/unit/makers.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* --- diagnoses --- */

/* Whatever the records say: without a recorder nobody can have seen it. */
static void test_nothing_is_said_of_its_code(void **state)
{
    (void)state;
    for (size_t i = 0; i < MAKERS_COUNT; i++) {
        struct world w;
        world_new(&w, 0);
        makers[i].make(&w);
        bool queued = w.conn->origin == CW_ORIGIN_QUEUED;
        if (!queued)
            w.conn->origin = CW_ORIGIN_UNTRACKED;
        w.f->header.flags |= CW_HEADER_OUTSIDE;
        struct cw_facts facts = world_facts(&w);
        enum cw_diagnosis_id id = cw_diagnose(&facts);
        assert_int_equal(id, queued ? CW_DIAGNOSIS_NEVER_ACCEPTED : CW_DIAGNOSIS_UNTRACKED);
        assert_true(cw_diagnoses[id].holds(&facts));
        world_free(&w);
    }
}

static void test_words(void **state)
{
    (void)state;
    struct world w;
    world_new(&w, 0);
    const struct cw_diagnosis *row = &cw_diagnoses[CW_DIAGNOSIS_UNTRACKED];
    assert_ptr_equal(cw_diagnosis_words(&w.f->view, CW_DIAGNOSIS_UNTRACKED), row);
    w.f->header.flags |= CW_HEADER_OUTSIDE;
    const struct cw_diagnosis *words = cw_diagnosis_words(&w.f->view, CW_DIAGNOSIS_UNTRACKED);
    assert_ptr_not_equal(words, row);
    assert_string_equal(words->id, row->id);
    assert_int_equal(words->severity, row->severity);
    assert_null(strstr(words->sentence, "raw system call"));
    assert_ptr_equal(cw_diagnosis_words(&w.f->view, CW_DIAGNOSIS_NEVER_ACCEPTED),
                     &cw_diagnoses[CW_DIAGNOSIS_NEVER_ACCEPTED]);
    world_free(&w);
}

/* Sockets of one service that were treated alike stand together, in this process and in another one. */
static void test_parts(void **state)
{
    (void)state;
    struct world w;
    world_new(&w, 0);
    w.f->header.flags |= CW_HEADER_OUTSIDE;
    w.conn->origin = CW_ORIGIN_UNTRACKED;
    w.conn->k_flags |= CW_K_QUEUES;
    struct cw_facts facts = world_facts(&w);
    struct cw_decision decision = cw_decide(CW_DIAGNOSIS_UNTRACKED, &facts);
    uint32_t alone = cw_outside_part(&facts);
    assert_int_equal(decision.grouped, CW_GROUPED_BY_PART);
    assert_int_equal(decision.part, alone);

#define EXPECT(different, change)                                                                                      \
    do {                                                                                                               \
        struct cw_conn before = *w.conn;                                                                               \
        change;                                                                                                        \
        facts = world_facts(&w);                                                                                       \
        if ((cw_outside_part(&facts) != alone) != (different))                                                         \
            fail_msg("%s", #change);                                                                                   \
        *w.conn = before;                                                                                              \
    } while (0)
    EXPECT(false, w.conn->fd = 99);
    EXPECT(false, w.conn->inode = 99);
    EXPECT(true, w.conn->k_recv_q = 0);
    EXPECT(true, w.conn->k_recv_q = 2);
    EXPECT(true, w.conn->k_flags = 0);
    EXPECT(true, w.conn->peer_port ^= 1);
    EXPECT(true, make_watched(&w, EPOLLIN));
    w.listener = fixture_listener(w.f, AT_OPEN);
    facts = world_facts(&w);
    alone = cw_outside_part(&facts);
    EXPECT(false, w.conn->peer_port ^= 1); /* accepted: another client of the same service */
    make_watched(&w, EPOLLIN);
    facts = world_facts(&w);
    alone = cw_outside_part(&facts);
    EXPECT(false, w.conn->epoll_fd = 17; w.conn->epoll_set = 3);
    EXPECT(true, w.conn->epoll_mask = EPOLLOUT);
#undef EXPECT
    world_free(&w);
}

/* Two processes that listen at the same place leave the same group; two listeners of one are two. */
static void test_queues(void **state)
{
    (void)state;
    struct world w;
    world_new(&w, 0);
    w.f->header.flags |= CW_HEADER_OUTSIDE;
    w.conn->origin = CW_ORIGIN_QUEUED;
    w.listener = fixture_listener(w.f, AT_OPEN);
    struct cw_facts facts = world_facts(&w);
    struct cw_decision decision = cw_decide(CW_DIAGNOSIS_NEVER_ACCEPTED, &facts);
    struct cw_conn elsewhere = *w.listener, *other = &elsewhere;
    assert_int_equal(decision.grouped, CW_GROUPED_BY_PART);
    assert_int_equal(decision.part, cw_outside_queue(w.conn, other));
    other->local[3] ^= 1;
    assert_int_not_equal(decision.part, cw_outside_queue(w.conn, other));
    assert_int_not_equal(decision.part, cw_outside_queue(w.conn, NULL));
    world_free(&w);
}

/* --- listeners --- */

static const char *listener_id(struct world *w)
{
    return cw_listener_words(&w->f->view, w->listener)->id;
}

static void test_listeners(void **state)
{
    (void)state;
    struct world w;
    world_new(&w, 0);
    w.listener = fixture_listener(w.f, AT_OPEN);
    w.f->header.flags |= CW_HEADER_OUTSIDE;
    w.listener->flags &= ~(uint32_t)(CW_CONN_WATCHED | CW_CONN_WAS_WATCHED | CW_CONN_POLLED);
    assert_string_equal(listener_id(&w), "nobody-there");
    make_blocked(&w, w.worker, SYS_accept4, w.listener->fd + 1);
    assert_string_equal(listener_id(&w), "nobody-there");
    make_blocked(&w, w.worker, SYS_accept4, w.listener->fd);
    assert_string_equal(listener_id(&w), "not-taken");
    assert_int_equal(cw_outside_acceptor(&w.f->view, w.listener)->tid, 4243);
    make_blocked(&w, w.worker, SYS_futex, 0);
    w.listener->flags |= CW_CONN_POLLED;
    w.listener->poll_mask = POLLIN;
    assert_string_equal(listener_id(&w), "not-taken");
    w.listener->poll_mask = POLLOUT;
    assert_string_equal(listener_id(&w), "nobody-there");
    w.listener->flags |= CW_CONN_WATCHED | CW_CONN_WAS_WATCHED;
    w.listener->epoll_mask = EPOLLIN | EPOLLET;
    w.listener->epoll_set = w.set;
    assert_string_equal(listener_id(&w), "not-taken");
    w.listener->epoll_mask = EPOLLONESHOT;
    assert_string_equal(listener_id(&w), "switched-off");
    assert_null(cw_outside_waiter(&w.f->view, w.set));
    make_set_alive(&w, AT_LATER);
    assert_int_equal(cw_outside_waiter(&w.f->view, w.set)->tid, 4244);
    assert_null(cw_outside_waiter(&w.f->view, 0));
    assert_ptr_equal(cw_listener_words(&w.f->view, NULL), &cw_listener_variants[CW_LISTENER_UNKNOWN]);
    w.f->header.flags &= ~(uint32_t)CW_HEADER_OUTSIDE;
    assert_ptr_equal(cw_listener_words(&w.f->view, w.listener),
                     &cw_listener_variants[cw_listener_variant(&w.f->view, w.listener)]);
    world_free(&w);
}

/* --- places --- */

static void at(struct fixture *f, uint32_t index, int tid, char is, int call, int object, uint32_t stack)
{
    f->view.threads[index] = (struct cw_thread){.tid = tid,
                                                .k_ms = 1,
                                                .k_state = is,
                                                .k_syscall = (int16_t)call,
                                                .k_object = object,
                                                .k_stack = stack,
                                                .name = "worker"};
    f->header.sections[CW_SECTION_THREADS].used = index + 1;
}

static void test_places(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(8);
    struct cw_place places[CW_PLACES_MAX];
    uint32_t others = 77;

    at(f, 1, 4242, 'S', SYS_futex, 0, 0); /* the main thread */
    at(f, 2, 5001, 'S', SYS_read, 7, 3);
    at(f, 3, 5002, 'S', SYS_futex, 0, 5);
    at(f, 4, 5003, 'S', SYS_futex, 0, 5);
    at(f, 5, 5004, 'X', SYS_futex, 0, 5); /* gone */
    at(f, 6, 5005, 'S', SYS_read, 8, 3);  /* another fd */
    at(f, 7, 5006, 'S', SYS_futex, 0, 5);
    at(f, 8, 5007, 'Z', SYS_read, 7, 3);
    assert_int_equal(cw_thread_places(&f->view, places, &others), 4);
    assert_int_equal(others, 0);
    assert_int_equal(f->view.threads[places[0].first].tid, 4242);
    assert_int_equal(f->view.threads[places[1].first].tid, 5002);
    assert_int_equal(places[1].count, 3);
    assert_int_equal(f->view.threads[places[2].first].tid, 5001);
    assert_int_equal(f->view.threads[places[3].first].tid, 5005);
    assert_true(cw_thread_same_place(&f->view, 3, 7));
    assert_false(cw_thread_same_place(&f->view, 3, 5));
    f->view.threads[7].k_errno = EPERM;
    assert_int_equal(cw_thread_places(&f->view, places, &others), 5);
    fixture_free(f);
}

/* As many threads as a ledger can name, each at a place of its own. */
static void test_many_places(void **state)
{
    (void)state;
    enum { MANY = 65535 };
    struct fixture *f = fixture_new(8);
    struct cw_thread *few = f->view.threads;
    struct cw_place places[CW_PLACES_MAX];
    uint32_t others = 0;

    f->view.threads = calloc(MANY + 1, sizeof *f->view.threads);
    assert_non_null(f->view.threads);
    f->view.n_threads = MANY + 1;
    for (uint32_t i = 1; i <= MANY; i++)
        at(f, i, 5000 + (int)i, 'S', SYS_read, (int)i, 0);
    assert_int_equal(cw_thread_places(&f->view, places, &others), CW_PLACES_MAX);
    assert_int_equal(others, MANY - CW_PLACES_MAX);
    f->header.sections[CW_SECTION_THREADS].used = UINT32_MAX; /* a hostile one */
    assert_int_equal(cw_thread_places(&f->view, places, &others), CW_PLACES_MAX);
    free(f->view.threads);
    f->view.threads = few;
    f->view.n_threads = FIXTURE_THREADS;
    fixture_free(f);
}

/* --- the report's sections --- */

struct rendered {
    struct fixture_text text;
    void *scratch;
};

static const char *render(struct fixture *f, bool json, struct rendered *ret)
{
    struct cw_report_input in = {.now_ms = NOW, .now_real_ns = UINT64_C(93000000000), .resolver = &f->resolver};
    struct cw_report report;
    size_t bytes = cw_report_scratch_bytes(&f->view);

    ret->scratch = malloc(bytes);
    assert_non_null(ret->scratch);
    assert_int_equal(cw_report_build(&report, &f->view, &in, ret->scratch, bytes), 0);
    fixture_text_begin(&ret->text);
    struct cw_json writer = {.out = &ret->text.out, .first = true};
    if (!json) {
        cw_text_threads(&ret->text.out, &report);
    } else {
        cw_json_open(&writer, NULL, '[');
        cw_json_threads(&writer, &report);
        cw_json_listeners(&writer, &report);
        cw_json_close(&writer, ']');
    }
    return fixture_text_end(&ret->text);
}

static void forget(struct rendered *rendered)
{
    fixture_text_free(&rendered->text);
    free(rendered->scratch);
}

static struct fixture *a_process(void)
{
    struct fixture *f = fixture_new(8);
    uint32_t module = fixture_module(f, "/srv/server", CW_MODULE_MAIN);
    const uint64_t frames[] = {CW_FRAME(module, 0x10), CW_FRAME(module, 0x20)};
    uint32_t stack = fixture_stack(f, frames, 2, CW_STACK_TRUNCATED);
    struct cw_conn *listener = fixture_listener(f, 100);

    fixture_symbol(f, frames[0], "take_lock", "server.c", 12);
    fixture_symbol(f, frames[1], "worker", "server.c", 34);
    f->header.flags |= CW_HEADER_OUTSIDE;
    listener->k_flags = CW_K_QUEUES;
    at(f, 1, 4242, 'S', SYS_epoll_wait, 5, 0);
    f->view.threads[1].k_errno = EPERM;
    f->view.threads[1].in_wait = 1;
    f->view.threads[1].waiting_set = 1;
    at(f, 2, 5001, 'S', SYS_futex, 5002, stack);
    for (int i = 0; i < 4; i++)
        at(f, (uint32_t)(3 + i), 5002 + i, 'S', SYS_futex, 5001, stack);
    at(f, 7, 5010, 'R', CW_SYSCALL_NONE, 0, 0);
    at(f, 8, 5011, 'T', SYS_read, 9, stack);
    return f;
}

static void test_text(void **state)
{
    (void)state;
    struct fixture *f = a_process();
    struct rendered rendered;
    static const char *const lines[] = {
        "LISTENERS: 1 listening socket of pid 4242\n",
        "3 waiting of at most 128, in no epoll set\n",
        "THREADS: 8 threads of pid 4242, and where they are now; some may just wait for work\n",
        "THREAD 1  1 thread (4242 worker)  sleeping in epoll_wait on fd 5\n    (its stack could not be read: EPERM; ",
        "THREAD 2  4 threads (5002 worker, 5003 worker, 5004 worker and 1 more)  sleeping in futex: waits for a lock "
        "that "
        "thread 5001 holds\n    #0  take_lock  server.c:12  (server+0x10)\n    #1  worker     server.c:34  "
        "(server+0x20)\n"
        "    (from where it was called further out is not known)\n",
        "THREAD 3  1 thread (5001 worker)  sleeping in futex: waits for a lock that thread 5002 holds\n",
        "1 thread (5010 worker)  running\n    (its stack was not read: it works, ",
        "1 thread (5011 worker)  stopped by a signal in read on fd 9\n",
    };
    const char *text = render(f, false, &rendered);

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        if (!strstr(text, lines[i]))
            fail_msg("not there: %s\nin: %s", lines[i], text);
    forget(&rendered);
    f->header.flags &= ~(uint32_t)CW_HEADER_OUTSIDE;
    assert_string_equal(render(f, false, &rendered), "");
    forget(&rendered);
    fixture_free(f);
}

static void test_json(void **state)
{
    (void)state;
    struct fixture *f = a_process();
    struct rendered rendered;
    static const char *const members[] = {
        "\"state\": \"S\"",
        "\"syscall\": \"futex\"",
        "\"lock_holder\": 5001",
        "\"function\": \"take_lock\"",
        "\"unavailable\": \"EPERM\"",
        "\"frames\": null",
        "\"state\": \"nobody-there\"",
        "\"waiting\": 3",
    };
    const char *text = render(f, true, &rendered);

    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        if (!strstr(text, members[i]))
            fail_msg("not there: %s\nin: %s", members[i], text);
    forget(&rendered);
    f->header.flags &= ~(uint32_t)CW_HEADER_OUTSIDE;
    const char *nothing = render(f, true, &rendered);
    assert_null(strchr(nothing, '{'));
    forget(&rendered);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_said_of_its_code),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_queues),
        cmocka_unit_test(test_listeners),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_many_places),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
