/* core/emit_text.c: the text report, against what it should look like word for word. */
#include "core/emit.h"
#include "test/unit/fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include <cmocka.h>

enum { NOW = 93000 };

/* What a test adds to the report's input. */
static struct cw_report_input added;

static char *render(struct fixture *f, enum cw_late late, bool colour)
{
    struct cw_report report;
    struct fixture_text text;
    struct cw_report_input in = added;

    in.now_ms = NOW;
    in.now_real_ns = f->header.start_real_ns + UINT64_C(93000000000);
    in.grace_ms = 2000;
    in.late = late;
    in.colour = colour;
    in.resolver = &f->resolver;
    size_t bytes = cw_report_scratch_bytes(&f->view);
    void *scratch = malloc(bytes);

    assert_non_null(scratch);
    assert_int_equal(cw_report_build(&report, &f->view, &in, scratch, bytes), 0);
    fixture_text_begin(&text);
    assert_int_equal(fixture_emit(&text.out, (const struct cw_report *[]){&report}, 1, CW_FORMAT_TEXT), 0);
    fixture_text_end(&text);
    free(scratch);
    return text.text;
}

static void expect(struct fixture *f, enum cw_late late, const char *expected)
{
    char *text = render(f, late, false);
    assert_string_equal(text, expected);
    free(text);
}

struct server {
    uint32_t accept, eof, close;
};

/* The server of the documentation: accepts in an event loop, reads the end of stream, does not close. */
static struct server server_symbols(struct fixture *f)
{
    uint32_t main = fixture_module(f, "/srv/app/server", CW_MODULE_MAIN);
    uint32_t libc = fixture_module(f, "/lib/x86_64-linux-gnu/libc.so.6", CW_MODULE_LIBC);
    uint32_t shim = fixture_module(f, "/usr/lib/libcwguard.so", CW_MODULE_SHIM);
    const uint64_t accept = CW_FRAME(main, 0x1a2f), loop = CW_FRAME(main, 0x1c80), start = CW_FRAME(main, 0x2011);
    const uint64_t readable = CW_FRAME(main, 0x1b04), libc_main = CW_FRAME(libc, 0x29d90),
                   drop = CW_FRAME(main, 0x1d00);

    fixture_symbol(f, accept, "accept_client", "/home/u/src/server.c", 118);
    fixture_symbol(f, loop, "dispatch", "/home/u/src/loop.h", 31);
    fixture_symbol(f, loop, "event_loop", "/home/u/src/server.c", 240);
    fixture_symbol(f, start, "main", "/home/u/src/server.c", 301);
    fixture_symbol(f, libc_main, "__libc_start_call_main", NULL, 0);
    fixture_symbol(f, readable, "on_readable", "/home/u/src/server.c", 164);
    return (struct server){
        .accept = fixture_stack(f, (const uint64_t[]){CW_FRAME(shim, 0x99), accept, loop, start, libc_main}, 5, 0),
        .eof = fixture_stack(f, (const uint64_t[]){readable, loop, start, libc_main}, 4, 0),
        .close = fixture_stack(f, (const uint64_t[]){drop, start}, 2, CW_STACK_TRUNCATED)};
}

static struct cw_conn *leak_eof(struct fixture *f, const struct server *server, uint32_t fin_age)
{
    struct cw_conn *conn = fixture_conn(f, 1000);

    conn->open_stack = server->accept;
    conn->flags |= CW_CONN_EOF_SEEN | CW_CONN_EOF_CONSUMED | CW_CONN_WATCHED | CW_CONN_WAS_WATCHED;
    conn->epoll_fd = 5;
    conn->epoll_mask = EPOLLIN;
    conn->eof_ms = NOW - fin_age;
    conn->eof_call = CW_CALL_recv;
    conn->eof_stack = server->eof;
    conn->out_last_ms = NOW - fin_age;
    fixture_close_wait(conn, NOW, fin_age, fin_age);
    conn->k_recv_q = 0;
    return conn;
}

