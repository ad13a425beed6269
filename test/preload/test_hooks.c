/* Every row of hooks.inc: exported by the shim, found in libc, and from outside the same as the real function: same result
 * and same errno, on failure and on success, while recording and while the recorder is off (programs=). A new row does not
 * compile here until it has its two calls below. An ordinary program; runs with the library preloaded. */
#define _GNU_SOURCE
#define _LARGEFILE64_SOURCE
#include "preload/hooks.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

extern char **environ;

/* A connected TCP pair made anew for each use, so that one test leaves nothing for the next. */
struct pair {
    int listener, near, far;
};

static struct pair connected(void)
{
    struct pair p;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    p.listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(p.listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(p.listener, 4), 0);
    assert_int_equal(getsockname(p.listener, (struct sockaddr *)&at, &len), 0);
    p.far = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(p.far, (struct sockaddr *)&at, sizeof at), 0);
    p.near = accept(p.listener, NULL, NULL);
    assert_true(p.near >= 0);
    assert_int_equal(write(p.far, "hello", 5), 5);
    return p;
}

static long done(struct pair p, long result)
{
    int saved = errno;
    close(p.listener);
    close(p.near);
    close(p.far);
    errno = saved;
    return result;
}

static long closed(int fd)
{
    int saved = errno;
    if (fd >= 0)
        close(fd);
    errno = saved;
    return fd >= 0;
}

/* Runs the rest of the block in a child; the value is its wait status. */
#define IN_CHILD(...)                                                                                                  \
    int status = -1, saved = errno;                                                                                    \
    pid_t child = fork();                                                                                              \
    if (child == 0) {                                                                                                  \
        __VA_ARGS__;                                                                                                   \
        syscall(SYS_exit_group, 99);                                                                                   \
    }                                                                                                                  \
    waitpid(child, &status, 0);                                                                                        \
    errno = saved;                                                                                                     \
    return status

#define FAIL(name) static long fail_##name(__typeof__(name) *f)
#define PASS(name) static long pass_##name(__typeof__(name) *f)
/* An address that cannot be read; volatile, so that the compiler does not see through it. */
static void *volatile bad_address = (void *)1;
#define BAD bad_address
static char *const true_argv[] = {(char *)(uintptr_t) "true", NULL};
static struct timespec soon = {.tv_nsec = 1};
static char room[64];
static struct iovec vector = {room, 5};
static struct sockaddr_in nowhere = {.sin_family = AF_INET};

FAIL(socket)
{
    return f(-1, -1, -1);
}
PASS(socket)
{
    return closed(f(AF_INET, SOCK_STREAM, 0));
}
FAIL(socketpair)
{
    return f(AF_UNIX, SOCK_STREAM, 0, BAD);
}
PASS(socketpair)
{
    int fds[2];
    long r = f(AF_UNIX, SOCK_STREAM, 0, fds);
    closed(fds[0]);
    closed(fds[1]);
    return r;
}
FAIL(accept)
{
    return f(-1, BAD, BAD);
}
PASS(accept)
{
    struct pair p = connected();
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, peer;
    socklen_t len = sizeof at, peer_len = sizeof peer;
    getsockname(p.listener, (struct sockaddr *)&at, &len);
    int more = socket(AF_INET, SOCK_STREAM, 0);
    connect(more, (struct sockaddr *)&at, sizeof at);
    errno = 77;
    int fd = f(p.listener, (struct sockaddr *)&peer, &peer_len);
    long r = closed(fd) + (peer_len == sizeof peer) * 2 + (peer.sin_family == AF_INET) * 4;
    closed(more);
    return done(p, r);
}
FAIL(accept4)
{
    return f(0, NULL, NULL, -1);
}
PASS(accept4)
{
    struct pair p = connected();
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof at;
    getsockname(p.listener, (struct sockaddr *)&at, &len);
    int more = socket(AF_INET, SOCK_STREAM, 0);
    connect(more, (struct sockaddr *)&at, sizeof at);
    errno = 77;
    long r = closed(f(p.listener, NULL, NULL, SOCK_CLOEXEC));
    closed(more);
    return done(p, r);
}
FAIL(connect)
{
    return f(-1, (struct sockaddr *)&nowhere, sizeof nowhere);
}
PASS(connect)
{
    struct pair p = connected();
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    getsockname(p.listener, (struct sockaddr *)&at, &len);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    errno = 77;
    long r = f(fd, (struct sockaddr *)&at, sizeof at);
    closed(fd);
    return done(p, r);
}
FAIL(bind)
{
    return f(-1, (struct sockaddr *)&nowhere, sizeof nowhere);
}
PASS(bind)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    errno = 77;
    long r = f(fd, (struct sockaddr *)&nowhere, sizeof nowhere);
    closed(fd);
    return r;
}
FAIL(listen)
{
    return f(-1, 1);
}
PASS(listen)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    errno = 77;
    long r = f(fd, 1);
    closed(fd);
    return r;
}
FAIL(dup)
{
    return f(-1);
}
PASS(dup)
{
    return closed(f(0));
}
FAIL(dup2)
{
    return f(-1, 3);
}
PASS(dup2)
{
    return closed(f(0, 200)) + 10;
}
FAIL(dup3)
{
    return f(0, 0, 0);
}
PASS(dup3)
{
    return closed(f(0, 200, O_CLOEXEC));
}
FAIL(fcntl)
{
    return f(-1, F_DUPFD, 3);
}
PASS(fcntl)
{
    return closed(f(0, F_DUPFD, 3)) + f(0, F_GETFD);
}
FAIL(fcntl64)
{
    return f(-1, F_GETFL);
}
PASS(fcntl64)
{
    return closed(f(0, F_DUPFD_CLOEXEC, 3));
}

