/* A server with one fault, for test_outside.sh: `outside MODE` makes connections to itself, lets its clients close, and
 * says "ready" once the kernel has them in CLOSE_WAIT. Then it answers commands, one line each, until stdin ends. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define MUST(x)                                                                                                        \
    do {                                                                                                               \
        if (!(x)) {                                                                                                    \
            fprintf(stderr, "outside: line %d: %s: %s\n", __LINE__, #x, strerror(errno));                              \
            _exit(99);                                                                                                 \
        }                                                                                                              \
    } while (0)

enum { CONNS_MAX = 128 };

static int listener, clients[CONNS_MAX], server[CONNS_MAX];
static atomic_int served, answered, interrupted;
static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER, idle_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t idle = PTHREAD_COND_INITIALIZER;
static pthread_t serving;

static void listen_here(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};

    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, CONNS_MAX) == 0);
}

static int connect_here(void)
{
    struct sockaddr_in address;
    socklen_t n = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    MUST(getsockname(listener, (struct sockaddr *)&address, &n) == 0);
    MUST(connect(fd, (struct sockaddr *)&address, sizeof address) == 0 && send(fd, "hello", 5, 0) == 5);
    return fd;
}

/* n connections, accepted in order. */
static void open_all(int n)
{
    for (int i = 0; i < n; i++) {
        clients[i] = connect_here();
        server[i] = accept(listener, NULL, NULL);
        MUST(server[i] >= 0);
    }
}

static int state_of(int fd)
{
    struct tcp_info info;
    socklen_t n = sizeof info;
    MUST(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) == 0);
    return info.tcpi_state;
}

static void close_clients(int n, int state)
{
    for (int i = 0; i < n; i++)
        close(clients[i]);
    for (int i = 0; i < n; i++)
        while (state_of(server[i]) != state)
            sched_yield();
}

static void wait_for(atomic_int *counter, int at_least)
{
    while (atomic_load(counter) < at_least)
        sched_yield();
}

/* Until the thread sleeps in the kernel. */
static void wait_asleep(pid_t tid)
{
    char path[64], text[512], state = 0;

    while (state != 'S') {
        snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)tid);
        FILE *file = fopen(path, "r");
        MUST(file && fgets(text, sizeof text, file));
        fclose(file);
        state = strrchr(text, ')')[2];
        sched_yield();
    }
}

static atomic_int worker_tid;

static pthread_t start(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    MUST(pthread_create(&thread, NULL, run, argument) == 0);
    return thread;
}

static void receive(int fd)
{
    char request[64];
    MUST(recv(fd, request, sizeof request, 0) == 5);
    atomic_fetch_add(&served, 1);
}

/* --- mutex: stuck in a handler --- */

NOINLINE static void look_up_user(void)
{
    pthread_mutex_lock(&table); /* LINE lock */
    pthread_mutex_unlock(&table);
}

NOINLINE static void handle_login(int fd)
{
    receive(fd);
    look_up_user(); /* LINE look_up */
    atomic_fetch_add(&served, 1);
}

static void *mutex_worker(void *argument)
{
    atomic_store(&worker_tid, gettid());
    handle_login(*(int *)argument);
    return NULL;
}

static void run_mutex(void)
{
    open_all(1);
    pthread_mutex_lock(&table);
    start(mutex_worker, &server[0]);
    wait_for(&served, 1);
    wait_asleep(atomic_load(&worker_tid));
    close_clients(1, TCP_CLOSE_WAIT);
}

/* --- spin: on the CPU in a handler, measuring how long it did not run; signals are counted --- */

static atomic_llong longest_ns;
static atomic_int sent, handled, out_of_order;

static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    if (info->si_value.sival_int != atomic_load(&handled))
        atomic_fetch_add(&out_of_order, 1);
    atomic_fetch_add(&handled, 1);
}

static long long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* How long this thread has waited for a processor so far: it was not stopped then. */
static long long waited_ns(int schedstat)
{
    char text[128];
    long long ran, waited = 0;
    ssize_t n = pread(schedstat, text, sizeof text - 1, 0);

    text[n > 0 ? n : 0] = 0;
    return sscanf(text, "%lld %lld", &ran, &waited) == 2 ? waited : 0;
}