static void test_documented_report(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(128);
    struct server server = server_symbols(f);

    for (uint32_t i = 0; i < 128; i++)
        leak_eof(f, &server, i == 0 ? 92500 : i == 127 ? 4000 : 50000)->k_recv_q = i < 2 ? 513 : 0;
    f->header.counters[CW_COUNTER_connections] = 1204;
    f->header.counters[CW_COUNTER_closes_unseen] = 2;
    expect(f, CW_LATE_NOTE,
           "== cwguard 0.1: ./server (pid 4242 on web7), 2026-11-22T03:12:09Z, up 1 m 33 s, 1,204 TCP connections, "
           "ended by SIGTERM, grace 2 s\n"
           "LEAK 1  128 sockets in CLOSE_WAIT, oldest 92 s, newest 4 s                             [eof-not-closed]\n"
           "  The peer closed; this program read the end of stream and never closed the socket.\n"
           "  allocated by accept4 at\n"
           "    #0  accept_client       server.c:118  (server+0x1a2f)\n"
           "    #1  dispatch (inlined)  loop.h:31     (server+0x1c80)\n"
           "    #2  event_loop          server.c:240  (server+0x1c80)\n"
           "    #3  main                server.c:301  (server+0x2011)\n"
           "  end of stream seen by recv at\n"
           "    #0  on_readable         server.c:164  (server+0x1b04)\n"
           "    #1  dispatch (inlined)  loop.h:31     (server+0x1c80)\n"
           "    #2  event_loop          server.c:240  (server+0x1c80)\n"
           "    #3  main                server.c:301  (server+0x2011)\n"
           "  evidence   FIN read 4 s to 92 s ago; last write 4 s to 92 s ago; in epoll set 5 with EPOLLIN;\n"
           "             Recv-Q 0 to 513: data is unread (2 of 128); accepted 92 s ago\n"
           "  sockets    fd 16   10.0.0.1:8080 <- 10.0.0.2:50001   92 s\n"
           "             fd 17   10.0.0.1:8080 <- 10.0.0.2:50002   50 s\n"
           "             fd 18   10.0.0.1:8080 <- 10.0.0.2:50003   50 s\n"
           "             fd 19   10.0.0.1:8080 <- 10.0.0.2:50004   50 s\n"
           "             fd 20   10.0.0.1:8080 <- 10.0.0.2:50005   50 s\n"
           "             fd 21   10.0.0.1:8080 <- 10.0.0.2:50006   50 s\n"
           "             fd 22   10.0.0.1:8080 <- 10.0.0.2:50007   50 s\n"
           "             fd 23   10.0.0.1:8080 <- 10.0.0.2:50008   50 s\n"
           "             fd 24   10.0.0.1:8080 <- 10.0.0.2:50009   50 s\n"
           "             fd 25   10.0.0.1:8080 <- 10.0.0.2:50010   50 s\n"
           "             and 118 more\n"
           "  Recv-Q     0 (126 sockets), 513 (2)\n"
           "  next       close() it where recv returns 0: on_readable (server.c:164); more: cwguard explain "
           "eof-not-closed\n"
           "not seen   2 closes (raw system calls), 0 stacks rationed\n"
           "SUMMARY: cwguard: 128 sockets left in CLOSE_WAIT by 1 code path\n");
    fixture_free(f);
}

static void test_clean(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(3);

    f->header.counters[CW_COUNTER_connections] = 1204;
    expect(f, CW_LATE_NOTE, "cwguard: no sockets left in CLOSE_WAIT (1,204 TCP connections)\n");
    f->header.counters[CW_COUNTER_connections] = 0;
    fixture_close_wait(fixture_conn(f, 1000), NOW, 100, 100);
    expect(
        f, CW_LATE_NOTE,
        "cwguard: no sockets left in CLOSE_WAIT (1 TCP connection, 1 settling for less than 2 s: exit_grace=0 counts "
        "them)\n");
    f->header.ended = CW_ENDED_RUNNING;
    expect(f, CW_LATE_NOTE,
           "cwguard: no sockets left in CLOSE_WAIT (1 TCP connection, 1 settling for less than 2 s: --grace=0 counts "
           "them)\n");
    fixture_free(f);
}

