/* Every way to close a socket. usage: closes HOW; without a name that ends in -keep nothing is left in CLOSE_WAIT. */
#include "test/e2e/victims/victim.h"

#include <pthread.h>

/* No hook can see these two. */
static long raw_close(int fd)
{
    long ret;
    __asm__ volatile("syscall" : "=a"(ret) : "a"(SYS_close), "D"(fd) : "rcx", "r11", "memory");
    return ret;
}

/* A thread that is cancelled at the very call: the fd stays open (and the call's record must too). */
static void *cancelled_close(void *fd_at)
{
    int old;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    pthread_cancel(pthread_self());
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
    close(*(int *)fd_at);
    return NULL;
}

static void close_as(const char *how, int fd, int listener)
{
    if (strcmp(how, "close") == 0) {
        MUST(close(fd) == 0);
    } else if (strcmp(how, "fclose") == 0) {
        FILE *stream = fdopen(fd, "r+");
        MUST(stream != NULL && fgetc(stream) == EOF && fclose(stream) == 0);
    } else if (strcmp(how, "fcloseall-keep") == 0) {
        FILE *stream = fdopen(fd, "r");
        MUST(stream != NULL && fcloseall() == 0); /* glibc's only flushes */
    } else if (strcmp(how, "freopen") == 0) {
        FILE *stream = fdopen(fd, "r");
        MUST(stream != NULL && freopen("/dev/null", "r", stream) != NULL);
    } else if (strcmp(how, "syscall") == 0) {
        MUST(syscall(SYS_close, fd) == 0);
    } else if (strcmp(how, "close_range") == 0) {
        MUST(close_range((unsigned)fd, (unsigned)fd, 0) == 0);
    } else if (strcmp(how, "syscall-close_range") == 0) {
        MUST(syscall(SYS_close_range, (unsigned)fd, (unsigned)fd, 0u) == 0);
    } else if (strcmp(how, "closefrom") == 0) {
        closefrom(fd);
    } else if (strcmp(how, "dup2") == 0) {
        MUST(dup2(listener, fd) == fd);
    } else if (strcmp(how, "dup3") == 0) {
        MUST(dup3(listener, fd, 0) == fd);
    } else if (strcmp(how, "syscall-dup2") == 0) {
        MUST(syscall(SYS_dup2, listener, fd) == fd);
    } else if (strcmp(how, "shutdown") == 0) {
        MUST(shutdown(fd, SHUT_RDWR) == 0);
    } else if (strcmp(how, "shutdown-rd-keep") == 0) {
        MUST(shutdown(fd, SHUT_RD) == 0);
    } else if (strcmp(how, "cloexec-range-keep") == 0) {
        MUST(close_range((unsigned)fd, (unsigned)fd, 4 /* CLOSE_RANGE_CLOEXEC: closes nothing now */) == 0);
    } else if (strcmp(how, "failing-dup2-keep") == 0) {
        MUST(dup2(-1, fd) < 0 && errno == EBADF);
    } else if (strcmp(how, "self-dup2-keep") == 0) {
        MUST(dup2(fd, fd) == fd);
    } else if (strcmp(how, "cancelled-keep") == 0) {
        pthread_t thread;
        void *end;
        MUST(pthread_create(&thread, NULL, cancelled_close, &fd) == 0 && pthread_join(thread, &end) == 0);
        MUST(end == PTHREAD_CANCELED && fcntl(fd, F_GETFD) >= 0);
    } else {
        MUST(strcmp(how, "asm") == 0 && raw_close(fd) == 0);
    }
}

int main(int argc, char **argv)
{
    int fd, next;
    victim_begin();
    MUST(argc == 2);
    int listener = listen_on(AF_INET);
    if (strcmp(argv[1], "asm-reuse") == 0) { /* closed unseen, the number means another, healthy connection now */
        take_clients(listener, 1, &fd);
        ask("fin");
        on_readable(fd);
        MUST(raw_close(fd) == 0);
        take_clients(listener, 1, &next);
        MUST(next == fd);
    } else if (strcmp(argv[1], "asm-reuse-keep") == 0) { /* likewise, and the other connection is left in CLOSE_WAIT */
        take_clients(listener, 1, &fd);
        MUST(raw_close(fd) == 0);
        take_clients(listener, 1, &next);
        MUST(next == fd);
        ask("fin 1 1");
        on_readable(next);
    } else {
        take_clients(listener, 1, &fd);
        ask("fin");
        close_as(argv[1], fd, listener);
    }
    end_here();
    return 0;
}
