/* Forked children whose threads touch inherited sockets at once, before the child has a ledger of its own.
 * usage: forkthreads CHILDREN */
#include "test/e2e/victims/victim.h"

#include <pthread.h>

enum { THREADS = 8, CLIENTS = 2 };

static int fds[CLIENTS];
static pthread_barrier_t barrier;

static void *touch(void *arg)
{
    char byte;
    int fd = fds[*(const int *)arg % CLIENTS];
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 50; i++) {
        MUST(recv(fd, &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
        MUST(read(-1, &byte, 1) == -1 && errno == EBADF);
    }
    return NULL;
}

static void child(void)
{
    pthread_t threads[THREADS];
    int numbers[THREADS];
    MUST(pthread_barrier_init(&barrier, NULL, THREADS) == 0);
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        MUST(pthread_create(&threads[i], NULL, touch, &numbers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        MUST(pthread_join(threads[i], NULL) == 0);
    _exit(0);
}

int main(int argc, char **argv)
{
    int bad = 0;
    victim_begin();
    MUST(argc == 2);
    int listener = listen_on(AF_INET);
    take_clients(listener, CLIENTS, fds);
    for (int i = atoi(argv[1]); i > 0; i--) {
        int status;
        pid_t pid = fork();
        MUST(pid >= 0);
        if (pid == 0)
            child();
        MUST(waitpid(pid, &status, 0) == pid);
        bad += status != 0;
    }
    say("bad: %d\n", bad);
    for (int i = 0; i < CLIENTS; i++)
        MUST(close(fds[i]) == 0);
    end_here();
    return bad != 0;
}