/* Sockets that the process has closed, and a child has not: a remark, whatever else there is, and no leak. */
static void test_held_by_children(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(3);
    char *text;

    f->header.counters[CW_COUNTER_connections] = 8;
    added = (struct cw_report_input){
        .held_known = true, .held_sockets = 3, .held_pids = 1, .held_pid = 4321, .held_fd = 7, .held_name = "sleep"};
    expect(f, CW_LATE_NOTE,
           "cwguard: no sockets left in CLOSE_WAIT (8 TCP connections), but 3 sockets that this process has closed are "
           "kept open by its child 4321 (sleep, fd 7): see held-elsewhere\n");
    struct server server = server_symbols(f);
    leak_eof(f, &server, 5000);
    text = render(f, CW_LATE_NOTE, false);
    assert_non_null(strstr(text, "\nheld       3 sockets that this process has closed are kept open by its child 4321 "
                                 "(sleep, fd 7): see held-elsewhere\n"
                                 "SUMMARY: cwguard: 1 socket left in CLOSE_WAIT by 1 code path\n"));
    free(text);
    added.held_sockets = 1;
    added.held_pids = 3;
    added.held_by_descendant = true;
    memcpy(added.held_name, "a\x1b[2J", sizeof "a\x1b[2J");
    text = render(f, CW_LATE_NOTE, false);
    assert_non_null(strstr(text, "held       1 socket that this process has closed is kept open by its descendant 4321 "
                                 "(a"));
    assert_non_null(strstr(text, ", fd 7) and 2 more: see held-elsewhere\n"));
    assert_null(strchr(text, '\x1b'));
    free(text);
    added = (struct cw_report_input){.held_known = true};
    text = render(f, CW_LATE_NOTE, false);
    assert_null(strstr(text, "held "));
    free(text);
    added = (struct cw_report_input){0};
    fixture_free(f);
}

static void test_two_groups_unnamed(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(10);
    uint32_t module = fixture_module(f, "/opt/x/plugin.so", CW_MODULE_OTHER);
    uint32_t nameless = fixture_stack(f, (const uint64_t[]){CW_FRAME(module, 0x1234)}, 1, CW_STACK_CALLER_ONLY);

    struct cw_conn *conn = fixture_conn(f, 1000);
    conn->open_stack = nameless;
    conn->origin = CW_ORIGIN_CONNECT;
    conn->open_call = CW_CALL_socket;
    conn->family = 10;
    memcpy(conn->local, (uint8_t[16]){[15] = 1}, 16);
    memcpy(conn->peer, (uint8_t[16]){[15] = 1}, 16);
    conn->flags |= CW_CONN_POLLED;
    conn->poll_mask = 1; /* POLLIN */
    conn->polled_ms = NOW - 1000;
    fixture_close_wait(conn, NOW, 5000, 5000);
    for (int i = 0; i < 4; i++) {
        conn = fixture_conn(f, 0);
        conn->origin = CW_ORIGIN_UNTRACKED;
        conn->open_call = 0;
        fixture_close_wait(conn, NOW, 3000, 3000);
        conn->k_flags = 0;
    }
    f->header.flags = CW_HEADER_NO_NETLINK | CW_HEADER_ANONYMOUS;
    f->header.truth = CW_TRUTH_SWEEP;
    f->header.truth_ms = NOW - 7000;
    f->header.ended = CW_ENDED_KILLED;
    expect(
        f, CW_LATE_NOTE,
        "== cwguard 0.1: ./server (pid 4242 on web7), 2026-11-22T03:12:09Z, up 1 m 33 s, 5 TCP connections, killed, "
        "grace 2 s\n"
        "LEAK 1  4 sockets in CLOSE_WAIT, oldest 3 s, newest 3 s                                     [untracked]\n"
        "  The peer closed; the socket was opened by a route that cwguard does not see (raw system call, io_uring).\n"
        "  allocated where no hook was: opened unseen\n"
        "  evidence   end of stream not seen; never seen in an epoll, poll or select set; Recv-Q not known;\n"
        "             opened unseen\n"
        "  sockets    fd 17   10.0.0.1:8080 -- 10.0.0.2:50002   3 s\n"
        "             fd 18   10.0.0.1:8080 -- 10.0.0.2:50003   3 s\n"
        "             fd 19   10.0.0.1:8080 -- 10.0.0.2:50004   3 s\n"
        "             and 1 more\n"
        "  next       find what talks to this peer; strace -f -e trace=network,close shows the calls; more: cwguard "
        "explain untracked\n"
        "LEAK 2  1 socket in CLOSE_WAIT for 5 s                                                     [fin-unread]\n"
        "  The peer closed; this program has not read the end of stream and has not closed the socket.\n"
        "  allocated by socket at\n"
        "    #0  plugin.so+0x1234  (build-id a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1)\n"
        "    (only the caller is known)\n"
        "  evidence   end of stream not seen; no write seen; no read seen; last in a poll or select set 1 s ago;\n"
        "             Recv-Q 1: only the FIN is unread; connected 92 s ago\n"
        "  sockets    fd 16   [::1]:8080 -> [::1]:50001   5 s\n"
        "  Recv-Q     1 (1 socket)\n"
        "  next       read it until 0 comes back, or watch it for EPOLLRDHUP, then close() it; more: cwguard explain "
        "fin-unread\n"
        "not seen   0 closes (raw system calls), 0 stacks rationed, nothing survives the process (the ledger is "
        "anonymous memory), Recv-Q (no sock_diag: refused), state as of 7 s ago\n"
        "SUMMARY: cwguard: 5 sockets left in CLOSE_WAIT by 2 code paths\n");
    fixture_free(f);
}

