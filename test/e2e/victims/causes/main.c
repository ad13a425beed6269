/* Usage: causes STYLE CAUSE [BACKEND_PORT]
 * Serves until it is killed, with one fault (CAUSE), in a style; prints "ready PORT", then "parked" for each. */
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct server server;

void parked(void)
{
    dprintf(1, "parked\n");
}

void breathe(void)
{
    nanosleep(&(struct timespec){.tv_nsec = LOOP_TICK_MS * 1000000L}, NULL);
}

/* --- sockets --- */

NOINLINE int open_listener(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (by_events() ? SOCK_NONBLOCK : 0), 0);
    MUST(fd >= 0);
    MUST(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    MUST(listen(fd, 64) == 0);
    return fd;
}

NOINLINE int accept_client(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | (by_events() ? SOCK_NONBLOCK : 0));
    MUST(fd >= 0 || errno == EAGAIN || errno == EINTR || errno == EMFILE);
    return fd;
}

NOINLINE int connect_to_backend(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)server.backend_port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(fd >= 0);
    MUST(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

static int port_of(int listener)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    MUST(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    return ntohs(address.sin_port);
}

/* --- one connection, rightly --- */

NOINLINE ssize_t read_request(int fd, char *buffer, size_t room)
{
    ssize_t n = recv(fd, buffer, room, 0);
    return n;
}

NOINLINE void answer(int fd)
{
    ssize_t n = send(fd, "ok\n", 3, MSG_NOSIGNAL);
    (void)n; /* a client that has gone is noticed at the next read */
}

enum next after_request(int fd)
{
    answer(fd);
    return NEXT_MORE;
}

enum next close_client(int fd)
{
    if (by_events())
        loop_forget(&server.loop, fd);
    close(fd);
    return NEXT_DONE;
}

NOINLINE enum next serve_rightly(int fd)
{
    char request[256];
    ssize_t n = read_request(fd, request, sizeof request);
    if (n > 0)
        return after_request(fd);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return NEXT_WAIT;
    return close_client(fd);
}

static enum next serve(int fd)
{
    return server.cause->serve ? server.cause->serve(fd) : serve_rightly(fd);
}

static int next_client(int listener)
{
    if (listener < 0)
        return CLIENT_NONE; /* the fault was to give it up */
    return server.cause->client ? server.cause->client(listener) : accept_client(listener);
}

/* --- by events --- */

static void accept_ready(void)
{
    int fd;
    do {
        fd = next_client(server.listener);
        if (fd >= 0)
            loop_watch(&server.loop, fd);
    } while (server.style == STYLE_EDGE && fd != CLIENT_NONE);
    if (server.listener >= 0)
        loop_rearm(&server.loop, server.listener);
}

static void serve_ready(int fd)
{
    enum next next = serve(fd);
    while (server.style == STYLE_EDGE && next == NEXT_MORE)
        next = serve(fd);
    if (next != NEXT_DONE)
        loop_rearm(&server.loop, fd);
}

static NOINLINE void run_loop(void)
{
    int ready[LOOP_FDS];

    for (;;) {
        int n = loop_wait(&server.loop, server.cause->tick ? LOOP_TICK_MS : -1, ready);
        for (int i = 0; i < n; i++) {
            if (ready[i] == server.listener)
                accept_ready();
            else
                serve_ready(ready[i]);
        }
        if (server.cause->tick)
            server.cause->tick();
    }
}

/* --- by threads: a pool and its queue --- */

enum { WORKERS = 6 };
static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t queue_filled = PTHREAD_COND_INITIALIZER;
static int queue[LOOP_FDS], queue_length;

static NOINLINE void queue_put(int fd)
{
    pthread_mutex_lock(&queue_lock);
    MUST(queue_length < LOOP_FDS);
    queue[queue_length++] = fd;
    pthread_cond_signal(&queue_filled);
    pthread_mutex_unlock(&queue_lock);
}

static NOINLINE int queue_take(void)
{
    pthread_mutex_lock(&queue_lock);
    while (queue_length == 0)
        pthread_cond_wait(&queue_filled, &queue_lock);
    int fd = queue[--queue_length];
    pthread_mutex_unlock(&queue_lock);
    return fd;
}

static void *work(void *unused)
{
    for (;;) {
        int fd = queue_take();
        while (serve(fd) != NEXT_DONE)
            continue;
    }
    return unused;
}

void start_thread(void *(*body)(void *), void *argument)
{
    pthread_t thread;
    MUST((errno = pthread_create(&thread, NULL, body, argument)) == 0);
    pthread_detach(thread);
}

static NOINLINE void run_threads(void)
{
    for (int i = 0; i < WORKERS; i++)
        start_thread(work, NULL);
    for (;;) {
        int fd = next_client(server.listener);
        if (fd >= 0)
            queue_put(fd);
    }
}

/* --- a lock that is never given back --- */

static pthread_mutex_t busy_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t lock_taken;

static void *keep_lock(void *unused)
{
    pthread_mutex_lock(&busy_lock);
    pthread_barrier_wait(&lock_taken);
    for (;;)
        pause();
    return unused;
}

static void start_lock_keeper(void)
{
    pthread_barrier_init(&lock_taken, NULL, 2);
    start_thread(keep_lock, NULL);
    pthread_barrier_wait(&lock_taken);
}

void wait_for_lock(void)
{
    pthread_mutex_lock(&busy_lock);
    pthread_mutex_unlock(&busy_lock);
}

/* --- start --- */

static enum style style_named(const char *name)
{
    static const char *const names[STYLE_COUNT] = {
#define STYLE(constant, name) [STYLE_##constant] = name,
        STYLES(STYLE)
#undef STYLE
    };
    for (unsigned i = 0; i < STYLE_COUNT; i++)
        if (!strcmp(name, names[i]))
            return (enum style)i;
    exit(2);
}

static const struct cause *cause_named(const char *name)
{
    for (size_t i = 0; i < n_causes; i++)
        if (!strcmp(name, causes[i].name))
            return &causes[i];
    exit(2);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    server = (struct server){
        .style = style_named(argv[1]), .cause = cause_named(argv[2]), .backend_port = argc > 3 ? atoi(argv[3]) : 0};
    signal(SIGCHLD, SIG_IGN);
    if (server.cause->needs_lock_keeper)
        start_lock_keeper();
    if (by_events())
        loop_open(&server.loop, server.style);
    server.listener = open_listener();
    int entrance = server.cause->listener ? server.cause->listener() : server.listener;
    if (by_events())
        loop_watch(&server.loop, server.listener);
    dprintf(1, "ready %d\n", port_of(entrance));
    if (by_events() && server.cause->run)
        server.cause->run();
    else if (by_events())
        run_loop();
    else
        run_threads();
    return 0;
}
