/* Faults of threads, forks, copies and clients. */
#include "faults.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- threads --- */

/* Needs a lock that somebody else never gives back: by events, all connections of the loop wait with it. */
NOINLINE enum next answer_after_lock(int fd)
{
    char request[256];
    ssize_t n = read_request(fd, request, sizeof request);
    if (n < 0 && errno == EAGAIN)
        return NEXT_WAIT;
    if (n <= 0)
        return close_client(fd);
    if (request[0] == 's') {
        parked();
        wait_for_lock();
    }
    return after_request(fd);
}

/* Serves one request on a wait of its own and returns; the connection was its to close, and so was the loop. */
static NOINLINE void *return_without_close(void *argument)
{
    int fd = (int)(intptr_t)argument, ready[LOOP_FDS];
    char request[256];
    struct loop own;

    if (by_events()) {
        loop_open(&own, server.style);
        loop_watch(&own, fd);
        loop_wait(&own, -1, ready);
    }
    MUST(read_request(fd, request, sizeof request) > 0);
    answer(fd);
    if (by_events())
        loop_rearm(&own, fd);
    parked();
    return NULL;
}

int give_to_own_thread(int listener)
{
    int fd = accept_client(listener);
    if (fd < 0)
        return CLIENT_NONE;
    start_thread(return_without_close, (void *)(intptr_t)fd);
    return CLIENT_TAKEN;
}

/* --- copies --- */

/* A logger is given a copy with the first request; at the end of stream the copy is forgotten. */
NOINLINE enum next close_all_but_the_copy(int fd)
{
    char request[256];
    ssize_t n = read_request(fd, request, sizeof request);
    if (n < 0 && errno == EAGAIN)
        return NEXT_WAIT;
    if (n > 0) {
        MUST(dup(fd) >= 0);
        parked();
        return after_request(fd);
    }
    return close_client(fd);
}

/* Forks a child that writes a snapshot for a long time, with a copy of every connection there is. */
NOINLINE enum next start_snapshot_child(int fd)
{
    char request[256];
    ssize_t n = read_request(fd, request, sizeof request);
    if (n < 0 && errno == EAGAIN)
        return NEXT_WAIT;
    if (n <= 0)
        return close_client(fd);
    if (request[0] == 's') {
        pid_t child = fork();
        MUST(child >= 0);
        while (child == 0)
            pause();
        dprintf(1, "child %d\n", (int)child);
    }
    return after_request(fd);
}

static void serve_in_child(int fd)
{
    char request[256];
    while (read_request(fd, request, sizeof request) > 0)
        answer(fd);
    close(fd);
    _exit(0);
}

/* A process for each client; the parent forgets that it has the socket too. */
NOINLINE int leave_to_child(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return CLIENT_NONE;
    pid_t child = fork();
    MUST(child >= 0);
    if (child == 0)
        serve_in_child(fd);
    parked();
    return CLIENT_TAKEN;
}

/* --- outgoing connections, blocking as in a client library --- */

static enum next serve_with_backend(int fd, void (*ask)(void))
{
    char request[256];
    ssize_t n = read_request(fd, request, sizeof request);
    if (n < 0 && errno == EAGAIN)
        return NEXT_WAIT;
    if (n <= 0)
        return close_client(fd);
    ask();
    parked();
    return after_request(fd);
}

static NOINLINE void read_status_line_only(void)
{
    int fd = connect_to_backend();
    char status[16];
    MUST(send(fd, "GET\n", 4, MSG_NOSIGNAL) == 4);
    MUST(recv(fd, status, sizeof status, MSG_WAITALL) == sizeof status);
    /* 200 is all that is wanted; nobody closes fd */
}

enum next ask_for_status_only(int fd)
{
    return serve_with_backend(fd, read_status_line_only);
}

/* The backend's answer to this is BACKEND_ANSWER_BYTES long. */
enum { BACKEND_ANSWER_BYTES = 64 };

static NOINLINE void keep_in_pool(void)
{
    int fd = connect_to_backend();
    char response[BACKEND_ANSWER_BYTES];
    MUST(send(fd, "GET\n", 4, MSG_NOSIGNAL) == 4);
    MUST(recv(fd, response, sizeof response, MSG_WAITALL) == sizeof response);
    /* kept open for the next request */
}

enum next ask_by_pool(int fd)
{
    return serve_with_backend(fd, keep_in_pool);
}