/* What is missing depends on what was asked in sock_diag's place. */
static void test_without_sock_diag(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(4);
    struct server server = server_symbols(f);
    struct cw_conn *conn = leak_eof(f, &server, 5000);
    char *text;

    f->header.flags = CW_HEADER_NO_NETLINK;
    f->header.netlink_errno = EPERM;
    text = render(f, CW_LATE_NOTE, false);
    assert_non_null(strstr(text, "stacks rationed, sock_diag (EPERM; /proc/net/tcp was read instead)\n"));
    free(text);
    conn->k_last_ack_recv = conn->k_last_data_sent = 0;
    text = render(f, CW_LATE_NOTE, false);
    assert_non_null(strstr(text, ", since when (no sock_diag: EPERM; /proc/net/tcp was read instead)\n"));
    free(text);
    conn->k_flags = 0;
    text = render(f, CW_LATE_NOTE, false);
    assert_non_null(strstr(text, ", Recv-Q (no sock_diag: EPERM)\n"));
    free(text);
    fixture_free(f);
}

static void test_closed_late(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(10);
    struct server server = server_symbols(f);

    for (uint32_t i = 0; i < 2; i++) {
        struct cw_conn *conn = leak_eof(f, &server, 80000);
        conn->flags |= CW_CONN_LATE;
        conn->fin_ms = NOW - 80000;
        conn->close_ms = conn->fin_ms + 31000 + i * 9000;
        conn->close_stack = server.close;
        conn->close_call = CW_CALL_close;
    }
    char *text = render(f, CW_LATE_NOTE, false);
    assert_non_null(strstr(text, "\nCLOSED LATE: these sockets were closed, but only after they had leaked\n"
                                 "LATE 1  2 sockets closed after 31 s to 40 s in CLOSE_WAIT "));
    assert_non_null(strstr(text, "\n  closed at last by close at\n"
                                 "    #0  server+0x1d00                (build-id a1a1a1"));
    assert_non_null(strstr(text, "    (deeper frames were not kept: option depth)\n"));
    assert_non_null(strstr(text, "\nSUMMARY: cwguard: no sockets left in CLOSE_WAIT, 2 closed late by 1 code path\n"));
    free(text);
    expect(f, CW_LATE_OFF, "cwguard: no sockets left in CLOSE_WAIT (2 TCP connections)\n");
    fixture_free(f);
}

