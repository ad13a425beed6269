/* A program for cwguard doctor to look at; by macros and arguments it gets what doctor is to find.
 *
 *     -DDEEPBIND=flags   calls dlopen with these flags besides RTLD_NOW
 *     -DURING_INLINE     makes the system call io_uring_setup itself
 *     -DURING_SYSCALL    makes it by syscall()
 *
 * Arguments, in any number: dumpable (no longer is), seccomp (installs a filter that allows all), tcp (has a connection to itself),
 * uring (opens a ring). Says "ready PID", or "no uring", and ends when its stdin does. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <err.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void be_seccomp(void)
{
    struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = 1, .filter = &allow};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        err(99, "seccomp");
}

static void be_tcp(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);

    if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 1) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) < 0 ||
        connect(client, (struct sockaddr *)&address, length) < 0 || accept(listener, NULL, NULL) < 0)
        err(99, "tcp");
}

/* Its number is not in the code as a constant. */
static int open_ring(void)
{
    static struct io_uring_params parameters;
    char number[] = "425";

    return (int)syscall(atoi(number), 8, &parameters);
}

int main(int argc, char **argv)
{
    char byte;

#ifdef DEEPBIND
    printf("%d\n", dlopen("libm.so.6", RTLD_NOW | (DEEPBIND)) != NULL);
#endif
#ifdef URING_INLINE
    long ret;
    __asm__ volatile("syscall" : "=a"(ret) : "a"(425L), "D"(1L), "S"(NULL) : "rcx", "r11", "memory");
    printf("%ld\n", ret);
#endif
#ifdef URING_SYSCALL
    printf("%ld\n", syscall(SYS_io_uring_setup, 1, NULL));
#endif
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "dumpable"))
            prctl(PR_SET_DUMPABLE, 0);
        else if (!strcmp(argv[i], "seccomp"))
            be_seccomp();
        else if (!strcmp(argv[i], "tcp"))
            be_tcp();
        else if (!strcmp(argv[i], "uring") && open_ring() < 0)
            printf("no ");
    }
    printf("ready %d\n", (int)getpid());
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    return 0;
}
