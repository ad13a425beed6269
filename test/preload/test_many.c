/* Very many connections at once: the ledger's size, and a report that lists what the kernel lists. Runs with the library
 * preloaded. As many as the fd limit allows, 19,000 at most. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PAIRS_MAX = 9500 }; /* both ends are this process's: 19,000 connections */

static int near_end[PAIRS_MAX], far_end[PAIRS_MAX];
static unsigned pairs;

static unsigned pairs_possible(void)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    uint64_t possible = limit.rlim_cur > 200 ? (limit.rlim_cur - 200) / 2 : 0;
    return possible < PAIRS_MAX ? (unsigned)possible : PAIRS_MAX;
}

static int open_all(void **state)
{
    (void)state;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 16), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
    unsigned n = pairs_possible();
    for (pairs = 0; pairs < n; pairs++) {
        far_end[pairs] = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(far_end[pairs], (struct sockaddr *)&at, sizeof at), 0);
        near_end[pairs] = accept(listener, NULL, NULL);
        assert_true(near_end[pairs] >= 0);
    }
    close(listener);
    return 0;
}

/* This process's ledger: PIDNS.PID.START.RANDOM.cwg in the directory of this user. */
static void find_ledger(char *path, size_t room)
{
    char dir[64], pid[32];
    snprintf(dir, sizeof dir, "/dev/shm/cwguard-%u", (unsigned)geteuid());
    snprintf(pid, sizeof pid, ".%d.", (int)getpid());
    path[0] = '\0';
    DIR *entries = opendir(dir);
    assert_non_null(entries);
    for (struct dirent *entry; (entry = readdir(entries));)
        if (strncmp(strchr(entry->d_name, '.') ? strchr(entry->d_name, '.') : "", pid, strlen(pid)) == 0)
            snprintf(path, room, "%s/%s", dir, entry->d_name);
    closedir(entries);
    assert_true(path[0] != '\0');
}

static void test_ledger_stays_under_8_mib(void **state)
{
    (void)state;
    char path[512];
    struct stat st;
    find_ledger(path, sizeof path);
    assert_int_equal(stat(path, &st), 0);
    printf("%u connections: %ld KiB of ledger\n", 2 * pairs, (long)st.st_blocks / 2);
    assert_true(st.st_blocks * 512L < 8L << 20);
}

static unsigned long count(const char *command)
{
    unsigned long n = 0;
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_int_equal(fscanf(pipe, "%lu", &n), 1);
    pclose(pipe);
    return n;
}

static void test_report_lists_what_the_kernel_lists(void **state)
{
    (void)state;
    const char *build = getenv("BUILD");
    char command[512];
    for (unsigned i = 0; i < pairs; i++)
        close(far_end[i]);
    snprintf(command, sizeof command, "env -u LD_PRELOAD ss -tanpH state close-wait | grep -c pid=%d,", (int)getpid());
    unsigned long kernel = count(command);
    assert_int_equal(kernel, pairs);
    snprintf(command, sizeof command,
             "env -u LD_PRELOAD %s/cwguard report --grace 0 --format json %d | grep -c '\"state\": \"CLOSE_WAIT\"'",
             build ? build : "build", (int)getpid());
    assert_int_equal(count(command), kernel);
    for (unsigned i = 0; i < pairs; i++)
        close(near_end[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_ledger_stays_under_8_mib, open_all),
        cmocka_unit_test(test_report_lists_what_the_kernel_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