/* A listener that is closed with connections waiting. */
static void test_never_accepted(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(10);
    struct server server = server_symbols(f);

    for (uint32_t i = 0; i < 8; i++) {
        struct cw_conn *conn = fixture_conn(f, 0);
        conn->origin = CW_ORIGIN_QUEUED;
        conn->open_call = CW_CALL_listen;
        conn->open_stack = server.accept;
        conn->fd = -1;
        conn->flags |= CW_CONN_LATE;
        fixture_close_wait(conn, NOW - 1000, 40000, 40000);
        conn->fin_ms = NOW - 41000;
        conn->close_ms = NOW - 1000;
        conn->close_stack = server.close;
        conn->close_call = CW_CALL_close;
    }
    char *text = render(f, CW_LATE_NOTE, false);
    assert_non_null(strstr(text, "LATE 1  8 sockets closed after 40 s in CLOSE_WAIT "));
    assert_non_null(strstr(text, "[never-accepted]\n"));
    assert_non_null(strstr(text, "  in the queue of the listener set up by listen at\n    #0  accept_client "));
    assert_non_null(strstr(text, "             queued   10.0.0.1:8080 <- 10.0.0.2:50008   40 s\n  Recv-Q"));
    assert_non_null(strstr(text, "its listener is closed"));
    free(text);

    struct cw_conn *listener = fixture_listener(f, 500);
    listener->flags |= CW_CONN_WATCHED | CW_CONN_WAS_WATCHED;
    listener->fd = 3;
    listener->epoll_fd = 4;
    listener->epoll_mask = EPOLLIN;
    listener->in_first_ms = listener->in_last_ms = NOW - 60000;
    listener->in_last_res = 19;
    listener->in_call = CW_CALL_accept4;
    text = render(f, CW_LATE_NOTE, false);
    assert_non_null(strstr(text, "  evidence   listener fd 3 in epoll set 4 with EPOLLIN; its acceptor is elsewhere;\n"
                                 "             8 closed by their peers, 3 waiting in all, of at most 128; "
                                 "last accept 60 s ago returned fd 19;\n"
                                 "             thread not known; Recv-Q 1: only the FIN is unread\n"));
    assert_non_null(
        strstr(text, "\n  next       find out why the accepting thread does not come back; the listener was set up "
                     "in accept_client (server.c:118); more: "));
    listener->in_last_res = -24;
    free(text);
    text = render(f, CW_LATE_NOTE, false);
    assert_non_null(strstr(text, "; accept fails;\n"));
    assert_non_null(strstr(text, "last accept 60 s ago failed with EMFILE;"));
    assert_non_null(strstr(text, "\n  next       make room for fds: accept4 fails; the listener was set up "));
    free(text);
    fixture_free(f);
}

/* Connections that have failed stand apart, and are no CLOSE_WAIT. */
static void test_failed(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(10);
    struct server server = server_symbols(f);

    for (uint32_t i = 0; i < 2; i++) {
        struct cw_conn *conn = fixture_conn(f, 1000);
        conn->open_stack = server.accept;
        fixture_close_wait(conn, NOW, 40000, 40000);
        conn->k_state = 7;
        conn->flags |= CW_CONN_IN_FAILED;
        conn->in_last_ms = conn->in_first_ms = NOW - 40000 - i * 1000;
        conn->in_last_res = -104;
        conn->in_call = CW_CALL_recv;
        conn->touch_stack = server.eof;
    }
    char *text = render(f, CW_LATE_NOTE, false);
    assert_non_null(strstr(text, "\nFAILED: these connections were reset or timed out and are still open; "
                                 "no CLOSE_WAIT any more\n"
                                 "ERROR 1  2 sockets in CLOSE, not used, oldest 41 s, newest 40 s "));
    assert_non_null(strstr(text, "[error-not-closed]\n"));
    assert_non_null(strstr(text, "\n  last used by recv at\n    #0  on_readable "));
    assert_non_null(strstr(text, "it failed with ECONNRESET"));
    assert_non_null(strstr(text, "\n  next       close() it where recv fails: on_readable (server.c:164); more: "));
    assert_non_null(strstr(text, "\nSUMMARY: cwguard: no sockets left in CLOSE_WAIT, 2 failed and not closed by "
                                 "1 code path\n"));
    free(text);
    fixture_free(f);
}

