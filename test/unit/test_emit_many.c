/* Reports over several processes, as text and as JSON. */
#include "test/unit/tree.h"

static void three(struct tree *tree)
{
    tree_new(tree, PROCESSES);
    for (uint32_t k = 0; k < 6; k++)
        leak(tree, 1, 50000);
    for (uint32_t k = 0; k < 5; k++)
        leak(tree, 2, 40000 + k * 1000);
    leak(tree, 0, 92500);
    leak(tree, 2, 100); /* settling */
    tree->f[2]->header.ended = CW_ENDED_SIGNAL;
    strcpy(tree->f[2]->header.exe, "/usr/bin/helper");
    for (uint32_t i = 0; i < PROCESSES; i++) {
        tree->f[i]->header.counters[CW_COUNTER_connections] = 510; /* 10 of them by exec */
        tree->f[i]->header.counters[CW_COUNTER_accepted] = 500;
        tree->f[i]->header.counters[CW_COUNTER_closes_unseen] = i;
    }
}

static void test_three(void **state)
{
    (void)state;
    struct tree tree;

    three(&tree);
    expect_text(
        &tree,
        "== cwguard 0.1: ./server, 3 processes (pids 100, 101 and 102 (helper)) on web7, 2026-11-22T03:12:09Z, up "
        "1 m 33 s, 1,500 TCP connections, 2 running, 1 ended by a signal, grace 2 s\n"
        "LEAK 1  12 sockets in CLOSE_WAIT, oldest 92 s, newest 40 s                             [eof-not-closed]\n"
        "  The peer closed; this program read the end of stream and never closed the socket.\n"
        "  allocated by accept4 at\n"
        "    #0  accept_client  server.c:118  (server+0x1a2f)\n"
        "  end of stream seen by recv at\n"
        "    #0  on_readable  server.c:164  (server+0x1b04)\n"
        "  processes  pid 101: 6 sockets; 102 (helper): 5; 100: 1\n"
        "  evidence   pid 101: FIN read 50 s ago; last write 50 s ago; in epoll set 5 with EPOLLIN;\n"
        "             Recv-Q 1: only the FIN is unread; accepted 92 s ago\n"
        "  sockets    pid 101 fd 16   10.0.0.1:8080 <- 10.0.0.2:50001   50 s\n"
        "             pid 101 fd 17   10.0.0.1:8080 <- 10.0.0.2:50002   50 s\n"
        "             pid 101 fd 18   10.0.0.1:8080 <- 10.0.0.2:50003   50 s\n"
        "             pid 101 fd 19   10.0.0.1:8080 <- 10.0.0.2:50004   50 s\n"
        "             pid 101 fd 20   10.0.0.1:8080 <- 10.0.0.2:50005   50 s\n"
        "             pid 101 fd 21   10.0.0.1:8080 <- 10.0.0.2:50006   50 s\n"
        "             pid 102 fd 20   10.0.0.1:8080 <- 10.0.0.2:50005   44 s\n"
        "             pid 102 fd 19   10.0.0.1:8080 <- 10.0.0.2:50004   43 s\n"
        "             pid 102 fd 18   10.0.0.1:8080 <- 10.0.0.2:50003   42 s\n"
        "             pid 102 fd 17   10.0.0.1:8080 <- 10.0.0.2:50002   41 s\n"
        "             and 2 more\n"
        "  Recv-Q     1 (6 sockets), 2 (5), 0 (1)\n"
        "  next       close() it where recv returns 0: on_readable (server.c:164); more: cwguard explain "
        "eof-not-closed\n"
        "not seen   3 closes (raw system calls), 0 stacks rationed\n"
        "settling   1 socket in CLOSE_WAIT, but not for longer than the grace period, or only since the end began\n"
        "SUMMARY: cwguard: 12 sockets left in CLOSE_WAIT by 1 code path of 3 processes\n");
    expect_json(&tree, "r['process'] == r['processes'][0] and [p['pid'] for p in r['processes']] == [100, 101, 102]"
                       " and [p['ended']['how'] for p in r['processes']] == ['running', 'running', 'signal']"
                       " and r['ended']['how'] == 'running' and r['truth'] == 'kernel' and r['redacted'] == []"
                       " and r['totals']['connections'] == 1500 and r['totals']['closes_unseen'] == 3"
                       " and r['totals']['leaked'] == 12 and r['totals']['settling'] == 1 and len(r['leaks']) == 1");
    expect_json(&tree, "(lambda g: g['count'] == 12 == len(g['connections']) and g['oldest_s'] == 92.5"
                       " and g['newest_s'] == 40 and [(p['pid'], p['count']) for p in g['processes']] =="
                       " [(101, 6), (102, 5), (100, 1)] and [c['pid'] for c in g['connections']] =="
                       " [101] * 6 + [102] * 5 + [100] and len({c['inode'] for c in g['connections']}) == 12)"
                       "(r['leaks'][0])");
    tree_free(&tree);
}

