/* A server whose event loop reads the requests and whose worker thread answers them. While the worker has a
 * connection, it is out of the epoll set. What is no request at all (a port scan, TLS on a plain port) the worker
 * drops, and the connection with it: nobody watches it any more, nobody closes it. See README.md; fixed.c is the same
 * program without the bug.
 * Usage: leaky [PORT]; prints "ready PORT" once it listens (port 0: any free one). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct job {
    struct job *next;
    int fd;
    char request[4096];
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct job *first, **end;
} queue = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, &queue.first};

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
static int epoll_fd;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int listen_on(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int on = 1;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 512) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        die("listen");
    printf("ready %u\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void watch(int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
}

/* From here on the connection is the worker's: the loop must not read from it at the same time. */
static void hand_over(struct job *job)
{
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, job->fd, NULL);
    job->next = NULL;
    pthread_mutex_lock(&queue.lock);
    *queue.end = job;
    queue.end = &job->next;
    pthread_cond_signal(&queue.filled);
    pthread_mutex_unlock(&queue.lock);
}

static void *work(void *unused)
{
    for (;;) {
        pthread_mutex_lock(&queue.lock);
        while (queue.first == NULL)
            pthread_cond_wait(&queue.filled, &queue.lock);
        struct job *job = queue.first;
        queue.first = job->next;
        if (queue.first == NULL)
            queue.end = &queue.first;
        pthread_mutex_unlock(&queue.lock);

        if (strncmp(job->request, "GET ", 4) == 0) {
            send(job->fd, answer, sizeof answer - 1, MSG_NOSIGNAL);
            watch(job->fd); /* give it back */
        }
        /* The bug: there is no else. What is no request is neither given back nor closed. */
        free(job);
    }
    return unused;
}

static void on_readable(int fd)
{
    struct job *job = calloc(1, sizeof *job);

    if (job == NULL)
        die("calloc");
    job->fd = fd;
    ssize_t n = recv(fd, job->request, sizeof job->request - 1, 0);
    if (n > 0) {
        hand_over(job);
        return;
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR))
        close(fd); /* which takes it out of the set, too */
    free(job);
}

int main(int argc, char **argv)
{
    struct epoll_event events[64];
    pthread_t worker;
    int listener = listen_on((uint16_t)(argc > 1 ? atoi(argv[1]) : 0));

    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0 || pthread_create(&worker, NULL, work, NULL) != 0)
        die("start");
    watch(listener);
    for (;;) {
        int n = epoll_wait(epoll_fd, events, 64, -1);

        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;

            if (fd != listener)
                on_readable(fd);
            else if ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
                watch(fd);
        }
    }
}