static void test_colour(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(3);
    struct server server = server_symbols(f);

    leak_eof(f, &server, 80000);
    char *text = render(f, CW_LATE_NOTE, true);
    assert_non_null(strstr(text, "\033[1;31mLEAK 1  1 socket in CLOSE_WAIT for 80 s "));
    assert_non_null(strstr(text, "[eof-not-closed]\033[0m\n"));
    free(text);
    text = render(f, CW_LATE_NOTE, false);
    assert_null(strchr(text, 033));
    free(text);
    fixture_free(f);
}

/* Nothing from a ledger or a symbol table reaches a terminal raw. */
static void test_hostile_text(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(10);
    uint32_t module = fixture_module(f, "/srv/\x1b]0;evil\x07", CW_MODULE_MAIN);
    const uint64_t frames[] = {CW_FRAME(module, 1), CW_FRAME(0xFFFF, 2), CW_FRAME(module, 3)};

    fixture_symbol(f, frames[0], "f\x1b[2J\n\xff", "x\x1b.c", 1);
    fixture_symbol(f, frames[1], NULL, "only-file.c", 0);
    strcpy(f->header.exe, "\x1b[1m");
    strcpy(f->header.host, "\x1b[1m");
    memset(f->header.command, 0x1b, sizeof(f->header.command));
    f->header.flags = CW_HEADER_OFF;
    memset(f->header.off_reason, 0x1b, sizeof(f->header.off_reason));
    for (uint32_t i = 0; i < 6; i++) {
        struct cw_conn *conn = fixture_conn(f, 1);
        conn->open_stack = i == 5 ? 0xFFFFFFF0 : fixture_stack(f, frames, 3, 0);
        conn->close_stack = conn->touch_stack = 0x7FFFFFFF;
        conn->flags |= i % 2 ? CW_CONN_EOF_SEEN : 0;
        conn->eof_stack = i % 2 ? conn->open_stack : 0xFFFFFFFF;
        conn->eof_call = conn->open_call = conn->in_call = 255;
        conn->origin = 255;
        conn->label = i == 4 ? 0xFFFFFFFF : fixture_string(f, "label\x1b[5m");
        conn->open_thread = 0xFFFFFFFF;
        conn->epoll_fd = INT32_MIN;
        conn->epoll_mask = 0xFFFFFFFF;
        conn->flags |= CW_CONN_WATCHED;
        conn->family = (uint8_t)i;
        fixture_close_wait(conn, NOW, 5000, 5000);
        conn->k_recv_q = UINT32_MAX;
    }
    char *text = render(f, CW_LATE_FAIL, false);
    for (const char *p = text; *p; p++)
        assert_true(*p == '\n' || (unsigned char)*p >= 0x20);
    assert_non_null(strstr(text, "\\x1b"));
    assert_non_null(strstr(text, "SUMMARY: cwguard: 6 sockets left in CLOSE_WAIT by 6 code paths\n"));
    free(text);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_documented_report),
        cmocka_unit_test(test_clean),
        cmocka_unit_test(test_held_by_children),
        cmocka_unit_test(test_without_sock_diag),
        cmocka_unit_test(test_closed_late),
        cmocka_unit_test(test_two_groups_unnamed),
        cmocka_unit_test(test_never_accepted),
        cmocka_unit_test(test_failed),
        cmocka_unit_test(test_colour),
        cmocka_unit_test(test_hostile_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