#define READS(name, failing, passing)                                                                                  \
    FAIL(name)                                                                                                         \
    {                                                                                                                  \
        return failing;                                                                                                \
    }                                                                                                                  \
    PASS(name)                                                                                                         \
    {                                                                                                                  \
        struct pair p = connected();                                                                                   \
        struct msghdr msg = {.msg_iov = &vector, .msg_iovlen = 1};                                                     \
        struct mmsghdr msgs = {.msg_hdr = msg};                                                                        \
        (void)msgs;                                                                                                    \
        errno = 77;                                                                                                    \
        return done(p, passing);                                                                                       \
    }
READS(read, f(-1, room, 5), f(p.near, room, 5))
READS(readv, f(-1, &vector, 1), f(p.near, &vector, 1))
READS(recv, f(-1, room, 5, 0), f(p.near, room, 5, MSG_PEEK))
READS(recvfrom, f(-1, room, 5, 0, NULL, NULL), f(p.near, room, 5, 0, NULL, NULL))
READS(recvmsg, f(0, BAD, -1), f(p.near, &msg, 0))
READS(recvmmsg, f(-1, BAD, 1, 0, NULL), f(p.near, &msgs, 1, MSG_DONTWAIT, NULL))
READS(splice, f(-1, NULL, -1, NULL, 1, 0), f(p.near, NULL, -1, NULL, 1, 0))
READS(__read_chk, f(-1, room, 5, sizeof room), f(p.near, room, 5, sizeof room))
READS(__recv_chk, f(-1, room, 5, sizeof room, 0), f(p.near, room, 5, sizeof room, 0))
READS(__recvfrom_chk, f(-1, room, 5, sizeof room, 0, NULL, NULL), f(p.near, room, 5, sizeof room, 0, NULL, NULL))
READS(write, f(-1, "x", 1), f(p.near, "x", 1))
READS(writev, f(-1, &vector, 1), f(p.near, &vector, 1))
READS(send, f(-1, "x", 1, 0), f(p.near, "x", 1, MSG_NOSIGNAL))
READS(sendto, f(-1, "x", 1, 0, NULL, 0), f(p.near, "x", 1, 0, NULL, 0))
READS(sendmsg, f(-1, &(struct msghdr){0}, 0), f(p.near, &msg, 0))
READS(sendmmsg, f(-1, &(struct mmsghdr){0}, 1, 0), f(p.near, &msgs, 1, 0))
READS(sendfile, f(-1, -1, NULL, 1), f(p.near, -1, NULL, 1))
READS(sendfile64, f(-1, -1, NULL, 1), f(p.near, -1, NULL, 1))

