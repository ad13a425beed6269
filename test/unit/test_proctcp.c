/* core/proctcp.c: lines of /proc/net/tcp and tcp6, made up and the real ones of this machine. */
#define _GNU_SOURCE
#include "core/proctcp.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const char line4[] =
    "   1: 0100007F:1F90 0200000A:C350 08 00000005:00000201 02:000A9E8C 00000000     0        0 123456 2 "
    "0000000000000000 20 4 30 10 -1";
static const char line6[] = "   0: 00000000000000000000000001000000:01BB 0000000000000000FFFF00000100007F:D431 08 "
                            "00000000:00000001 00:00000000 00000000  1000        0 0 1 0000000000000000 100 0 0 10 0";

static void test_ipv4(void **state)
{
    (void)state;
    struct cw_sock sock;
    assert_true(cw_proctcp_line(line4, strlen(line4), AF_INET, &sock));
    assert_memory_equal(sock.local, ((uint8_t[]){127, 0, 0, 1}), 4);
    assert_memory_equal(sock.peer, ((uint8_t[]){10, 0, 0, 2}), 4);
    assert_int_equal(sock.local_port, 8080);
    assert_int_equal(sock.peer_port, 50000);
    assert_int_equal(sock.state, TCP_CLOSE_WAIT);
    assert_int_equal(sock.send_q, 5);
    assert_int_equal(sock.recv_q, 0x201);
    assert_int_equal(sock.inode, 123456);
    assert_true(sock.keepalive && sock.has_queues && !sock.has_info);
}

static void test_ipv6(void **state)
{
    (void)state;
    struct cw_sock sock;
    struct in6_addr loopback = IN6ADDR_LOOPBACK_INIT;
    assert_true(cw_proctcp_line(line6, strlen(line6), AF_INET6, &sock));
    assert_memory_equal(sock.local, &loopback, 16);
    assert_memory_equal(sock.peer + 10, ((uint8_t[]){0xFF, 0xFF, 127, 0, 0, 1}), 6);
    assert_int_equal(sock.local_port, 443);
    assert_int_equal(sock.inode, 0);
    assert_false(sock.keepalive);
}

static void test_what_is_no_socket(void **state)
{
    (void)state;
    struct cw_sock sock;
    static const char heading[] = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid";
    assert_false(cw_proctcp_line(heading, strlen(heading), AF_INET, &sock));
    assert_false(cw_proctcp_line("", 0, AF_INET, &sock));
    /* Cut anywhere before the end of the inode: refused, or (within its digits) a shorter number. */
    size_t inode_at = (size_t)(strstr(line4, " 123456 ") - line4) + 1;
    for (size_t n = 0; n <= inode_at; n++)
        assert_false(cw_proctcp_line(line4, n, AF_INET, &sock));
    assert_false(cw_proctcp_line(line6, strlen(line6), AF_INET, &sock));
}

/* The kernel's own text: the listener that this test opens must be in it, with its inode. */
static void test_the_real_file(void **state)
{
    (void)state;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    struct stat st;
    int fd = socket(AF_INET, SOCK_STREAM, 0), found = 0;
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    assert_int_equal(fstat(fd, &st), 0);
    FILE *file = fopen("/proc/self/net/tcp", "r");
    assert_non_null(file);
    char line[CW_PROCTCP_LINE_BYTES];
    while (fgets(line, sizeof line, file)) {
        struct cw_sock sock;
        if (!cw_proctcp_line(line, strcspn(line, "\n"), AF_INET, &sock) || sock.inode != (uint32_t)st.st_ino)
            continue;
        assert_int_equal(sock.local_port, ntohs(at.sin_port));
        assert_memory_equal(sock.local, &at.sin_addr, 4);
        assert_int_equal(sock.state, TCP_LISTEN);
        found++;
    }
    fclose(file);
    close(fd);
    assert_int_equal(found, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ipv4),
        cmocka_unit_test(test_ipv6),
        cmocka_unit_test(test_what_is_no_socket),
        cmocka_unit_test(test_the_real_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
