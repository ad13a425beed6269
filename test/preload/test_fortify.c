/* A program built with _FORTIFY_SOURCE calls __read_chk and its like; what they do on a socket must be on record. Asks the
 * ledger of this very process through the tool. Runs with the library preloaded. */
#define _GNU_SOURCE
#undef _FORTIFY_SOURCE
#define _FORTIFY_SOURCE 2
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* Unknown to the compiler, so that the checking variants are called. */
static volatile size_t one = 1;

static void connected(int *ret_near, int *ret_far)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 4), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
    *ret_far = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(*ret_far, (struct sockaddr *)&at, sizeof at), 0);
    *ret_near = accept(listener, NULL, NULL);
    close(listener);
}

/* What the report says of the one socket in CLOSE_WAIT. */
static void report(char *text, size_t room)
{
    char command[512];
    const char *build = getenv("BUILD");
    snprintf(command, sizeof command, "env -u LD_PRELOAD %s/cwguard report --exit-grace 0 --grace 0 %d",
             build ? build : "build", (int)getpid());
    FILE *tool = popen(command, "r");
    assert_non_null(tool);
    size_t n = fread(text, 1, room - 1, tool);
    text[n] = '\0';
    pclose(tool);
}

static void expect_eof_seen_by(ssize_t (*take)(int fd), const char *words)
{
    char text[8192];
    int near, far;
    connected(&near, &far);
    close(far);
    assert_int_equal(take(near), 0);
    report(text, sizeof text);
    close(near);
    if (!strstr(text, words))
        fail_msg("expected '%s' in:\n%s", words, text);
}

static ssize_t take_read(int fd)
{
    char buf[8];
    return read(fd, buf, one);
}
static ssize_t take_recv(int fd)
{
    char buf[8];
    return recv(fd, buf, one, 0);
}
static ssize_t take_recvfrom(int fd)
{
    char buf[8];
    return recvfrom(fd, buf, one, 0, NULL, NULL);
}

static void test_read_chk(void **state)
{
    (void)state;
    expect_eof_seen_by(take_read, "end of stream seen by read at");
}
static void test_recv_chk(void **state)
{
    (void)state;
    expect_eof_seen_by(take_recv, "end of stream seen by recv at");
}
static void test_recvfrom_chk(void **state)
{
    (void)state;
    expect_eof_seen_by(take_recvfrom, "end of stream seen by recvfrom at");
}

/* poll and ppoll: the evidence says that the socket was watched. */
static ssize_t take_poll(int fd)
{
    struct pollfd asked[2] = {{.fd = fd, .events = POLLIN}};
    assert_int_equal(poll(asked, one, 1000), 1);
    return take_read(fd);
}
static ssize_t take_ppoll(int fd)
{
    struct pollfd asked[2] = {{.fd = fd, .events = POLLIN}};
    assert_int_equal(ppoll(asked, one, NULL, NULL), 1);
    return take_read(fd);
}

static void expect_polled(ssize_t (*take)(int fd))
{
    char text[8192];
    int near, far;
    connected(&near, &far);
    close(far);
    assert_int_equal(take(near), 0);
    report(text, sizeof text);
    close(near);
    assert_null(strstr(text, "never in an epoll, poll or select set"));
    assert_non_null(strstr(text, "in a poll or select set"));
}

static void test_poll_chk(void **state)
{
    (void)state;
    expect_polled(take_poll);
}
static void test_ppoll_chk(void **state)
{
    (void)state;
    expect_polled(take_ppoll);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_chk), cmocka_unit_test(test_recv_chk),  cmocka_unit_test(test_recvfrom_chk),
        cmocka_unit_test(test_poll_chk), cmocka_unit_test(test_ppoll_chk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
