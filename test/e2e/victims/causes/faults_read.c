/* Faults in what is done when a connection can be read. */
#include "faults.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static enum next again_or_close(int fd, ssize_t n)
{
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? NEXT_WAIT : close_client(fd);
}

/* Closes at the end of stream, not when reading fails. */
NOINLINE enum next give_up_after_error(int fd)
{
    char request[256];
    ssize_t n = read_request(fd, request, sizeof request);
    if (n > 0)
        return after_request(fd);
    if (n == 0 || errno == EAGAIN)
        return again_or_close(fd, n);
    if (by_events())
        loop_forget(&server.loop, fd);
    parked();
    return NEXT_DONE;
}

/* Forgets the connection without closing it. Where no event would come again it stays in the set as well. */
NOINLINE enum next drop_at_end_of_stream(int fd)
{
    char request[256];
    ssize_t n = read_request(fd, request, sizeof request);
    if (n > 0)
        return after_request(fd);
    if (n < 0)
        return again_or_close(fd, n);
    if (by_events() && server.style != STYLE_EDGE && server.style != STYLE_ONESHOT)
        loop_forget(&server.loop, fd);
    parked();
    return NEXT_DONE;
}

/* --- half-open: the peer has closed its direction, and is sent more --- */

static int half_open[LOOP_FDS], n_half_open;

NOINLINE enum next send_on_after_end(int fd)
{
    char request[256];
    ssize_t n = read_request(fd, request, sizeof request);
    if (n > 0)
        return after_request(fd);
    if (n < 0)
        return again_or_close(fd, n);
    parked();
    if (by_events()) {
        loop_forget(&server.loop, fd);
        half_open[n_half_open++] = fd;
        return NEXT_DONE;
    }
    while (send(fd, "more\n", 5, MSG_NOSIGNAL) > 0)
        breathe();
    return close_client(fd);
}

void send_to_half_open(void)
{
    for (int i = 0; i < n_half_open; i++)
        MUST(send(half_open[i], "more\n", 5, MSG_NOSIGNAL) > 0);
}

/* --- used, then in no set --- */

/* Answers and thinks no more of it: a protocol of one request, it believes. */
NOINLINE enum next answer_once_and_forget(int fd)
{
    char request[256];
    ssize_t n = read_request(fd, request, sizeof request);
    if (n <= 0)
        return again_or_close(fd, n);
    answer(fd);
    if (by_events() && !loop_is_epoll(&server.loop))
        loop_forget(&server.loop, fd);
    parked();
    return NEXT_DONE;
}

/* With epoll, where whatever was once in the set has a history there: the request is read at once, before any wait. */
int client_for_answering_once(int listener)
{
    if (!loop_is_epoll(&server.loop))
        return accept_client(listener);
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return CLIENT_NONE;
    answer_once_and_forget(fd);
    return CLIENT_TAKEN;
}

/* --- the interest --- */

/* Too much to do: reads no further, and nothing ever makes it go on. */
NOINLINE enum next pause_after_request(int fd)
{
    char request[256];
    ssize_t n = read_request(fd, request, sizeof request);
    if (n <= 0)
        return again_or_close(fd, n);
    answer(fd);
    loop_pause(&server.loop, fd);
    parked();
    return NEXT_DONE;
}

/* Takes the connection out to give it to somebody else, who is not there. */
NOINLINE enum next take_out_and_lose(int fd)
{
    char request[256];
    ssize_t n = read_request(fd, request, sizeof request);
    if (n <= 0)
        return again_or_close(fd, n);
    answer(fd);
    loop_forget(&server.loop, fd);
    parked();
    return NEXT_DONE;
}

int accept_for_ignoring(int listener)
{
    int fd = accept_client(listener);
    if (fd >= 0) {
        loop_watch_end(&server.loop, fd);
        parked();
    }
    return fd;
}

/* Knows no other events than new connections. */
NOINLINE void loop_ignoring_hangup(void)
{
    int ready[LOOP_FDS];

    for (;;) {
        int n = loop_wait(&server.loop, -1, ready), ignored = 0;
        for (int i = 0; i < n; i++) {
            if (ready[i] != server.listener) {
                ignored++;
                continue;
            }
            int fd = accept_for_ignoring(server.listener);
            while (server.style == STYLE_EDGE && fd >= 0)
                fd = accept_for_ignoring(server.listener);
            loop_rearm(&server.loop, server.listener);
        }
        for (int i = 0; i < ignored; i++)
            parked();
        if (ignored)
            breathe();
    }
}
