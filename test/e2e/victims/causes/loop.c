#include "loop.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <unistd.h>

_Noreturn void must_failed(const char *file, int line, const char *what)
{
    dprintf(1, "victim: %s:%d: %s: %s\n", file, line, what, strerror(errno));
    _exit(99);
}

void loop_open(struct loop *loop, enum style style)
{
    *loop = (struct loop){.style = style, .epoll_fd = -1};
    if (loop_is_epoll(loop))
        MUST((loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC)) >= 0);
}

static int place_of(const struct loop *loop, int fd)
{
    for (int i = 0; i < loop->n; i++)
        if (loop->fds[i].fd == fd)
            return i;
    return -1;
}

static uint32_t style_bits(const struct loop *loop)
{
    return loop->style == STYLE_EDGE ? EPOLLET : loop->style == STYLE_ONESHOT ? EPOLLONESHOT : 0;
}

static void control(struct loop *loop, int op, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    MUST(epoll_ctl(loop->epoll_fd, op, fd, &event) == 0);
}

static void enter(struct loop *loop, int fd, uint32_t epoll_events)
{
    if (loop_is_epoll(loop)) {
        control(loop, EPOLL_CTL_ADD, fd, epoll_events | style_bits(loop));
        return;
    }
    MUST(loop->n < LOOP_FDS);
    loop->fds[loop->n].fd = fd;
    loop->fds[loop->n++].paused = false;
}

void loop_watch(struct loop *loop, int fd)
{
    enter(loop, fd, EPOLLIN | EPOLLRDHUP);
}

void loop_watch_end(struct loop *loop, int fd)
{
    enter(loop, fd, EPOLLRDHUP);
}

void loop_rearm(struct loop *loop, int fd)
{
    if (loop->style == STYLE_ONESHOT)
        control(loop, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT);
}

void loop_pause(struct loop *loop, int fd)
{
    if (loop->style == STYLE_ONESHOT)
        return;
    if (loop_is_epoll(loop)) {
        control(loop, EPOLL_CTL_MOD, fd, style_bits(loop));
        return;
    }
    int place = place_of(loop, fd);
    MUST(place >= 0);
    loop->fds[place].paused = true;
}

void loop_forget(struct loop *loop, int fd)
{
    if (loop_is_epoll(loop)) {
        control(loop, EPOLL_CTL_DEL, fd, 0);
        return;
    }
    int place = place_of(loop, fd);
    MUST(place >= 0);
    loop->fds[place] = loop->fds[--loop->n];
}

static int wait_epoll(struct loop *loop, int timeout_ms, int *ret_ready)
{
    struct epoll_event events[LOOP_FDS];
    int n = epoll_wait(loop->epoll_fd, events, LOOP_FDS, timeout_ms);
    for (int i = 0; i < n; i++)
        ret_ready[i] = events[i].data.fd;
    return n;
}

/* Where reading is paused, only urgent data is asked for. */
static int wait_poll(struct loop *loop, int timeout_ms, int *ret_ready)
{
    struct pollfd fds[LOOP_FDS];
    int ready = 0, n = loop->n;
    for (int i = 0; i < n; i++)
        fds[i] = (struct pollfd){.fd = loop->fds[i].fd, .events = loop->fds[i].paused ? POLLPRI : POLLIN};
    if (poll(fds, (nfds_t)n, timeout_ms) < 0)
        return -1;
    for (int i = 0; i < n; i++)
        if (fds[i].revents)
            ret_ready[ready++] = fds[i].fd;
    return ready;
}

static int wait_select(struct loop *loop, int timeout_ms, int *ret_ready)
{
    struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    fd_set in, urgent;
    int ready = 0, top = -1;
    FD_ZERO(&in);
    FD_ZERO(&urgent);
    for (int i = 0; i < loop->n; i++) {
        FD_SET(loop->fds[i].fd, loop->fds[i].paused ? &urgent : &in);
        top = loop->fds[i].fd > top ? loop->fds[i].fd : top;
    }
    if (select(top + 1, &in, NULL, &urgent, timeout_ms < 0 ? NULL : &timeout) < 0)
        return -1;
    for (int i = 0; i < loop->n; i++)
        if (FD_ISSET(loop->fds[i].fd, &in) || FD_ISSET(loop->fds[i].fd, &urgent))
            ret_ready[ready++] = loop->fds[i].fd;
    return ready;
}

int loop_wait(struct loop *loop, int timeout_ms, int *ret_ready)
{
    int n = loop->style == STYLE_SELECT ? wait_select(loop, timeout_ms, ret_ready)
            : loop->style == STYLE_POLL ? wait_poll(loop, timeout_ms, ret_ready)
                                        : wait_epoll(loop, timeout_ms, ret_ready);
    MUST(n >= 0 || errno == EINTR);
    return n < 0 ? 0 : n;
}
