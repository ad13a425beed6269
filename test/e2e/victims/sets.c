/* Epoll sets as the kernel has them, where that is not what calls of epoll_ctl tell. usage: sets WHAT
 * oneshot: an event was delivered and read, and the one-shot registration never armed again; the client's end comes then.
 * rearmed: likewise, but armed again, for good. unseen-del: taken out by a call that no hook sees. unseen-add: put in by one.
 * dup-closed: the fd that was registered is closed, the socket lives on as another and stays in the set.
 * After the client's end the program waits once more, and does nothing about what it is told. */
#include "test/e2e/victims/victim.h"

#include <sys/epoll.h>

static int set;

/* epoll_ctl without libc. */
static long raw_ctl(int op, int fd, struct epoll_event *event)
{
    register struct epoll_event *r10 __asm__("r10") = event;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"((long)SYS_epoll_ctl), "D"((long)set), "S"((long)op), "d"((long)fd), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
}

void watch(int fd, int op, uint32_t mask);
void serve_one(void);

NOINLINE void watch(int fd, int op, uint32_t mask)
{
    struct epoll_event event = {.events = mask, .data.fd = fd};
    MUST(epoll_ctl(set, op, fd, &event) == 0);
}

/* Waits for one event and reads what there is. */
NOINLINE void serve_one(void)
{
    struct epoll_event event;
    char buf[16];
    MUST(epoll_wait(set, &event, 1, 10000) == 1);
    MUST(read(event.data.fd, buf, sizeof buf) == 1);
}

int main(int argc, char **argv)
{
    int fds[2];
    victim_begin();
    MUST(argc == 2 && (set = epoll_create1(0)) >= 0);
    const char *what = argv[1];
    bool oneshot = strcmp(what, "oneshot") == 0 || strcmp(what, "rearmed") == 0;
    take_clients(listen_on(AF_INET), 2, fds);
    watch(fds[0], EPOLL_CTL_ADD, oneshot ? EPOLLIN | EPOLLONESHOT : EPOLLIN);
    ask("send 0 1");
    serve_one();
    if (strcmp(what, "rearmed") == 0)
        watch(fds[0], EPOLL_CTL_MOD, EPOLLIN);
    else if (strcmp(what, "unseen-del") == 0)
        MUST(raw_ctl(EPOLL_CTL_DEL, fds[0], NULL) == 0);
    else if (strcmp(what, "unseen-add") == 0)
        MUST(raw_ctl(EPOLL_CTL_ADD, fds[1], &(struct epoll_event){.events = EPOLLOUT, .data.fd = fds[1]}) == 0);
    else if (strcmp(what, "dup-closed") == 0)
        MUST(dup(fds[0]) >= 0 && close(fds[0]) == 0);
    ask("fin");
    struct epoll_event ignored[4];
    MUST(epoll_wait(set, ignored, 4, strcmp(what, "oneshot") == 0 ? 0 : 100) >= 0);
    end_here();
    return 0;
}
