/* A worker that has used a connection which is in CLOSE_WAIT by now, and is inside one long transfer. usage: transfer
 * send|recv|pipe. Prints "ready PID TID" when it is inside; at the next line on stdin lets the transfer go on, and prints
 * "BYTES ERRNO" as the call returned them. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { BIG_BYTES = 8 << 20, ALL_BYTES = 100, FIRST_BYTES = 10 };

static char mode;
static int used, transfer, other; /* the worker's two ends, the far end of the second */
static char big[BIG_BYTES];
static pid_t tid;

#define MUST(what) ((what) ? (void)0 : (perror(#what), exit(9)))

static void connect_pair(int *ret_near, int *ret_far)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    MUST(bind(listener, (void *)&at, n) == 0 && listen(listener, 1) == 0);
    MUST(getsockname(listener, (void *)&at, &n) == 0);
    *ret_far = socket(AF_INET, SOCK_STREAM, 0);
    MUST(connect(*ret_far, (void *)&at, n) == 0);
    *ret_near = accept(listener, NULL, NULL);
    MUST(*ret_near >= 0 && close(listener) == 0);
}

static __attribute__((noinline)) long handle(void)
{
    char byte;
    long result;

    MUST(recv(used, &byte, 1, 0) == 1);
    errno = 0;
    if (mode == 's')
        result = send(transfer, big, sizeof big, 0);
    else if (mode == 'r')
        result = recv(transfer, big, ALL_BYTES, MSG_WAITALL);
    else
        result = write(transfer, big, sizeof big);
    return result;
}

static void *work(void *ret_result)
{
    __atomic_store_n(&tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
    *(long *)ret_result = handle();
    *((long *)ret_result + 1) = errno;
    return NULL;
}

/* Until the worker sleeps in its transfer. */
static void wait_until_inside(void)
{
    char path[64], text[256];

    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)tid);
    for (const char *nr = mode == 's' ? "44 " : mode == 'r' ? "45 " : "1 ";;) {
        FILE *file = fopen(path, "r");
        MUST(file && fgets(text, sizeof text, file));
        fclose(file);
        if (!strncmp(text, nr, strlen(nr)))
            return;
    }
}

int main(int argc, char **argv)
{
    long result[2] = {0};
    int far, ends[2];
    pthread_t worker;

    mode = argc > 1 ? argv[1][0] : 's';
    connect_pair(&used, &far);
    MUST(send(far, "x", 1, 0) == 1);
    if (mode == 'p') {
        MUST(pipe(ends) == 0);
        transfer = ends[1];
        other = ends[0];
    } else {
        connect_pair(&other, &transfer); /* our side called, as one calls a backend */
    }
    if (mode == 'r')
        MUST(send(other, big, FIRST_BYTES, 0) == FIRST_BYTES);
    MUST(pthread_create(&worker, NULL, work, result) == 0);
    while (!__atomic_load_n(&tid, __ATOMIC_ACQUIRE))
        ;
    wait_until_inside();
    close(far);
    printf("ready %d %d\n", (int)getpid(), (int)tid);
    fflush(stdout);
    MUST(getchar() != EOF);
    static char sink[65536];
    if (mode == 'r')
        MUST(send(other, big, ALL_BYTES - FIRST_BYTES, 0) == ALL_BYTES - FIRST_BYTES);
    for (long left = mode == 'r' ? 0 : BIG_BYTES; left > 0;) {
        /* What was cut short does not come: the worker's end is looked at as well. */
        long got = mode == 'p' ? read(other, sink, sizeof sink) : recv(other, sink, sizeof sink, 0);
        MUST(got > 0);
        left -= got;
        if (pthread_tryjoin_np(worker, NULL) == 0) {
            printf("%ld %ld\n", result[0], result[1]);
            return 0;
        }
    }
    pthread_join(worker, NULL);
    printf("%ld %ld\n", result[0], result[1]);
    return 0;
}
