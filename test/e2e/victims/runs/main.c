/* The programs that test/e2e/runs puts under `cwguard run`.
 * usage: runs signals              tells of each signal that it takes: "got NUMBER CODE VALUE"; SIGPWR ends it with status 7
 *        runs leak N HOW           serves N clients, reads their ends and forgets them, says "leaked PID", then
 *            exit|_exit|kill|thread|abort   ends, with status 5
 *            wait                           waits for a signal
 *            stubborn                       survives SIGTERM and SIGINT
 *        runs fork N HOW           a child does that; the parent waits for it and ends with status 6
 *        runs daemon N HOW         a process that has left session and tree does that; its starter ends with status 8 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MUST(x)                                                                                                        \
    do {                                                                                                               \
        if (!(x)) {                                                                                                    \
            perror(#x);                                                                                                \
            _exit(99);                                                                                                 \
        }                                                                                                              \
    } while (0)

static int tell_signals(void)
{
    sigset_t all;
    siginfo_t info;

    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    MUST(sigprocmask(SIG_BLOCK, &all, NULL) == 0);
    printf("ready %d\n", (int)getpid());
    for (;;) {
        int sig = sigwaitinfo(&all, &info);
        if (sig == SIGPWR)
            return 7;
        if (sig > 0)
            printf("got %d %d %d\n", sig, info.si_code, info.si_code == SI_QUEUE ? info.si_value.sival_int : 0);
    }
}

static int begin_to_listen(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    MUST(listener >= 0 && bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, 64) == 0);
    MUST(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    printf("ready %d %d\n", ntohs(address.sin_port), (int)getpid());
    return listener;
}

/* The function that reports name. */
__attribute__((noinline)) static void forget_client(int fd)
{
    char bytes[64];
    while (read(fd, bytes, sizeof bytes) > 0)
        ;
}

static void *leave(void *arg)
{
    (void)arg;
    exit(5);
}

static int leak(int count, const char *how)
{
    int listener = begin_to_listen();
    pthread_t thread;

    for (int i = 0; i < count; i++) {
        int fd = accept(listener, NULL, NULL);
        MUST(fd >= 0);
        forget_client(fd);
    }
    if (!strcmp(how, "stubborn")) {
        signal(SIGTERM, SIG_IGN);
        signal(SIGINT, SIG_IGN);
    }
    printf("leaked %d\n", (int)getpid());
    if (!strcmp(how, "_exit"))
        _exit(5);
    if (!strcmp(how, "kill"))
        raise(SIGKILL);
    if (!strcmp(how, "abort"))
        abort();
    if (!strcmp(how, "thread")) {
        MUST(pthread_create(&thread, NULL, leave, NULL) == 0);
        pthread_join(thread, NULL);
    }
    while (strcmp(how, "exit") != 0)
        pause();
    return 5;
}

static int in_a_child(int count, const char *how)
{
    int status;
    pid_t pid = fork();

    MUST(pid >= 0);
    if (pid == 0)
        exit(leak(count, how));
    MUST(waitpid(pid, &status, 0) == pid);
    return 6;
}

static int as_daemon(int count, const char *how)
{
    pid_t pid = fork();

    MUST(pid >= 0);
    if (pid)
        _exit(8);
    setsid();
    pid = fork();
    MUST(pid >= 0);
    if (pid)
        _exit(0);
    return leak(count, how);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc == 2 && !strcmp(argv[1], "signals"))
        return tell_signals();
    if (argc != 4)
        return 98;
    int (*const run)(int, const char *) = !strcmp(argv[1], "fork")     ? in_a_child
                                          : !strcmp(argv[1], "daemon") ? as_daemon
                                                                       : leak;
    return run(atoi(argv[2]), argv[3]);
}
