/* What is noted in reports and not announced while the program runs. usage: notes oneshot|armed|pooled|unread|half-open
 * oneshot: a client's event was delivered and read, and the one-shot registration never armed again. armed: it was, and
 * then another set is waited on. pooled: the server closes a connection that is kept for the next request. unread:
 * likewise, with part of an answer in it. half-open: the client has shut down its side and is still sent to, at growing
 * intervals. The program goes on waiting, and sweeping. */
#include "test/e2e/victims/victim.h"

#include <sys/epoll.h>
#include <time.h>

static int set;

static void watch(int fd, int op, uint32_t mask)
{
    struct epoll_event event = {.events = mask, .data.fd = fd};
    MUST(epoll_ctl(set, op, fd, &event) == 0);
}

/* Reads what one event tells of. */
NOINLINE static void serve_one(void)
{
    struct epoll_event event;
    char buf[16];
    MUST(epoll_wait(set, &event, 1, 10000) == 1 && read(event.data.fd, buf, sizeof buf) == 1);
}

/* Goes round epoll_wait for so long, or (-1) until the runner answers; other events are ignored. */
static void go_round(int milliseconds)
{
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (;;) {
        struct epoll_event ready[4];
        int n = epoll_wait(set, ready, 4, 20);
        for (int i = 0; i < n; i++)
            if (ready[i].data.fd == ctl_in && milliseconds < 0) {
                victim_answer();
                return;
            }
        clock_gettime(CLOCK_MONOTONIC, &now);
        long passed = (now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000;
        if (milliseconds >= 0 && passed >= milliseconds)
            return;
    }
}

static void stop_reading(bool arm_again)
{
    int fd;
    take_clients(listen_on(AF_INET), 1, &fd);
    watch(fd, EPOLL_CTL_ADD, EPOLLIN | EPOLLONESHOT);
    ask("send 0 1");
    serve_one();
    if (arm_again) {
        watch(fd, EPOLL_CTL_MOD, EPOLLIN | EPOLLONESHOT);
        MUST((set = epoll_create1(0)) >= 0);
    }
    ask("fin");
}

static void keep_in_pool(bool unread)
{
    char byte = 'x';
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    at.sin_port = htons((uint16_t)atoi(ask("serve")));
    MUST(connect(fd, (struct sockaddr *)&at, sizeof at) == 0);
    ask("accept 1");
    MUST(write(fd, &byte, 1) == 1);
    ask("recv 0 1");
    ask(unread ? "send 0 5" : "send 0 1");
    MUST(read(fd, &byte, 1) == 1);
    go_round(1200); /* idle for a second or more: a pool, not an exchange that the server ended */
    ask("fin");
}

static void send_on(void)
{
    static const int pauses_ms[] = {800, 1400, 2400};
    int fd;
    take_clients(listen_on(AF_INET), 1, &fd);
    ask("halfclose");
    on_readable(fd);
    MUST(write(fd, "x", 1) == 1);
    for (unsigned i = 0; i < sizeof pauses_ms / sizeof pauses_ms[0]; i++) {
        go_round(pauses_ms[i]);
        MUST(write(fd, "x", 1) == 1);
    }
}

int main(int argc, char **argv)
{
    victim_begin();
    MUST(argc == 2 && (set = epoll_create1(0)) >= 0);
    if (strcmp(argv[1], "pooled") == 0 || strcmp(argv[1], "unread") == 0)
        keep_in_pool(strcmp(argv[1], "unread") == 0);
    else if (strcmp(argv[1], "half-open") == 0)
        send_on();
    else
        stop_reading(strcmp(argv[1], "armed") == 0);
    watch(ctl_in, EPOLL_CTL_ADD, EPOLLIN);
    if (strcmp(argv[1], "half-open") != 0) {
        say("age 3200\n");
        go_round(-1);
    }
    say("end %d\n", (int)getpid());
    go_round(-1);
    return 0;
}
