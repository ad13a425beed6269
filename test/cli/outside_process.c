/* A server for test_outside_process.sh, to be run without the library: it leaves three connections in CLOSE_WAIT that are in an epoll
 * set and read to their last byte but for the end, one that is in no set with its data unread, and two more in the queue of a
 * listener that nobody accepts from. Then, by MODE:
 *
 *     loop      waits in epoll_wait
 *     deadlock  two threads wait for each other's lock, the main thread for them
 *     poll      waits in poll for one of the connections
 *     spin      a thread counts for ever
 *
 * It prints "ready PID" and stays until it is killed. Built in several ways, glibc and musl, dynamic and static. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WATCHED = 3, QUEUED = 2 };

#define CHECK(expression)                                                                                              \
    do {                                                                                                               \
        if (!(expression)) {                                                                                           \
            fprintf(stderr, "line %d: %s: %s\n", __LINE__, #expression, strerror(errno));                              \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static int listen_somewhere(struct sockaddr_in *ret_address)
{
    socklen_t bytes = sizeof *ret_address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    memset(ret_address, 0, sizeof *ret_address);
    ret_address->sin_family = AF_INET;
    ret_address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)ret_address, bytes) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)ret_address, &bytes) == 0 && listen(fd, 16) == 0);
    return fd;
}

/* A client that sends so many bytes and closes. */
static void come_and_go(const struct sockaddr_in *address, size_t n)
{
    char bytes[16] = "hello";
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    CHECK(fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) == 0);
    CHECK(n == 0 || write(fd, bytes, n) == (ssize_t)n);
    close(fd);
}

/* The FIN crosses the loopback at once, but nobody promises it. */
static int accept_closed(int listener)
{
    struct pollfd ended = {.fd = accept(listener, NULL, NULL), .events = POLLRDHUP};

    CHECK(ended.fd >= 0 && poll(&ended, 1, 5000) == 1 && ended.revents & POLLRDHUP);
    return ended.fd;
}

static pthread_mutex_t locks[2] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
static pthread_barrier_t both;

static void __attribute__((noinline)) take_second_lock(pthread_mutex_t *lock)
{
    pthread_mutex_lock(lock);
    puts("the second lock was free"); /* no tail call */
}

static void *lock_both(void *arg)
{
    size_t first = (size_t)arg;

    pthread_mutex_lock(&locks[first]);
    pthread_barrier_wait(&both);
    take_second_lock(&locks[1 - first]);
    return NULL;
}

static void __attribute__((noinline)) deadlock(void)
{
    pthread_t threads[2];

    pthread_barrier_init(&both, NULL, 2);
    for (size_t i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, lock_both, (void *)i) == 0);
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

static volatile unsigned long counted;

static void *count_for_ever(void *arg)
{
    for (;;)
        counted++;
    return arg;
}

static void __attribute__((noinline)) spin(void)
{
    pthread_t thread;

    CHECK(pthread_create(&thread, NULL, count_for_ever, NULL) == 0);
    pthread_join(thread, NULL);
}

static void __attribute__((noinline)) wait_in_poll(int fd)
{
    struct pollfd fds = {.fd = fd, .events = POLLPRI};

    for (;;)
        poll(&fds, 1, -1);
}

static void __attribute__((noinline)) serve(int set)
{
    struct epoll_event event;

    for (;;)
        epoll_wait(set, &event, 1, -1); /* edge-triggered: told once, and nothing is done about it */
}

int main(int argc, char **argv)
{
    struct sockaddr_in served, forgotten;
    int first = listen_somewhere(&served), second = listen_somewhere(&forgotten), set = epoll_create1(0), unwatched;
    const char *mode = argc > 1 ? argv[1] : "loop";
    char bytes[16];

    (void)second;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = first};
    CHECK(epoll_ctl(set, EPOLL_CTL_ADD, first, &event) == 0);
    for (int i = 0; i < WATCHED; i++) {
        come_and_go(&served, 5);
        int fd = accept_closed(first);
        CHECK(read(fd, bytes, 5) == 5);
        event = (struct epoll_event){.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.fd = fd};
        CHECK(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0);
    }
    come_and_go(&served, 7);
    unwatched = accept_closed(first);
    for (int i = 0; i < QUEUED; i++)
        come_and_go(&forgotten, 0);
    printf("ready %d\n", (int)getpid());
    fflush(stdout);
    if (!strcmp(mode, "deadlock"))
        deadlock();
    else if (!strcmp(mode, "poll"))
        wait_in_poll(unwatched);
    else if (!strcmp(mode, "spin"))
        spin();
    else
        serve(set);
    return 0;
}
