/* MPTCP: a socket whose peer closed is ESTABLISHED for TCP_INFO and absent from `ss -t`; poll and `ss -M` know better, and an
 * accepted one that fell back to TCP is plain TCP. The end's report of a child must list what both ss commands list. Runs
 * with the library preloaded. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* In the child: one connection that stays MPTCP and one that falls back, both closed by the peer and read to the end. Prints
 * what ss counts for this process, ends with its sockets open. */
static int leak(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
    if (listener < 0)
        return 77;
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 4) ||
        getsockname(listener, (struct sockaddr *)&at, &len))
        return 1;
    for (int i = 0; i < 2; i++) {
        char byte;
        int far = socket(AF_INET, SOCK_STREAM, i == 0 ? IPPROTO_MPTCP : IPPROTO_TCP);
        if (connect(far, (struct sockaddr *)&at, sizeof at) || write(far, "x", 1) != 1)
            return 2;
        int near = accept(listener, NULL, NULL);
        if (near < 0 || read(near, &byte, 1) != 1 || close(far) || read(near, &byte, 1) != 0)
            return 3;
    }
    char command[256];
    snprintf(command, sizeof command,
             "unset LD_PRELOAD; { ss -tanpH state close-wait; ss -ManpH state close-wait; } | grep -c pid=%d,",
             (int)getpid());
    fflush(stdout);
    return system(command) == 0 ? 0 : 4;
}

static int run_child(const char *log_path, char *ss, size_t room)
{
    int out[2], status = -1;
    assert_int_equal(pipe(out), 0);
    pid_t child = fork();
    if (child == 0) {
        char options[512];
        snprintf(options, sizeof options, "exit_grace=0:format=json:log_path=%s", log_path);
        setenv("CWGUARD_OPTIONS", options, 1);
        dup2(out[1], 1);
        execl("/proc/self/exe", "test_mptcp", "leak", (char *)NULL);
        _exit(98);
    }
    close(out[1]);
    ssize_t n = read(out[0], ss, room - 1);
    ss[n > 0 ? n : 0] = '\0';
    close(out[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_lists_what_both_ss_list(void **state)
{
    (void)state;
    char path[] = "/tmp/cwguard-mptcp-XXXXXX", ss[64], command[256];
    unsigned listed = 0, counted = 0;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    unlink(path);
    int status = run_child(path, ss, sizeof ss);
    if (status == 77) {
        printf("this kernel has no MPTCP\n");
        skip();
    }
    assert_int_equal(status, 0);
    assert_int_equal(sscanf(ss, "%u", &counted), 1);
    assert_int_equal(counted, 2);
    snprintf(command, sizeof command, "grep -c '\"state\": \"CLOSE_WAIT\"' %s", path);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_int_equal(fscanf(pipe, "%u", &listed), 1);
    pclose(pipe);
    unlink(path);
    assert_int_equal(listed, counted);
}

/* MPTCP sends a message without looking at its control data: a length in it that leads out of the buffer must lead nowhere. */
static void test_control_data_is_not_trusted(void **state)
{
    (void)state;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP), far = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
    if (listener < 0) {
        printf("this kernel has no MPTCP\n");
        skip();
    }
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 4), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
    assert_int_equal(connect(far, (struct sockaddr *)&at, sizeof at), 0);
    struct cmsghdr control = {.cmsg_len = (size_t)1 << 40, .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    char text[] = "hi";
    struct iovec iov = {text, 2};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t sent = sendmsg(far, &msg, 0);
    assert_true(sent == 2 || (sent == -1 && errno == EINVAL)); /* a kernel that looks after all */
    close(far);
    close(listener);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "leak") == 0)
        _exit(leak());
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lists_what_both_ss_list),
                                       cmocka_unit_test(test_control_data_is_not_trusted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