FAIL(epoll_create)
{
    return f(-1);
}
PASS(epoll_create)
{
    return closed(f(1));
}
FAIL(epoll_create1)
{
    return f(-1);
}
PASS(epoll_create1)
{
    return closed(f(EPOLL_CLOEXEC));
}
static int a_set(struct pair p)
{
    int set = epoll_create1(0);
    epoll_ctl(set, EPOLL_CTL_ADD, p.near, &(struct epoll_event){.events = EPOLLIN});
    errno = 77;
    return set;
}
FAIL(epoll_ctl)
{
    return f(-1, EPOLL_CTL_ADD, 0, BAD);
}
PASS(epoll_ctl)
{
    struct pair p = connected();
    int set = a_set(p);
    long r = f(set, EPOLL_CTL_DEL, p.near, NULL);
    closed(set);
    return done(p, r);
}
#define WAITS(name, failing, passing)                                                                                  \
    FAIL(name)                                                                                                         \
    {                                                                                                                  \
        return failing;                                                                                                \
    }                                                                                                                  \
    PASS(name)                                                                                                         \
    {                                                                                                                  \
        struct pair p = connected();                                                                                   \
        int set = a_set(p);                                                                                            \
        struct epoll_event event;                                                                                      \
        struct pollfd asked = {.fd = p.near, .events = POLLIN};                                                        \
        fd_set in;                                                                                                     \
        FD_ZERO(&in);                                                                                                  \
        FD_SET(p.near, &in);                                                                                           \
        struct timeval never = {0};                                                                                    \
        (void)event, (void)asked, (void)never;                                                                         \
        long r = passing;                                                                                              \
        closed(set);                                                                                                   \
        return done(p, r);                                                                                             \
    }
WAITS(epoll_wait, f(-1, BAD, 1, 0), f(set, &event, 1, -1))
WAITS(epoll_pwait, f(-1, BAD, 1, 0, NULL), f(set, &event, 1, -1, NULL))
WAITS(epoll_pwait2, f(-1, BAD, 1, &soon, NULL), f(set, &event, 1, NULL, NULL))
WAITS(poll, f(BAD, 1, 0), f(&asked, 1, -1))
WAITS(ppoll, f(BAD, 1, &soon, NULL), f(&asked, 1, NULL, NULL))
WAITS(__poll_chk, f(BAD, 1, 0, sizeof(struct pollfd)), f(&asked, 1, -1, sizeof asked))
WAITS(__ppoll_chk, f(BAD, 1, &soon, NULL, sizeof(struct pollfd)), f(&asked, 1, NULL, NULL, sizeof asked))
WAITS(select, f(1, BAD, NULL, NULL, NULL), f(p.near + 1, &in, NULL, NULL, NULL) + FD_ISSET(p.near, &in) * 10)
WAITS(pselect, f(1, BAD, NULL, NULL, NULL, NULL), f(p.near + 1, &in, NULL, NULL, NULL, NULL))

FAIL(close)
{
    return f(-1);
}
PASS(close)
{
    return f(dup(0));
}
FAIL(close_range)
{
    return f(9, 8, 0);
}
PASS(close_range)
{
    return f((unsigned)dup2(0, 250), 250, 0);
}
FAIL(closefrom)
{
    f(60000);
    return 0;
}
PASS(closefrom)
{
    IN_CHILD(f(3); syscall(SYS_exit_group, fcntl(dup(0), F_GETFD) + 5));
}
FAIL(shutdown)
{
    return f(-1, SHUT_RD);
}
PASS(shutdown)
{
    struct pair p = connected();
    errno = 77;
    return done(p, f(p.near, SHUT_WR));
}
static FILE *a_stream(void)
{
    FILE *stream = fopen("/dev/null", "r+");
    assert_non_null(stream);
    errno = 77;
    return stream;
}
FAIL(fclose)
{
    FILE *stream = a_stream();
    syscall(SYS_close, fileno(stream));
    return f(stream);
}
PASS(fclose)
{
    return f(a_stream());
}
FAIL(fcloseall)
{
    return f() * 0;
}
PASS(fcloseall)
{
    return f();
}
FAIL(fdopen)
{
    return f(-1, "r") == NULL;
}
PASS(fdopen)
{
    FILE *stream = f(dup(0), "r");
    long r = stream != NULL;
    return stream ? r + fclose(stream) : r;
}
FAIL(freopen)
{
    return f("/nowhere/at/all", "r", a_stream()) == NULL;
}
PASS(freopen)
{
    FILE *stream = f("/dev/null", "r", a_stream());
    return (stream != NULL) + fclose(stream) * 10;
}
FAIL(freopen64)
{
    return f("/nowhere/at/all", "r", a_stream()) == NULL;
}
PASS(freopen64)
{
    FILE *stream = f("/dev/null", "r", a_stream());
    return (stream != NULL) + fclose(stream) * 10;
}
FAIL(syscall)
{
    return f(SYS_close, -1);
}
PASS(syscall)
{
    return f(SYS_close, dup(0)) + (f(SYS_getpid) == getpid()) * 10;
}

