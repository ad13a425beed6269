/* leaky.c without its bug: a worker closes the socket of the job that it has done. See README.md.
 * Usage: fixed [PORT]; prints "ready PORT" once it listens (port 0: any free one). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WORKERS = 2 };

struct job {
    int fd;
    struct job *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t not_empty = PTHREAD_COND_INITIALIZER;
static struct job *jobs;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int listen_on(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
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

static void put_job(int fd)
{
    struct job *job = calloc(1, sizeof *job);

    if (job == NULL)
        die("calloc");
    job->fd = fd;
    pthread_mutex_lock(&lock);
    job->next = jobs;
    jobs = job;
    pthread_cond_signal(&not_empty);
    pthread_mutex_unlock(&lock);
}

static struct job *take_job(void)
{
    struct job *job;

    pthread_mutex_lock(&lock);
    while (jobs == NULL)
        pthread_cond_wait(&not_empty, &lock);
    job = jobs;
    jobs = job->next;
    pthread_mutex_unlock(&lock);
    return job;
}

static void answer_query(int fd)
{
    char query[256], answer[300];
    ssize_t n = recv(fd, query, sizeof query, 0);

    if (n > 0) {
        int length = snprintf(answer, sizeof answer, "no match for %.*s", (int)n, query);
        send(fd, answer, (size_t)length, MSG_NOSIGNAL);
    }
}

static void *work(void *unused)
{
    (void)unused;
    for (;;) {
        struct job *job = take_job();

        answer_query(job->fd);
        close(job->fd);
        free(job);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    int listener = listen_on((uint16_t)(argc > 1 ? atoi(argv[1]) : 0));

    for (int i = 0; i < WORKERS; i++) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, work, NULL) != 0)
            die("pthread_create");
    }
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0)
            die("accept");
        put_job(fd);
    }
}
