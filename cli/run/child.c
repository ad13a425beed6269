#define _GNU_SOURCE
#include "cli/run/child.h"

#include "cli/run/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <paths.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Variables that name the process they are meant for (sd_listen_fds(3), sd_watchdog_enabled(3)): if that is this one,
 * it is now the program. */
static void pass_on_identity(char *const *environment, pid_t parent)
{
    static const char *const names[] = {"LISTEN_PID=", "WATCHDOG_PID="};
    static char entries[2][32];

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (char **entry = (char **)(uintptr_t)environment; *entry; entry++)
            if (!strncmp(*entry, names[i], strlen(names[i])) && atoi(*entry + strlen(names[i])) == parent) {
                snprintf(entries[i], sizeof entries[i], "%s%d", names[i], (int)getpid());
                *entry = entries[i];
            }
}

/* What is no program for the kernel is a script for the shell, as for execvp. */
static void execute_by_shell(const char *path, char *const *arguments, char *const *environment)
{
    size_t n = 0;

    while (arguments[n])
        n++;
    char **with_shell = calloc(n + 2, sizeof *with_shell);
    if (!with_shell)
        return;
    with_shell[0] = (char *)(uintptr_t) "sh";
    with_shell[1] = (char *)(uintptr_t)path;
    for (size_t i = 1; i < n; i++)
        with_shell[i + 1] = arguments[i];
    execve(_PATH_BSHELL, with_shell, environment);
}

pid_t cw_run_child_start(const char *path, char *const *arguments, char *const *environment)
{
    pid_t parent = getpid();
    int ends[2], error = 0;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return -errno;
    pid_t pid = fork();
    if (pid < 0) {
        error = errno;
        close(ends[0]);
        close(ends[1]);
        return -error;
    }
    if (pid == 0) {
        pass_on_identity(environment, parent);
        cw_run_signals_restore();
        execve(path, arguments, environment);
        if (errno == ENOEXEC)
            execute_by_shell(path, arguments, environment);
        error = errno;
        if (write(ends[1], &error, sizeof error) < 0)
            _exit(126);
        _exit(127);
    }
    close(ends[1]);
    ssize_t n;
    do
        n = read(ends[0], &error, sizeof error);
    while (n < 0 && errno == EINTR);
    close(ends[0]);
    if (n != (ssize_t)sizeof error)
        return pid; /* closed by the exec */
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return -error;
}

void cw_run_child_release(int keep)
{
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (nothing > 0)
        dup2(nothing, STDIN_FILENO);
    if (keep > 3)
        close_range(3, (unsigned)keep - 1, 0);
    close_range(keep >= 3 ? (unsigned)keep + 1 : 3, UINT_MAX, 0);
}

int cw_run_child_code(int wait_status)
{
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}
