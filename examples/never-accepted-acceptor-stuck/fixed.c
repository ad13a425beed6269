/* leaky.c without its bug: the early return gives the lock back. See README.md.
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

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";

static pthread_mutex_t stats_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    unsigned long accepted, served, empty;
} stats;

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

static void *serve_client(void *argument)
{
    int fd = (int)(intptr_t)argument;
    char request[4096];
    ssize_t n = recv(fd, request, sizeof request, 0);

    if (n > 0)
        send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL);
    close(fd);
    pthread_mutex_lock(&stats_lock);
    if (n <= 0) {
        stats.empty++;
        pthread_mutex_unlock(&stats_lock);
        return NULL;
    }
    stats.served++;
    pthread_mutex_unlock(&stats_lock);
    return NULL;
}

static void count_accepted(void)
{
    pthread_mutex_lock(&stats_lock);
    stats.accepted++;
    pthread_mutex_unlock(&stats_lock);
}

static void accept_clients(int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        pthread_t thread;

        if (fd < 0)
            die("accept");
        if (pthread_create(&thread, NULL, serve_client, (void *)(intptr_t)fd) != 0)
            die("pthread_create");
        pthread_detach(thread);
        count_accepted();
    }
}

int main(int argc, char **argv)
{
    accept_clients(listen_on((uint16_t)(argc > 1 ? atoi(argv[1]) : 0)));
    return 0;
}
