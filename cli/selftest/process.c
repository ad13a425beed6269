#define _GNU_SOURCE /* memfd_create, pipe2 */
#include "cli/selftest/process.h"
#include "cli/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_NS UINT64_C(4300000000)
#define NS_PER_MS 1000000

static int left_ms(const struct cw_selftest_process *process)
{
    uint64_t now = cw_clock_ns(CLOCK_MONOTONIC);
    return now < process->deadline_ns ? (int)((process->deadline_ns - now) / NS_PER_MS) : 0;
}

/* In the child. The options are those that everybody begins with, but that young sockets count. */
static void become(const char *library, int in, int out, int err)
{
    char self[] = "/proc/self/exe", name[] = "cwguard", command[] = "selftest", flag[] = "--child";
    char *argv[] = {name, command, flag, NULL};

    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    unsetenv("LD_AUDIT");
    unsetenv("LD_PRELOAD");
    if (*library)
        setenv("LD_PRELOAD", library, 1);
    setenv("CWGUARD_OPTIONS", "format=json:grace=0:exit_grace=0:verbosity=1", 1);
    execv(self, argv);
    _exit(127);
}

/* Its first line, without the newline: 0, or -1. */
static int read_line(struct cw_selftest_process *process, char *line, size_t bytes)
{
    size_t used = 0;

    while (used + 1 < bytes) {
        struct pollfd ready = {.fd = process->from, .events = POLLIN};
        int n = poll(&ready, 1, left_ms(process));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || read(process->from, &line[used], 1) != 1)
            return -1;
        if (line[used] == '\n') {
            line[used] = 0;
            return 0;
        }
        used++;
    }
    return -1;
}

static void close_all(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

static char *first_line(char *text)
{
    text[strcspn(text, "\n")] = 0;
    return text;
}

int cw_selftest_start(struct cw_selftest_process *ret, const char *library, char *why, size_t why_bytes)
{
    int fds[5] = {-1, -1, -1, -1, -1}; /* stdin's two ends, stdout's two ends, stderr */
    char line[256] = "", *err;

    fds[4] = memfd_create("cwguard-selftest", MFD_CLOEXEC);
    if (fds[4] < 0 || pipe2(&fds[0], O_CLOEXEC) < 0 || pipe2(&fds[2], O_CLOEXEC) < 0) {
        snprintf(why, why_bytes, "no pipes: %s", strerror(errno));
        close_all(fds, 5);
        return -1;
    }
    *ret = (struct cw_selftest_process){
        .to = fds[1], .from = fds[2], .err = fds[4], .deadline_ns = cw_clock_ns(CLOCK_MONOTONIC) + PATIENCE_NS};
    ret->pid = fork();
    if (ret->pid == 0)
        become(library, fds[0], fds[3], fds[4]);
    close(fds[0]);
    close(fds[3]);
    if (ret->pid < 0) {
        snprintf(why, why_bytes, "no child: %s", strerror(errno));
        close_all((int[]){fds[1], fds[2], fds[4]}, 3);
        return -1;
    }
    if (read_line(ret, line, sizeof line) == 0 && sscanf(line, "ready %d %d", &ret->port, &ret->line) == 2)
        return 0;
    err = cw_selftest_end(ret);
    if (!strncmp(line, "failed ", 7))
        snprintf(why, why_bytes,
                 "no TCP connection over 127.0.0.1 (%s): is the loopback interface up? ip link set lo up", line + 7);
    else
        snprintf(why, why_bytes, "the child did not begin: %s", err && *err ? first_line(err) : "it says nothing");
    free(err);
    return -1;
}

static char *read_all(int fd)
{
    off_t bytes = lseek(fd, 0, SEEK_END);
    char *text = bytes >= 0 ? malloc((size_t)bytes + 1) : NULL;
    ssize_t n = text ? pread(fd, text, (size_t)bytes, 0) : 0;

    if (text)
        text[n > 0 ? n : 0] = 0;
    return text;
}

char *cw_selftest_end(struct cw_selftest_process *process)
{
    struct pollfd gone = {.fd = process->from, .events = POLLIN};
    char *text, rest[256];

    close(process->to);
    /* Its stdout ends with it: the reporter is reaped before. */
    while (left_ms(process) > 0) {
        int n = poll(&gone, 1, left_ms(process));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || read(process->from, rest, sizeof rest) <= 0)
            break;
    }
    if (left_ms(process) <= 0)
        kill(process->pid, SIGKILL);
    while (waitpid(process->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    text = read_all(process->err);
    close(process->from);
    close(process->err);
    return text;
}