FAIL(fork)
{
    IN_CHILD(struct rlimit none = {0}; setrlimit(RLIMIT_NPROC, &none); /* root has to become a user to meet it */
             if (geteuid() == 0 && syscall(SYS_setresuid, 65534, 65534, 65534)) syscall(SYS_exit_group, 90);
             child = f(); if (child == 0) syscall(SYS_exit_group, 0); syscall(SYS_exit_group, child < 0 ? errno : 91));
}
PASS(fork)
{
    int status = 0;
    pid_t child = f();
    if (child == 0)
        syscall(SYS_exit_group, 7);
    return waitpid(child, &status, 0) == child ? status : -1;
}
FAIL(vfork)
{
    (void)f;
    return 0; /* fails only for lack of memory or processes */
}
PASS(vfork)
{
    int status = 0;
    pid_t child = f();
    if (child == 0)
        _exit(7);
    waitpid(child, &status, 0);
    return status;
}
FAIL(clone)
{
    return f(NULL, NULL, 0, NULL);
}
static int end_with(void *arg)
{
    syscall(SYS_exit_group, *(const int *)arg);
    return 0;
}
PASS(clone)
{
    static char stack[65536] __attribute__((aligned(16)));
    int status = 0, code = 7;
    waitpid(f(end_with, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &code), &status, 0);
    return status;
}
FAIL(daemon)
{
    (void)f;
    return 0;
}
PASS(daemon)
{
    IN_CHILD(f(1, 1); syscall(SYS_exit_group, 3));
}
FAIL(execve)
{
    return f("/nowhere", true_argv, environ);
}
PASS(execve)
{
    IN_CHILD(f("/bin/true", true_argv, environ));
}
FAIL(execv)
{
    return f("/nowhere", true_argv);
}
PASS(execv)
{
    IN_CHILD(f("/bin/true", true_argv));
}
FAIL(execvp)
{
    return f("no-such-program", true_argv);
}
PASS(execvp)
{
    IN_CHILD(f("true", true_argv));
}
FAIL(execvpe)
{
    return f("no-such-program", true_argv, environ);
}
PASS(execvpe)
{
    IN_CHILD(f("true", true_argv, environ));
}
FAIL(fexecve)
{
    return f(-1, true_argv, environ);
}
PASS(fexecve)
{
    IN_CHILD(f(open("/bin/true", O_RDONLY), true_argv, environ));
}
FAIL(execveat)
{
    return f(-1, "nowhere", true_argv, environ, 0);
}
PASS(execveat)
{
    IN_CHILD(f(AT_FDCWD, "/bin/true", true_argv, environ, 0));
}
FAIL(execl)
{
    return f("/nowhere", "true", (char *)NULL);
}
PASS(execl)
{
    IN_CHILD(f("/bin/sh", "sh", "-c", "exit $#", "a", "b", "c", (char *)NULL));
}
FAIL(execle)
{
    return f("/nowhere", "true", (char *)NULL, environ);
}
PASS(execle)
{
    char *const env[] = {(char *)(uintptr_t) "CW_TEST_CODE=6", NULL};
    IN_CHILD(f("/bin/sh", "sh", "-c", "exit $CW_TEST_CODE", (char *)NULL, env));
}
FAIL(execlp)
{
    return f("no-such-program", "true", (char *)NULL);
}
PASS(execlp)
{
    IN_CHILD(f("sh", "sh", "-c", "exit 4", (char *)NULL));
}
FAIL(_exit)
{
    (void)f;
    return 0;
}
PASS(_exit)
{
    IN_CHILD(f(7));
}
FAIL(quick_exit)
{
    (void)f;
    return 0;
}
PASS(quick_exit)
{
    IN_CHILD(f(8));
}
FAIL(prctl)
{
    return f(-1, 0, 0, 0, 0);
}
PASS(prctl)
{
    return f(PR_GET_DUMPABLE, 0, 0, 0, 0);
}

FAIL(sigaction)
{
    return f(9999, NULL, NULL);
}
PASS(sigaction)
{
    struct sigaction old;
    long r = f(SIGUSR2, NULL, &old); /* the shim's own ones are the end-to-end tests' */
    return r * 100 + (old.sa_handler == SIG_DFL) + old.sa_flags * 10;
}
#define SETS(name)                                                                                                     \
    FAIL(name)                                                                                                         \
    {                                                                                                                  \
        return f(9999, SIG_IGN) == SIG_ERR;                                                                            \
    }                                                                                                                  \
    PASS(name)                                                                                                         \
    {                                                                                                                  \
        long was = f(SIGUSR2, SIG_IGN) == SIG_DFL;                                                                     \
        return was + (f(SIGUSR2, SIG_DFL) == SIG_IGN) * 10;                                                            \
    }
