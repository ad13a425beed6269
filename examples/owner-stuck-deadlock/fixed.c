/* leaky.c without its bug: the two accounts are locked in one order. See README.md.
 * Usage: fixed [PORT]; prints "ready PORT" once it listens (port 0: any free one). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ACCOUNTS = 4 };

static struct account {
    pthread_mutex_t lock;
    long coins;
} accounts[ACCOUNTS];

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

/* Stands for what a bank writes down: 20 milliseconds of disk. */
static void write_journal(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
}

static void move_coin(unsigned from, unsigned to)
{
    /* Always the lower number first: two threads that want the same two locks cannot each hold one. */
    pthread_mutex_lock(&accounts[from < to ? from : to].lock);
    write_journal();
    pthread_mutex_lock(&accounts[from < to ? to : from].lock);
    accounts[from].coins--;
    accounts[to].coins++;
    pthread_mutex_unlock(&accounts[to].lock);
    pthread_mutex_unlock(&accounts[from].lock);
}

static const char *obey(const char *command)
{
    unsigned from, to;

    if (sscanf(command, "move %u %u", &from, &to) != 2 || from >= ACCOUNTS || to >= ACCOUNTS || from == to)
        return "what?\n";
    move_coin(from, to);
    return "moved\n";
}

static void *serve_client(void *argument)
{
    int fd = (int)(intptr_t)argument;
    char command[128];
    ssize_t n;

    while ((n = recv(fd, command, sizeof command - 1, 0)) > 0) {
        command[n] = '\0';
        const char *answer = obey(command);
        send(fd, answer, strlen(answer), MSG_NOSIGNAL);
    }
    close(fd);
    return NULL;
}

int main(int argc, char **argv)
{
    int listener = listen_on((uint16_t)(argc > 1 ? atoi(argv[1]) : 0));

    for (int i = 0; i < ACCOUNTS; i++)
        pthread_mutex_init(&accounts[i].lock, NULL);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        pthread_t thread;

        if (fd < 0)
            die("accept");
        if (pthread_create(&thread, NULL, serve_client, (void *)(intptr_t)fd) != 0)
            die("pthread_create");
        pthread_detach(thread);
    }
}
