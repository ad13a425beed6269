/* A small event loop that forgets its connections. usage: epolls level|edge|oneshot|poll|select close-half|forget */
#include "test/e2e/victims/victim.h"

#include <sys/epoll.h>
#include <sys/select.h>

enum { CLIENTS = 6 };

static int fds[CLIENTS];

NOINLINE static int wait_ready(const char *how, int set, struct epoll_event *ready)
{
    struct pollfd polled[CLIENTS];
    fd_set readable;
    int highest = 0, n = 0;
    if (strcmp(how, "poll") != 0 && strcmp(how, "select") != 0)
        return epoll_wait(set, ready, CLIENTS, 10000);
    FD_ZERO(&readable);
    for (int i = 0; i < CLIENTS; i++) {
        polled[i] = (struct pollfd){.fd = fds[i], .events = POLLIN | POLLRDHUP};
        FD_SET(fds[i], &readable);
        highest = fds[i] > highest ? fds[i] : highest;
    }
    if (strcmp(how, "poll") == 0)
        MUST(poll(polled, CLIENTS, 10000) > 0);
    else
        MUST(select(highest + 1, &readable, NULL, NULL, NULL) > 0);
    for (int i = 0; i < CLIENTS; i++) {
        bool hit = strcmp(how, "poll") == 0 ? polled[i].revents != 0 : FD_ISSET(fds[i], &readable) != 0;
        if (hit)
            ready[n++].data.fd = fds[i];
    }
    return n;
}

int main(int argc, char **argv)
{
    victim_begin();
    MUST(argc == 3);
    const char *how = argv[1];
    uint32_t extra = strcmp(how, "edge") == 0 ? EPOLLET : strcmp(how, "oneshot") == 0 ? EPOLLONESHOT : 0;
    bool close_half = strcmp(argv[2], "close-half") == 0;
    int listener = listen_on(AF_INET), set = epoll_create1(EPOLL_CLOEXEC), seen = 0;
    take_clients(listener, CLIENTS, fds);
    for (int i = 0; i < CLIENTS; i++) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | extra, .data.fd = fds[i]};
        MUST(epoll_ctl(set, EPOLL_CTL_ADD, fds[i], &event) == 0);
    }
    ask("fin");
    bool done[1024] = {false};
    while (seen < CLIENTS) {
        struct epoll_event ready[CLIENTS];
        int n = wait_ready(how, set, ready);
        MUST(n > 0);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            if (done[fd])
                continue;
            done[fd] = true;
            seen++;
            if (close_half && fd % 2 == 0)
                MUST(epoll_ctl(set, EPOLL_CTL_DEL, fd, NULL) == 0 && close(fd) == 0);
            else
                on_readable(fd);
        }
        if (seen == CLIENTS)
            break;
    }
    end_here();
    return 0;
}