NOINLINE static void count_for_ever(int schedstat)
{
    long long before = now_ns(), waited_before = waited_ns(schedstat);

    for (;;) {
        long long now = now_ns(); /* LINE spin */
        if (now - before > 50000) {
            long long waited = waited_ns(schedstat), stopped = now - before - (waited - waited_before);
            if (stopped > atomic_load(&longest_ns))
                atomic_store(&longest_ns, stopped);
            waited_before = waited;
            now = now_ns();
        }
        before = now;
    }
}

NOINLINE static void handle_count(int fd)
{
    int schedstat = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);

    receive(fd);
    count_for_ever(schedstat);
    atomic_fetch_add(&served, 1);
}

static void *spin_worker(void *argument)
{
    handle_count(*(int *)argument);
    return NULL;
}

static void *signaller(void *argument)
{
    (void)argument;
    for (;;) {
        union sigval value = {.sival_int = atomic_load(&sent)};
        if (atomic_load(&sent) - atomic_load(&handled) < 8 && pthread_sigqueue(serving, SIGRTMIN, value) == 0)
            atomic_fetch_add(&sent, 1);
        sched_yield();
    }
    return NULL;
}

static void run_spin(bool signals)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};

    MUST(sigaction(SIGRTMIN, &action, NULL) == 0);
    open_all(1);
    serving = start(spin_worker, &server[0]);
    wait_for(&served, 1);
    if (signals)
        start(signaller, NULL);
    close_clients(1, TCP_CLOSE_WAIT);
}

/* --- acceptor: takes one of three connections at each edge, and sleeps again, in a call that a stop would end --- */

NOINLINE static void wait_for_clients(int set)
{
    struct epoll_event event;

    if (epoll_wait(set, &event, 1, -1) < 0 && errno == EINTR) /* LINE clients */
        atomic_fetch_add(&interrupted, 1);
}

static void *acceptor(void *argument)
{
    int set = *(int *)argument;

    atomic_store(&worker_tid, gettid());
    for (;;) {
        wait_for_clients(set);
        receive(accept(listener, NULL, NULL));
    }
    return NULL;
}

static void run_acceptor(void)
{
    static int set;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};

    for (int i = 0; i < 3; i++)
        clients[i] = connect_here();
    set = epoll_create1(EPOLL_CLOEXEC);
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, listener, &event) == 0);
    start(acceptor, &set);
    wait_for(&served, 1);
    wait_asleep(atomic_load(&worker_tid));
    for (int i = 1; i < 3; i++) {
        shutdown(clients[i], SHUT_WR);
        while (state_of(clients[i]) != TCP_FIN_WAIT2)
            sched_yield();
    }
}

/* --- database, timeout: stuck in recv on another connection; with SO_RCVTIMEO a stop would end it, too --- */

NOINLINE static void ask_database(int fd)
{
    char answer[16];
    if (recv(fd, answer, sizeof answer, 0) < 0 && errno == EINTR) /* LINE database */
        atomic_fetch_add(&interrupted, 1);
}

NOINLINE static void handle_query(int fd)
{
    receive(fd);
    ask_database(clients[1]);
    atomic_fetch_add(&served, 1);
}

static void *database_worker(void *argument)
{
    atomic_store(&worker_tid, gettid());
    handle_query(*(int *)argument);
    return NULL;
}

static void run_database(bool timeout)
{
    const struct timeval hour = {.tv_sec = 3600};

    open_all(2);
    receive(server[1]);
    if (timeout)
        MUST(setsockopt(clients[1], SOL_SOCKET, SO_RCVTIMEO, &hour, sizeof hour) == 0);
    start(database_worker, &server[0]);
    wait_for(&served, 2);
    wait_asleep(atomic_load(&worker_tid));
    close_clients(1, TCP_CLOSE_WAIT);
}

/* --- idle: workers that have answered, kept their sockets, and wait for work --- */

NOINLINE static void handle_quickly(int fd)
{
    receive(fd);
    atomic_fetch_add(&answered, 1);
}

