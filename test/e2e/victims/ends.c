/* Leaves three sockets in CLOSE_WAIT (one read to its end, one with unread data, one never read) and ends as told.
 * usage: ends HOW [swept] */
#include "test/e2e/victims/victim.h"

#include <pthread.h>

static int fds[3];

static void at_exit_closes(void)
{
    close(fds[0]);
    end_here();
}

static void *exit_in_thread(void *arg)
{
    (void)arg;
    exit(4);
}

static void *last_thread(void *arg)
{
    pthread_join(*(pthread_t *)arg, NULL);
    end_here();
    return NULL;
}

NOINLINE static void crash(void)
{
    int *volatile nowhere = (int *)8;
    *nowhere = 1;
}

static void finish(const char *how)
{
    if (strcmp(how, "exit") == 0)
        exit(3);
    if (strcmp(how, "_exit") == 0)
        _exit(5);
    if (strcmp(how, "_Exit") == 0)
        _Exit(6);
    if (strcmp(how, "quick_exit") == 0)
        quick_exit(7);
    if (strcmp(how, "exit_group") == 0)
        syscall(SYS_exit_group, 8);
    if (strcmp(how, "abort") == 0)
        abort();
    if (strcmp(how, "segv") == 0)
        crash();
    if (strcmp(how, "raise") == 0)
        raise(SIGTERM);
    if (strcmp(how, "thread") == 0) {
        pthread_t thread;
        MUST(pthread_create(&thread, NULL, exit_in_thread, NULL) == 0);
        pthread_join(thread, NULL);
    }
}

int main(int argc, char **argv)
{
    victim_begin();
    const char *how = argc > 1 ? argv[1] : "return";
    int listener = listen_on(AF_INET);
    take_clients(listener, 3, fds);
    ask("send 1 5");
    ask("fin");
    on_readable(fds[0]);
    if (strcmp(how, "atexit-closes") == 0) {
        atexit(at_exit_closes);
        return 0;
    }
    if (strcmp(how, "at-quick-exit-closes") == 0) {
        at_quick_exit(at_exit_closes);
        quick_exit(0);
    }
    if (strcmp(how, "pthread_exit") == 0) {
        static pthread_t self;
        pthread_t thread;
        self = pthread_self();
        MUST(pthread_create(&thread, NULL, last_thread, &self) == 0);
        pthread_exit(NULL);
    }
    if (strcmp(how, "aged") == 0)
        ask("age 2300");
    if (argc > 2 && strcmp(argv[2], "swept") == 0) { /* long enough in a loop for the shim to have looked round */
        say("age 2300\n");
        answer_in_loop();
    }
    if (strcmp(how, "loop") == 0)
        end_in_loop();
    else
        end_here();
    finish(how);
    return 2;
}
