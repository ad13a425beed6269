/* A thread in waitpid(-1) and a SIGCHLD handler at the end: neither may ever learn of a child not its own. */
#include "test/e2e/victims/victim.h"

#include <pthread.h>
#include <sys/prctl.h>

static void on_child(int number)
{
    (void)number;
    static const char line[] = "SIGCHLD arrived\n";
    MUST(write(ctl_out, line, sizeof line - 1) > 0);
}

static void *wait_for_any(void *arg)
{
    (void)arg;
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, 0);
        if (pid > 0)
            say("waitpid returned a child\n");
        else if (errno != EINTR)
            say("waitpid failed: %s\n", strerror(errno));
        if (pid < 0)
            return NULL;
    }
}

int main(void)
{
    int fds[2];
    pthread_t thread;
    victim_begin();
    pid_t own = fork();
    if (own == 0) { /* keeps waitpid waiting; ends with its parent */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(0);
        close(1);
        close(2);
        for (;;)
            pause();
    }
    MUST(own > 0 && signal(SIGCHLD, on_child) != SIG_ERR);
    MUST(pthread_create(&thread, NULL, wait_for_any, NULL) == 0);
    int listener = listen_on(AF_INET);
    take_clients(listener, 2, fds);
    ask("fin");
    end_here();
    return 0;
}