static void test_many(void **state)
{
    (void)state;
    struct tree tree;

    tree_new(&tree, MANY);
    for (uint32_t i = 0; i < MANY; i++)
        for (uint32_t k = 0; k < 2 + (i == 7); k++)
            leak(&tree, i, 50000);
    leak(&tree, 40, 50000)->label = tree.label; /* another path */
    expect_part(&tree, "./server, 41 processes (pids 100, 101, 102 and 38 more) on web7, ");
    expect_part(&tree, "LEAK 1  83 sockets in CLOSE_WAIT, oldest 50 s, newest 50 s ");
    expect_part(&tree, "\n  processes  pid 107: 3 sockets; 100: 2; 101: 2; and 38 more processes with 76\n");
    expect_part(&tree, "\n  sockets    pid 107 fd 16   10.0.0.1:8080 <- 10.0.0.2:50001   50 s\n");
    expect_part(&tree, "\nLEAK 2  1 socket in CLOSE_WAIT for 50 s, tenant-4711 ");
    expect_part(&tree, "\n  processes  pid 140: 1 socket\n  evidence   FIN read 50 s ago;");
    expect_part(&tree, "SUMMARY: cwguard: 84 sockets left in CLOSE_WAIT by 2 code paths of 41 processes\n");
    expect_json(&tree, "r['totals']['leaked'] == 84 and [g['count'] for g in r['leaks']] == [83, 1]");
    tree_free(&tree);
}

/* What is not the same everywhere. */
static void test_differences(void **state)
{
    (void)state;
    struct tree tree;

    three(&tree);
    for (uint32_t i = 0; i < PROCESSES; i++) {
        tree.f[i]->header.ended = CW_ENDED_EXIT;
        tree.f[i]->header.end_status = 3;
    }
    expect_part(&tree, " connections, exited with status 3, grace 2 s\n");
    tree.f[1]->header.end_status = 0;
    tree.f[2]->header.ended = CW_ENDED_RUNNING;
    tree.in[2].grace_ms = 30000;
    expect_part(&tree, " connections, 1 running, 2 exited, grace 30 s, 2 s for ended ones\n");
    expect_json(&tree, "[p['grace_s'] for p in r['processes']] == [2, 2, 30] and r['grace_s'] == 2");
    tree.in[1].grace_ms = 4000;
    expect_part(&tree, ", grace 2 s to 30 s\n");
    strcpy(tree.f[1]->header.host, "web8");
    expect_part(&tree, "(pids 100, 101 and 102 (helper)) on web7 and other hosts, ");

    tree.f[1]->header.truth = CW_TRUTH_SWEEP;
    tree.f[1]->header.truth_ms = NOW - 7000;
    expect_part(&tree, ", state of pid 101 as of 7 s ago\n");
    tree.f[2]->header.truth = CW_TRUTH_NONE;
    tree.f[2]->header.truth_ms = NOW - 9000;
    tree.f[1]->header.flags = CW_HEADER_NO_NETLINK | CW_HEADER_ANONYMOUS;
    tree.f[1]->header.netlink_errno = 1;
    tree.f[2]->header.flags = CW_HEADER_NO_NETLINK | CW_HEADER_OFF;
    strcpy(tree.f[2]->header.off_reason, "it felt like it");
    expect_part(&tree,
                "\nnot seen   3 closes (raw system calls), 0 stacks rationed, pid 101: nothing survives the process "
                "(the ledger is anonymous memory), pid 101 and 1 more: sock_diag (EPERM; /proc/net/tcp was read "
                "instead), pid 102 (helper): it felt like it, state of 2 processes as of up to 9 s ago\n");
    expect_json(&tree, "r['truth'] == 'last-sweep' and r['truth_age_s'] == 7"
                       " and [p['truth'] for p in r['processes']] == ['kernel', 'last-sweep', 'last-sweep']"
                       " and [p['truth_age_s'] for p in r['processes']] == [0, 7, None]"
                       " and [p['host'] for p in r['processes']] == ['web7', 'web8', 'web7']");
    tree_free(&tree);
}

