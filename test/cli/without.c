/* Runs a command under a seccomp filter that refuses one thing: `without ptrace|netlink COMMAND [ARGUMENT...]`. */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOAD(member) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))
#define UNLESS(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (skip))
#define REFUSE BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

int main(int argc, char **argv)
{
    struct sock_filter no_ptrace[] = {LOAD(nr), UNLESS(SYS_ptrace, 1), REFUSE, ALLOW};
    struct sock_filter no_netlink[] = {LOAD(nr), UNLESS(SYS_socket, 3), LOAD(args[0]), UNLESS(AF_NETLINK, 1), REFUSE,
                                       ALLOW};
    struct sock_fprog program = {.len = sizeof no_ptrace / sizeof *no_ptrace, .filter = no_ptrace};

    if (argc < 3)
        errx(99, "usage: without ptrace|netlink COMMAND");
    if (!strcmp(argv[1], "netlink"))
        program = (struct sock_fprog){.len = sizeof no_netlink / sizeof *no_netlink, .filter = no_netlink};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        err(99, "seccomp");
    execvp(argv[2], argv + 2);
    err(99, "%s", argv[2]);
}
