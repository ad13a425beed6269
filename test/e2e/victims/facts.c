/* Leaks whose cause only the recorder's own facts tell: who forked where, which thread has exited, who else has used it.
 * usage: facts fork|snapshot|snapshot-later|snapshot-twice|thread|late-touch|cancelled|shared */
#include "test/e2e/victims/victim.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/epoll.h>

static int listener, fds[1];
static sem_t waiting;

pid_t start_worker(void);
void use_client(void);

/* A worker's fork server: the report is expected to name this function. */
NOINLINE pid_t start_worker(void)
{
    pid_t pid = fork();
    MUST(pid >= 0);
    return pid;
}

NOINLINE void use_client(void)
{
    char byte;
    MUST(recv(fds[0], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
}

static void reap_worker(pid_t pid)
{
    int status;
    MUST(waitpid(pid, &status, 0) == pid && status == 0);
}

/* A server that leaves its clients to its children and forgets to close its own copies. */
static void fork_server(void)
{
    pid_t pid = start_worker();
    if (pid == 0) {
        close(fds[0]);
        _exit(0);
    }
    reap_worker(pid);
    ask("fin");
}

/* A child that writes a snapshot and has its server's clients open; the server closes them. twice: as a daemon is made. */
static void snapshot(bool twice)
{
    use_client();
    ask("fin");
    pid_t pid = start_worker();
    if (pid == 0) {
        if (twice) {
            pid = fork();
            MUST(pid >= 0);
            if (pid > 0) {
                int status;
                MUST(waitpid(pid, &status, 0) == pid && status == 0);
            }
        }
        end_here();
        _exit(0);
    }
    close(fds[0]);
    reap_worker(pid);
}

/* As above, but the clients leave while the child writes, which has put the listener away first, as Redis does. */
static void snapshot_later(void)
{
    use_client();
    pid_t pid = start_worker();
    if (pid == 0) {
        close(listener);
        ask("fin");
        end_here();
        _exit(0);
    }
    close(fds[0]);
    reap_worker(pid);
}

static void *reads_and_exits(void *arg)
{
    use_client();
    return arg;
}

static void *waits_for_ever(void *arg)
{
    struct epoll_event event = {.events = EPOLLIN};
    use_client();
    sem_post(&waiting);
    epoll_wait(epoll_create1(0), &event, 1, -1);
    return arg;
}

static void touch_again(void *value)
{
    (void)value;
    use_client();
}

static void *touches_last(void *arg)
{
    static pthread_key_t key;
    use_client();
    MUST(pthread_key_create(&key, touch_again) == 0);
    pthread_setspecific(key, &key);
    return arg;
}

static void in_thread(void *(*function)(void *), bool cancel)
{
    pthread_t thread;
    MUST(pthread_create(&thread, NULL, function, NULL) == 0);
    if (cancel) {
        while (sem_wait(&waiting) != 0)
            ;
        pthread_cancel(thread);
    }
    pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
    victim_begin();
    MUST(argc == 2);
    listener = listen_on(AF_INET);
    take_clients(listener, 1, fds);
    if (strcmp(argv[1], "fork") == 0) {
        fork_server();
    } else if (strcmp(argv[1], "snapshot") == 0) {
        snapshot(false);
    } else if (strcmp(argv[1], "snapshot-later") == 0) {
        snapshot_later();
    } else if (strcmp(argv[1], "snapshot-twice") == 0) {
        snapshot(true);
    } else if (strcmp(argv[1], "thread") == 0) {
        in_thread(reads_and_exits, false);
        ask("fin");
    } else if (strcmp(argv[1], "late-touch") == 0) {
        in_thread(touches_last, false);
        ask("fin");
    } else if (strcmp(argv[1], "cancelled") == 0) {
        in_thread(waits_for_ever, true);
        ask("fin");
    } else if (strcmp(argv[1], "shared") == 0) {
        in_thread(reads_and_exits, false);
        use_client();
        ask("fin");
    }
    end_here();
    return 0;
}
