/* mlockall makes every accessible page real and keeps it: the sparse ledger must stay as small as it was, whether the program
 * locks before or after its first socket, and forked children must find their way about it. Runs with the library
 * preloaded. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Bytes on the tmpfs of this process's ledger; -1 if it has none. */
static long ledger_bytes(void)
{
    char dir[64], pid[32], path[512] = "";
    struct stat st;
    snprintf(dir, sizeof dir, "/dev/shm/cwguard-%u", (unsigned)geteuid());
    snprintf(pid, sizeof pid, ".%d.", (int)getpid());
    DIR *entries = opendir(dir);
    for (struct dirent *entry; entries && (entry = readdir(entries));)
        if (strncmp(strchr(entry->d_name, '.') ? strchr(entry->d_name, '.') : "", pid, strlen(pid)) == 0)
            snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
    if (entries)
        closedir(entries);
    return stat(path, &st) == 0 ? (long)st.st_blocks * 512 : -1;
}

/* Opens and closes more connections than fit into the chunks that are real at the start. */
static int busy(unsigned pairs)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fds[1024];
    unsigned n = 0;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 8) ||
        getsockname(listener, (struct sockaddr *)&at, &len))
        return 1;
    for (unsigned i = 0; i < pairs; i++) {
        fds[n++] = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fds[n - 1], (struct sockaddr *)&at, sizeof at) || (fds[n++] = accept(listener, NULL, NULL)) < 0)
            return 2;
    }
    while (n--)
        close(fds[n]);
    close(listener);
    return 0;
}

/* In a child: locks, works, forks a child that works on; its exit status says what went wrong. */
static int scenario(int lock_first)
{
    int held = lock_first ? -1 : socket(AF_INET, SOCK_STREAM, 0);
    if (mlockall(MCL_CURRENT | MCL_FUTURE))
        return errno == ENOMEM || errno == EPERM ? 77 : 3;
    if (held < 0)
        held = socket(AF_INET, SOCK_STREAM, 0);
    if (busy(300))
        return 4;
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        close(held); /* the child's first touch: it adopts what the parent has */
        _exit(busy(300) ? 5 : 0);
    }
    if (busy(300) || waitpid(child, &status, 0) != child || status != 0)
        return 6;
    long bytes = ledger_bytes();
    printf("locked %s the first socket: %ld KiB of ledger\n", lock_first ? "before" : "after", bytes / 1024);
    return bytes < 0 ? 8 : bytes > 4 << 20 ? 9 : 0;
}

static void run(const char *which)
{
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "test_mlock", which, (char *)NULL);
        _exit(98);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        printf("mlockall is not permitted here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_locked_before_the_first_socket(void **state)
{
    (void)state;
    run("first");
}

static void test_locked_after_the_first_socket(void **state)
{
    (void)state;
    run("later");
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return scenario(strcmp(argv[1], "first") == 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_locked_before_the_first_socket),
        cmocka_unit_test(test_locked_after_the_first_socket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
