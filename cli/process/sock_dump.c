#define _GNU_SOURCE /* setns */
#include "cli/process/sock_dump.h"

#include "core/proctcp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int keep(void *ctx, const struct cw_sock *sock)
{
    struct cw_sock_dump *dump = ctx;

    if (dump->count == dump->room) {
        size_t room = dump->room ? 2 * dump->room : 512;
        struct cw_sock *more = realloc(dump->socks, room * sizeof *more);
        if (!more)
            return -ENOMEM;
        dump->socks = more;
        dump->room = room;
    }
    dump->socks[dump->count++] = *sock;
    return 0;
}

/* A sock_diag socket in the network namespace of the process: an fd, or negative errno. */
static int open_diag(pid_t pid)
{
    char path[64];
    struct stat ours, theirs;
    int own = -1, other = -1, fd = -1;

    snprintf(path, sizeof path, "/proc/%d/ns/net", (int)pid);
    if (stat("/proc/self/ns/net", &ours) == 0 && stat(path, &theirs) == 0 && ours.st_ino != theirs.st_ino) {
        own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        other = open(path, O_RDONLY | O_CLOEXEC);
        if (own < 0 || other < 0 || setns(other, CLONE_NEWNET) < 0)
            fd = -errno;
        else
            fd = 0;
    } else {
        fd = 0;
    }
    if (fd == 0) {
        fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
        if (fd < 0)
            fd = -errno;
        if (own >= 0 && setns(own, CLONE_NEWNET) < 0 && fd >= 0) {
            /* /proc and files are reached as before; only sockets opened later would be in the wrong place. */
            fprintf(stderr, "cwguard: warning: cannot return to the own network namespace: %s\n", strerror(errno));
        }
    }
    if (own >= 0)
        close(own);
    if (other >= 0)
        close(other);
    return fd;
}

static int dump_family(int fd, uint8_t family, uint32_t states, struct cw_sock_dump *dump)
{
    char request[CW_DIAG_REQUEST_BYTES];
    static char answer[65536];
    size_t n = cw_diag_request(request, family, states, 0);
    int result = 0;

    if (send(fd, request, n, 0) < 0)
        return -errno;
    while (result == 0) {
        ssize_t got = recv(fd, answer, sizeof answer, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        result = cw_diag_parse(answer, (size_t)got, keep, dump);
    }
    /* A kernel without IPv6 has no answer for it. */
    return result == 1 || (family == AF_INET6 && result == -ENOENT) ? 0 : result;
}

/* Both families, by sock_diag. */
static int dump_diag(pid_t pid, uint32_t states, struct cw_sock_dump *dump)
{
    const struct timeval patience = {.tv_sec = 3};
    size_t before = dump->count;
    int fd = open_diag(pid), result;

    if (fd < 0)
        return fd;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    result = dump_family(fd, AF_UNSPEC, states, dump);
    if (result == -ENOENT || result == -EINVAL || result == -EOPNOTSUPP) { /* a kernel that has forgotten it */
        dump->count = before;
        result = dump_family(fd, AF_INET, states, dump);
        if (!result)
            result = dump_family(fd, AF_INET6, states, dump);
    }
    close(fd);
    return result;
}

/* Likewise one file of /proc/PID/net. */
static int read_family(pid_t pid, uint8_t family, uint32_t states, struct cw_sock_dump *dump)
{
    char path[64], line[CW_PROCTCP_LINE_BYTES];
    struct cw_sock sock;
    int result = 0;

    snprintf(path, sizeof path, "/proc/%d/net/%s", (int)pid, family == AF_INET ? "tcp" : "tcp6");
    FILE *file = fopen(path, "re");
    if (!file)
        return family == AF_INET6 && errno == ENOENT ? 0 : -errno;
    while (!result && (errno = 0, fgets(line, sizeof line, file)))
        if (cw_proctcp_line(line, strcspn(line, "\n"), family, &sock) && sock.state < 32 && (states & 1u << sock.state))
            result = keep(dump, &sock);
    if (!result && ferror(file))
        result = errno ? -errno : -EIO;
    fclose(file);
    return result;
}

int cw_sock_dump(struct cw_sock_dump *dump, pid_t pid, uint32_t states)
{
    size_t before = dump->count;
    int error = dump_diag(pid, states, dump);

    dump->refused = error;
    if (!error)
        return 0;
    dump->count = before;
    /* The file is read in pieces, between which others come and go, and what is there all the time may be passed
     * over then: where it matters what is not listed, twice. */
    for (unsigned i = 0; i < (states == CW_SOCK_STATES_ANY ? 2u : 1u); i++)
        if (read_family(pid, AF_INET, states, dump) || read_family(pid, AF_INET6, states, dump)) {
            dump->count = before;
            return error; /* the first thing that went wrong says more */
        }
    return 0;
}

void cw_sock_dump_free(struct cw_sock_dump *dump)
{
    free(dump->socks);
    *dump = (struct cw_sock_dump){0};
}