SETS(signal)
SETS(sysv_signal)
SETS(sigset)
FAIL(raise)
{
    return f(9999);
}
PASS(raise)
{
    return f(0);
}
FAIL(kill)
{
    return f(getpid(), 9999);
}
PASS(kill)
{
    return f(getpid(), 0);
}
FAIL(dlclose)
{
    (void)f;
    return 0; /* an invalid handle is undefined */
}
PASS(dlclose)
{
    return f(dlopen("libc.so.6", RTLD_NOW));
}
FAIL(pipe2)
{
    return f((int[2]){0}, -1);
}
PASS(pipe2)
{
    int fds[2];
    long r = f(fds, O_CLOEXEC);
    closed(fds[0]);
    closed(fds[1]);
    return r;
}
static int count_object(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)info, (void)size;
    return ++*(int *)data > 1000;
}
FAIL(dl_iterate_phdr)
{
    int n = 0;
    return f(count_object, &n) + n * 2;
}
PASS(dl_iterate_phdr)
{
    int n = 0;
    return f(count_object, &n) + n;
}

/* --- walking the table --- */

typedef long call_fn(void (*f)(void));
struct row {
    const char *name;
    call_fn *fail, *pass;
};
static const struct row rows[] = {
#define CW_ROW(name) {#name, (call_fn *)fail_##name, (call_fn *)pass_##name},
#define CW_HOOK(need, type, name, parameters, arguments, after) CW_ROW(name)
#define CW_WRAP(need, type, name, parameters, arguments) CW_ROW(name)
#define CW_HAND(need, name) CW_ROW(name)
#define CW_ALIAS(alias, name) {#alias, (call_fn *)fail_##name, (call_fn *)pass_##name},
#include "preload/hooks.inc"
};
enum { ROWS = sizeof rows / sizeof rows[0] };

static bool in_shim(void *symbol)
{
    Dl_info info;
    return symbol && dladdr(symbol, &info) && strstr(info.dli_fname, "libcwguard.so");
}

static void test_every_row_is_exported(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS; i++)
        if (!in_shim(dlsym(RTLD_DEFAULT, rows[i].name)))
            fail_msg("%s is not the shim's", rows[i].name);
}

struct outcome {
    long result;
    int error;
};

static struct outcome outcome_of(call_fn *call, void *f)
{
    struct outcome outcome;
    errno = 77;
    outcome.result = call((void (*)(void))f);
    outcome.error = errno;
    return outcome;
}

static void compare(const char *name, const char *which, call_fn *call, void *hooked, void *real)
{
    struct outcome ours = outcome_of(call, hooked), theirs = outcome_of(call, real);
    if (ours.result != theirs.result || ours.error != theirs.error)
        fail_msg("%s, made to %s: result %ld errno %d, without the shim %ld errno %d", name, which, ours.result,
                 ours.error, theirs.result, theirs.error);
}

static void test_every_row_is_the_same_from_outside(void **state)
{
    void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
    unsigned compared = 0;
    (void)state;
    assert_non_null(libc);
    for (size_t i = 0; i < ROWS; i++) {
        void *hooked = dlsym(RTLD_DEFAULT, rows[i].name), *real = dlsym(libc, rows[i].name);
        if (!real)
            continue; /* glibc's private names and those of a newer one cannot be asked for */
        compare(rows[i].name, "fail", rows[i].fail, hooked, real);
        compare(rows[i].name, "succeed", rows[i].pass, hooked, real);
        compared++;
    }
    assert_true(compared > 80);
}

/* The same again in a process that is not recorded. */
static void test_passes_straight_through_when_off(void **state)
{
    (void)state;
    if (getenv("CW_TEST_OFF"))
        return;
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        setenv("CWGUARD_OPTIONS", "programs=no-such-program", 1);
        setenv("CW_TEST_OFF", "1", 1);
        dup2(open("/dev/null", O_WRONLY), 1); /* its counts are not this program's */
        dup2(1, 2);
        execl("/proc/self/exe", "test_hooks", (char *)NULL);
        _exit(98);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

int main(void)
{
    /* One TCP socket begins the recording; held so that every call below is one of a recorded process. */
    int held = socket(AF_INET, SOCK_STREAM, 0);
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_is_exported),
        cmocka_unit_test(test_every_row_is_the_same_from_outside),
        cmocka_unit_test(test_passes_straight_through_when_off),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    close(held);
    return failed;
}
