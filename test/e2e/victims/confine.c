/* Runs a program under a seccomp filter that kills on one kind of call.
 * usage: confine getsockopt|clone|netlink|ppoll|mincore|none PROGRAM [ARG...] */
#include "test/e2e/victims/victim.h"

#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, field))
#define KILL BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define IF_EQUAL_ELSE(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (skip))

static struct sock_filter on_getsockopt[] = {LOAD(nr), IF_EQUAL_ELSE(SYS_getsockopt, 1), KILL, ALLOW};
static struct sock_filter on_clone[] = {LOAD(nr), IF_EQUAL_ELSE(SYS_clone, 1),
                                        KILL,     IF_EQUAL_ELSE(SYS_clone3, 1),
                                        KILL,     IF_EQUAL_ELSE(SYS_fork, 1),
                                        KILL,     IF_EQUAL_ELSE(SYS_vfork, 1),
                                        KILL,     ALLOW};
static struct sock_filter on_netlink[] = {
    LOAD(nr), IF_EQUAL_ELSE(SYS_socket, 3), LOAD(args[0]), IF_EQUAL_ELSE(AF_NETLINK, 1), KILL, ALLOW};
static struct sock_filter on_ppoll[] = {LOAD(nr), IF_EQUAL_ELSE(SYS_ppoll, 1), KILL, ALLOW};
static struct sock_filter on_mincore[] = {LOAD(nr), IF_EQUAL_ELSE(SYS_mincore, 1), KILL, ALLOW};
static struct sock_filter on_nothing[] = {ALLOW};

int main(int argc, char **argv)
{
    MUST(argc >= 3);
    struct sock_fprog filter = {.len = 1, .filter = on_nothing};
    if (strcmp(argv[1], "getsockopt") == 0)
        filter = (struct sock_fprog){.len = sizeof on_getsockopt / sizeof on_getsockopt[0], .filter = on_getsockopt};
    else if (strcmp(argv[1], "clone") == 0)
        filter = (struct sock_fprog){.len = sizeof on_clone / sizeof on_clone[0], .filter = on_clone};
    else if (strcmp(argv[1], "netlink") == 0)
        filter = (struct sock_fprog){.len = sizeof on_netlink / sizeof on_netlink[0], .filter = on_netlink};
    else if (strcmp(argv[1], "ppoll") == 0)
        filter = (struct sock_fprog){.len = sizeof on_ppoll / sizeof on_ppoll[0], .filter = on_ppoll};
    else if (strcmp(argv[1], "mincore") == 0)
        filter = (struct sock_fprog){.len = sizeof on_mincore / sizeof on_mincore[0], .filter = on_mincore};
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
    execv(argv[2], argv + 2);
    MUST(false);
    return 1;
}