static void *idle_worker(void *argument)
{
    handle_quickly(*(int *)argument);
    pthread_mutex_lock(&idle_lock);
    atomic_store(&worker_tid, gettid());
    for (;;)
        pthread_cond_wait(&idle, &idle_lock);
    return NULL;
}

static void run_idle(int n)
{
    open_all(n);
    for (int i = 0; i < n; i++)
        start(idle_worker, &server[i]);
    wait_for(&served, n);
    while (atomic_load(&worker_tid) == 0)
        sched_yield();
    wait_asleep(atomic_load(&worker_tid));
    close_clients(n, TCP_CLOSE_WAIT);
}

/* --- loop: an event loop stuck in the handler of one connection, so that another is not served --- */

static void *loop_worker(void *argument)
{
    struct epoll_event event = {.events = EPOLLIN};
    int set = *(int *)argument;

    atomic_store(&worker_tid, gettid());
    for (;;) {
        MUST(epoll_wait(set, &event, 1, -1) == 1);
        handle_login(event.data.fd);
    }
    return NULL;
}

/* Goes through a hook that looks at the process's sockets now and then. */
static void *passer_by(void *argument)
{
    (void)argument;
    for (;;) {
        int client = connect_here(), accepted = accept(listener, NULL, NULL);
        close(client);
        close(accepted);
        usleep(20000);
    }
    return NULL;
}

static void run_loop(bool drop_root)
{
    static int set;
    struct epoll_event event = {.events = EPOLLIN};

    set = epoll_create1(EPOLL_CLOEXEC);
    pthread_mutex_lock(&table);
    open_all(1);
    event.data.fd = server[0];
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, server[0], &event) == 0);
    start(loop_worker, &set);
    wait_for(&served, 1);
    wait_asleep(atomic_load(&worker_tid));
    clients[1] = connect_here();
    server[1] = accept(listener, NULL, NULL);
    event.data.fd = server[1];
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, server[1], &event) == 0);
    close_clients(2, TCP_CLOSE_WAIT);
    if (drop_root) {
        MUST(setuid(65534) == 0);
        MUST(prctl(PR_GET_DUMPABLE) == 0);
        start(passer_by, NULL);
    }
}

/* --- child, reset, unseen --- */

NOINLINE static void read_to_the_end(int fd)
{
    char request[64];
    while (recv(fd, request, sizeof request, 0) > 0)
        ;
}

static pid_t holder;

static void run_child(void)
{
    open_all(2);
    holder = fork();
    if (holder == 0) {
        prctl(PR_SET_NAME, "snapshot");
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int i = 0; i < 2; i++)
            close(clients[i]);
        for (;;)
            pause();
    }
    close_clients(2, TCP_CLOSE_WAIT);
    for (int i = 0; i < 2; i++)
        read_to_the_end(server[i]);
}

/* --- heir, program, worker: the server has closed its clients, or never had them; a child holds them --- */

static void close_all(int n)
{
    for (int i = 0; i < n; i++) {
        close(server[i]);
        close(clients[i]);
    }
}

/* Until the kernel shows n sockets in CLOSE_WAIT on the listener's port. */
static void wait_close_wait(int n)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    char line[256], local[16];

    MUST(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    snprintf(local, sizeof local, ":%04X", ntohs(address.sin_port));
    for (int found = 0; found != n; sched_yield()) {
        FILE *file = fopen("/proc/self/net/tcp", "r");
        MUST(file);
        for (found = 0; fgets(line, sizeof line, file);)
            /* "0: 0100007F:1F90 0100007F:C350 08": number, local and remote address, state */
            found += strlen(line) > 36 && !strncmp(line + 14, local, 5) && !strncmp(line + 34, "08", 2);
        fclose(file);
    }
}

/* A forked child that goes on, or becomes another program, with three of the server's sockets open. The server may have
 * forgotten one itself. */
