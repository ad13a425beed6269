/* Usage: watched MODE [N]
 * A server that leaves every connection open whose peer closes. Says "ready PORT" once for each process that listens.
 *
 *   serve     itself
 *   shy       itself, and nobody without privileges may look into it
 *   workers   N children, each with a listener of its own; ends when they have
 *   daemon    a grandchild in a session of its own; itself it ends at once, with status 3
 *   short     N children one after the other, each of which connects to a listener, closes the connection, and ends
 *   exec      serves until SIGHUP, then runs itself anew with the connections and the listener still open
 *
 * A client that sends "p" makes it pause, one that sends "d" lock a mutex that it has locked.
 * SIGALRM: closes every second of those that it has left. SIGUSR1: does nothing any more. SIGTERM ends it with status 5. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MUST(x) ((x) ? (void)0 : must_failed(__LINE__, #x))

enum { CONNECTIONS = 1024 };

static volatile sig_atomic_t told;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static _Noreturn void must_failed(int line, const char *what)
{
    dprintf(1, "victim: line %d: %s: %s\n", line, what, strerror(errno));
    _exit(99);
}

static void be_told(int sig)
{
    told = sig;
}

static int listen_somewhere(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    MUST(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1024) == 0);
    MUST(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
    dprintf(1, "ready %d %d\n", ntohs(address.sin_port), (int)getpid());
    return fd;
}

static int left[CONNECTIONS], n_left;

static void close_some(void)
{
    for (int i = 0; i < n_left; i += 2)
        close(left[i]);
    n_left = 0;
}

static void obey(char **argv)
{
    char *again[] = {argv[0], "again", NULL};

    switch (told) {
    case SIGUSR1:
        for (;;)
            pause();
    case SIGHUP:
        execv("/proc/self/exe", again);
        MUST(!"exec");
        break;
    case SIGALRM:
        close_some();
        break;
    case SIGTERM:
        exit(5);
    default:
        break;
    }
    told = 0;
}

static void stand_still(char how)
{
    while (how == 'p')
        pause();
    if (how == 'd') {
        pthread_mutex_lock(&mutex);
        pthread_mutex_lock(&mutex);
    }
}

/* Leaves what is at its end, and goes on with the others. */
static void handle(struct pollfd *fds, nfds_t at)
{
    char bytes[256] = "";

    if (recv(fds[at].fd, bytes, sizeof bytes, 0) != 0) {
        stand_still(bytes[0]);
        return;
    }
    left[n_left++] = fds[at].fd;
    fds[at].fd = -1;
}

static void serve(int listener, char **argv)
{
    static struct pollfd fds[CONNECTIONS];
    nfds_t n = 1;

    fds[0] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (;;) {
        obey(argv);
        if (poll(fds, n, -1) < 0)
            continue;
        for (nfds_t i = 1; i < n; i++)
            if (fds[i].revents)
                handle(fds, i);
        if (fds[0].revents && n < CONNECTIONS)
            fds[n++] = (struct pollfd){.fd = accept(listener, NULL, NULL), .events = POLLIN};
    }
}

static void workers(int n, char **argv)
{
    for (int i = 0; i < n; i++) {
        pid_t pid = fork();
        MUST(pid >= 0);
        if (pid == 0)
            serve(listen_somewhere(), argv);
    }
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        if (told == SIGTERM)
            kill(0, SIGTERM);
}

static void run_daemon(char **argv)
{
    pid_t pid = fork();

    MUST(pid >= 0);
    if (pid > 0) {
        waitpid(pid, NULL, 0);
        exit(3);
    }
    setsid();
    pid = fork();
    MUST(pid >= 0);
    if (pid > 0)
        _exit(0);
    serve(listen_somewhere(), argv);
}

static void short_lived(int n)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    int listener = listen_somewhere();

    MUST(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    for (int i = 0; i < n; i++) {
        pid_t pid = fork();
        MUST(pid >= 0);
        if (pid == 0) {
            int fd = socket(AF_INET, SOCK_STREAM, 0);
            MUST(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
            close(fd);
            _exit(0);
        }
        close(accept(listener, NULL, NULL));
        MUST(waitpid(pid, NULL, 0) == pid);
    }
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    int n = argc > 2 ? atoi(argv[2]) : 1;
    const struct sigaction action = {.sa_handler = be_told};
    const int signals[] = {SIGALRM, SIGUSR1, SIGHUP, SIGTERM};

    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
    if (!strcmp(mode, "shy"))
        MUST(prctl(PR_SET_DUMPABLE, 0) == 0);
    if (!strcmp(mode, "serve") || !strcmp(mode, "shy") || !strcmp(mode, "exec"))
        serve(listen_somewhere(), argv);
    else if (!strcmp(mode, "again"))
        serve(3, argv);
    else if (!strcmp(mode, "workers"))
        workers(n, argv);
    else if (!strcmp(mode, "daemon"))
        run_daemon(argv);
    else if (!strcmp(mode, "short"))
        short_lived(n);
    return 0;
}
