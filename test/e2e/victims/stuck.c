/* Threads that have not come back from serving a connection, and threads that have. usage: stuck WHERE HOW [nodump]
 * WHERE: worker (a thread), main. HOW: mutex (the handler waits for a lock that another thread holds), spin (it never ends),
 * sleep (it sleeps), read (it waits for another connection's data), back (it has returned; its thread waits for a condition),
 * back-spin (it has returned; its thread computes), deeper (as mutex, some calls further in). */
#include "test/e2e/victims/victim.h"

#include <pthread.h>
#include <sys/prctl.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER, idle_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t idle = PTHREAD_COND_INITIALIZER;
static const char *how;
static int client, other;
static volatile int there, tid;
static volatile unsigned long rounds;

void handle_client(int fd);
void wait_for_lock(int depth);
void serve(void);

NOINLINE void wait_for_lock(int depth)
{
    if (depth > 0)
        wait_for_lock(depth - 1);
    else
        pthread_mutex_lock(&lock);
    __asm__ volatile("" ::: "memory");
}

static void spin(void)
{
    there = 1;
    for (;;)
        rounds++;
}

NOINLINE void handle_client(int fd)
{
    char byte;
    MUST(read(fd, &byte, 1) == 1);
    if (strcmp(how, "spin") == 0)
        spin();
    there = 1;
    if (strcmp(how, "mutex") == 0)
        wait_for_lock(0);
    else if (strcmp(how, "deeper") == 0)
        wait_for_lock(12);
    else if (strcmp(how, "sleep") == 0)
        sleep(1000);
    else if (strcmp(how, "read") == 0)
        MUST(read(other, &byte, 1) < 2);
    __asm__ volatile("" ::: "memory");
}

NOINLINE void serve(void)
{
    handle_client(client);
    if (strcmp(how, "back-spin") == 0)
        spin();
    pthread_mutex_lock(&idle_lock);
    for (;;)
        pthread_cond_wait(&idle, &idle_lock);
}

static void *worker(void *unused)
{
    tid = (int)syscall(SYS_gettid);
    serve();
    return unused;
}

static void *holder(void *unused)
{
    pthread_mutex_lock(&lock);
    there = -1;
    for (;;)
        pause();
    return unused;
}

/* Another thread than the server's: accept is a wait, and this shows a server that was never seen to wait for anything. */
static void *acceptor(void *ret_fds)
{
    take_clients(listen_on(AF_INET), 2, ret_fds);
    return NULL;
}

/* Once the server is where it will stay: asleep, or (spinning) in its loop. */
static void *director(void *unused)
{
    bool spins = strstr(how, "spin") != NULL;
    char path[64], text[256];
    while (there != 1)
        ;
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)tid);
    for (char state = 0; !spins && state != 'S';) {
        int fd = open(path, O_RDONLY);
        ssize_t n = read(fd, text, sizeof text - 1);
        close(fd);
        text[n > 0 ? n : 0] = 0;
        const char *after = strrchr(text, ')');
        state = after ? after[2] : 0;
    }
    end_here();
    exit(0);
    return unused;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    int fds[2];
    victim_begin();
    MUST(argc == 3 || argc == 4);
    if (argc == 4)
        MUST(prctl(PR_SET_DUMPABLE, 0) == 0);
    how = argv[2];
    MUST(pthread_create(&thread, NULL, acceptor, fds) == 0 && pthread_join(thread, NULL) == 0);
    client = fds[0];
    other = fds[1];
    ask("send 0 1");
    ask("fin 0 1");
    if (strcmp(how, "mutex") == 0 || strcmp(how, "deeper") == 0) {
        MUST(pthread_create(&thread, NULL, holder, NULL) == 0);
        while (there != -1)
            ;
    }
    if (strcmp(argv[1], "main") == 0) {
        tid = (int)getpid();
        MUST(pthread_create(&thread, NULL, director, NULL) == 0);
        serve();
    }
    MUST(pthread_create(&thread, NULL, worker, NULL) == 0);
    director(NULL);
    return 0;
}