static void run_heir(bool program, bool leak)
{
    int all = leak ? 4 : 3;

    open_all(all);
    holder = fork();
    MUST(holder >= 0);
    if (holder == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int i = 0; i < all; i++)
            close(clients[i]);
        if (leak)
            close(server[3]);
        if (program) {
            execlp("sleep", "sleep", "60", (char *)NULL);
            _exit(127);
        }
        prctl(PR_SET_NAME, "snapshot");
        for (;;)
            pause();
    }
    close_all(3);
    if (leak)
        close(clients[3]);
    wait_close_wait(all);
}

/* A child that accepts for itself: what it holds its parent never had, whose own clients are another matter. */
static void run_worker(void)
{
    int done[2];
    char byte;

    open_all(1);
    MUST(pipe2(done, O_CLOEXEC) == 0);
    holder = fork();
    MUST(holder >= 0);
    if (holder == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(clients[0]);
        close(server[0]);
        open_all(2);
        close_clients(2, TCP_CLOSE_WAIT);
        MUST(write(done[1], "x", 1) == 1);
        for (;;)
            pause();
    }
    MUST(read(done[0], &byte, 1) == 1);
    close_all(1);
    wait_close_wait(2);
}

NOINLINE static void answer_and_forget(int fd)
{
    receive(fd);
    MUST(send(fd, "bye", 3, 0) == 3);
}

/* One is reset by its client, one goes on. */
static void run_reset(void)
{
    const struct linger at_once = {.l_onoff = 1};

    open_all(2);
    answer_and_forget(server[0]);
    MUST(setsockopt(clients[0], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
    close_clients(1, TCP_CLOSE);
    receive(server[1]);
}

/* Taken out of its set by a system call that no hook sees. */
static void run_unseen(void)
{
    struct epoll_event event = {.events = EPOLLIN};
    int set = epoll_create1(EPOLL_CLOEXEC);
    long result;

    open_all(1);
    handle_quickly(server[0]);
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, server[0], &event) == 0);
    MUST(epoll_wait(set, &event, 1, 0) == 0);
    register long third __asm__("r10") = 0;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(SYS_epoll_ctl), "D"((long)set), "S"((long)EPOLL_CTL_DEL), "d"((long)server[0]), "r"(third)
                     : "rcx", "r11", "memory");
    MUST(result == 0);
    close_clients(1, TCP_CLOSE_WAIT);
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    char command[64];

    alarm(60); /* whatever happens */
    setvbuf(stdout, NULL, _IOLBF, 0);
    listen_here();
    if (!strcmp(mode, "mutex"))
        run_mutex();
    else if (!strcmp(mode, "spin") || !strcmp(mode, "signals"))
        run_spin(!strcmp(mode, "signals"));
    else if (!strcmp(mode, "acceptor"))
        run_acceptor();
    else if (!strcmp(mode, "timeout") || !strcmp(mode, "database"))
        run_database(!strcmp(mode, "timeout"));
    else if (!strcmp(mode, "idle"))
        run_idle(100);
    else if (!strcmp(mode, "loop") || !strcmp(mode, "setuid"))
        run_loop(!strcmp(mode, "setuid"));
    else if (!strcmp(mode, "child"))
        run_child();
    else if (!strcmp(mode, "heir") || !strcmp(mode, "program") || !strcmp(mode, "both"))
        run_heir(!strcmp(mode, "program"), !strcmp(mode, "both"));
    else if (!strcmp(mode, "worker"))
        run_worker();
    else if (!strcmp(mode, "reset"))
        run_reset();
    else if (!strcmp(mode, "unseen"))
        run_unseen();
    else
        MUST(!"a known mode");
    printf("ready %d %d %d\n", (int)getpid(), (int)atomic_load(&worker_tid), (int)holder);
    while (fgets(command, sizeof command, stdin)) {
        if (!strcmp(command, "gap\n"))
            printf("%lld\n", atomic_exchange(&longest_ns, 0) / 1000);
        else if (!strcmp(command, "interrupted\n"))
            printf("%d %d\n", atomic_load(&interrupted), atomic_load(&served));
        else
            printf("%d %d %d\n", atomic_load(&sent), atomic_load(&handled), atomic_load(&out_of_order));
    }
    _exit(0);
}