static void test_held(void **state)
{
    (void)state;
    struct tree tree;

    tree_new(&tree, 6);
    for (uint32_t i = 1; i < 6; i++) {
        tree.in[i].held_known = true;
        tree.in[i].held_sockets = i;
        tree.in[i].held_pids = 1;
        tree.in[i].held_pid = 900 + (int)i;
        tree.in[i].held_fd = 7;
    }
    expect_text(
        &tree, "cwguard: no sockets left in CLOSE_WAIT (6 processes, 0 TCP connections), but 1 socket that pid 101 has "
               "closed is kept open by its child 901 (fd 7): see held-elsewhere; 2 sockets that pid 102 has closed "
               "are kept open by its child 902 (fd 7): see held-elsewhere; 3 sockets that pid 103 has closed are "
               "kept open by its child 903 (fd 7): see held-elsewhere; 9 sockets in the same way of 2 more "
               "processes\n");
    leak(&tree, 0, 50000);
    expect_part(&tree, "\nheld       1 socket that pid 101 has closed is kept open by its child 901 (fd 7): see "
                       "held-elsewhere\nheld       2 sockets ");
    expect_part(&tree, "\nheld       9 sockets in the same way of 2 more processes\nSUMMARY: ");
    expect_json(&tree, "r['totals']['held_by_children'] == 15");
    tree_free(&tree);
}

static void test_clean(void **state)
{
    (void)state;
    struct tree tree;

    tree_new(&tree, PROCESSES);
    leak(&tree, 1, 100);
    tree.in[2].grace_ms = 30000;
    tree.f[0]->header.truth = CW_TRUTH_NONE;
    expect_text(&tree, "cwguard: no sockets left in CLOSE_WAIT (3 processes, 1 TCP connection, 1 process was never "
                       "checked, 1 settling for less than 30 s: --grace=0 counts them)\n");
    tree.f[1]->header.truth = tree.f[2]->header.truth = CW_TRUTH_NONE;
    expect_part(&tree, "no sockets known to be left in CLOSE_WAIT, none was ever checked (3 processes, 1 TCP");
    tree_free(&tree);
}

/* A copy of a process that ran then, and a process without a recorder. */
static void test_saved_and_outside(void **state)
{
    (void)state;
    struct tree tree;

    tree_new(&tree, 1);
    leak(&tree, 0, 50000);
    tree.f[0]->header.flags = CW_HEADER_SAVED;
    tree.in[0].age_ms = 3600000;
    tree.in[0].now_real_ns += UINT64_C(3600000000000);
    expect_part(&tree, "./server (pid 100 on web7), 2026-11-22T04:12:09Z, up 1 m 33 s, 1 TCP connection, as of "
                       "2026-11-22T03:12:09Z, running, grace 2 s\n");
    tree_free(&tree);

    tree_new(&tree, 2);
    tree.f[0]->header.flags = tree.f[1]->header.flags = CW_HEADER_OUTSIDE;
    expect_text(&tree, "cwguard: no sockets left in CLOSE_WAIT (2 processes, without libcwguard.so: what can be known "
                       "from outside)\n");
    leak(&tree, 0, 50000);
    expect_part(&tree, ", without libcwguard.so: what can be known from outside, running, grace 2 s\n");
    expect_part(&tree, "\nnot seen   where the sockets were opened and what was done with them\n");
    expect_json(&tree, "r['totals']['connections'] is None and r['totals']['closed_late'] is None"
                       " and r['totals']['close_wait'] == 1 and r['process']['connections'] is None"
                       " and r['process']['recorded'] is False");
    tree.f[1]->header.flags = 0;
    tree.f[1]->header.counters[CW_COUNTER_connections] = 9;
    tree.f[0]->header.counters[CW_COUNTER_connections] = 0;
    expect_part(&tree, ", 9 TCP connections, 1 process without libcwguard.so: what can be known from outside, running");
    expect_json(&tree, "r['totals']['connections'] == 9 and r['threads'] == []"
                       " and [p['connections'] for p in r['processes']] == [None, 9]");
    tree_free(&tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three), cmocka_unit_test(test_many),  cmocka_unit_test(test_differences),
        cmocka_unit_test(test_held),  cmocka_unit_test(test_clean), cmocka_unit_test(test_saved_and_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
