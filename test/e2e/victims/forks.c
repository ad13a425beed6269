/* Who holds the sockets after a fork?
 * usage: forks child|parent|both|rawclone|idle|prefork|vfork|clone-vm|spawn|daemon|daemon-late|exec|exec-fails */
#include "test/e2e/victims/victim.h"

#include <sched.h>
#include <spawn.h>
#include <sys/prctl.h>

extern char **environ;

static void reap(pid_t pid)
{
    int status;
    MUST(waitpid(pid, &status, 0) == pid);
    say("child ended: %s %d\n", WIFEXITED(status) ? "exit" : "signal",
        WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

static void close_both(const int *fds)
{
    MUST(close(fds[0]) == 0);
    MUST(close(fds[1]) == 0);
}

/* Child and parent each close or keep the sockets, then end one after the other. */
static int with_fork(const int *fds, bool child_keeps, bool parent_keeps, bool raw)
{
    pid_t pid = raw ? (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) : fork();
    MUST(pid >= 0);
    if (pid == 0) {
        if (child_keeps)
            on_readable(fds[0]);
        else
            close_both(fds);
        end_here();
        if (raw)
            _exit(11);
        exit(11);
    }
    if (!parent_keeps)
        close_both(fds);
    reap(pid);
    if (parent_keeps)
        on_readable(fds[1]);
    end_here();
    return 12;
}

/* A server whose workers, forked before the first connection, accept on the listener that they share. */
static int prefork(int listener)
{
    pid_t pid = fork();
    MUST(pid >= 0);
    if (pid == 0) {
        int fds[2];
        take_clients(listener, 2, fds);
        ask("fin");
        on_readable(fds[0]);
        end_here();
        exit(11);
    }
    reap(pid);
    end_here();
    return 12;
}

/* As a subprocess module does it: a vfork child that closes everything, then execs. The parent's records survive. */
__attribute__((noinline)) static void vfork_closing(void)
{
    pid_t pid = vfork();
    if (pid == 0) {
        syscall(SYS_close_range, 3u, ~0u, 0u);
        close_range(3, ~0u, 0);
        for (int fd = 3; fd < 16; fd++)
            close(fd);
        execl("/bin/true", "true", (char *)NULL);
        _exit(127);
    }
    MUST(pid > 0);
    reap(pid);
}

/* The same by clone(): its child shares our memory as well. */
static int close_and_exec(void *arg)
{
    (void)arg;
    for (int fd = 3; fd < 16; fd++)
        close(fd);
    execl("/bin/true", "true", (char *)NULL);
    _exit(127);
}

__attribute__((noinline)) static void clone_closing(void)
{
    static char stack[65536] __attribute__((aligned(16)));
    pid_t pid = clone(close_and_exec, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    MUST(pid > 0);
    reap(pid);
}

static void spawn_true(void)
{
    char name[] = "true";
    for (int fd = 3; fd < 16; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    char *args[] = {name, NULL};
    pid_t pid;
    MUST(posix_spawn(&pid, "/bin/true", NULL, NULL, args, environ) == 0);
    reap(pid);
}

static void become_daemon(void)
{
    victim_move_channel();
    MUST(daemon(1, 0) == 0);
}

int main(int argc, char **argv)
{
    int fds[2];
    victim_begin();
    const char *mode = argc > 1 ? argv[1] : "child";
    if (strcmp(mode, "after-exec") == 0) { /* second half of "exec" */
        end_here();
        return 13;
    }
    if (strcmp(mode, "daemon") == 0)
        become_daemon();
    int listener = listen_on(AF_INET);
    if (strcmp(mode, "prefork") == 0)
        return prefork(listener);
    take_clients(listener, 2, fds);
    if (strcmp(mode, "daemon-late") == 0)
        become_daemon();
    ask("fin");
    if (strcmp(mode, "child") == 0)
        return with_fork(fds, true, false, false);
    if (strcmp(mode, "parent") == 0)
        return with_fork(fds, false, true, false);
    if (strcmp(mode, "both") == 0)
        return with_fork(fds, true, true, false);
    if (strcmp(mode, "rawclone") == 0)
        return with_fork(fds, true, true, true);
    if (strcmp(mode, "fork-vfork") == 0) { /* a worker that runs a program before it touches a socket */
        pid_t pid = fork();
        MUST(pid >= 0);
        if (pid == 0) {
            vfork_closing();
            on_readable(fds[0]);
            end_here();
            exit(11);
        }
        close_both(fds);
        reap(pid);
    } else if (strcmp(mode, "idle") == 0) { /* a snapshot child: touches nothing, ends by _exit */
        pid_t pid = fork();
        if (pid == 0) {
            end_here();
            _exit(0);
        }
        reap(pid);
    } else if (strcmp(mode, "vfork") == 0) {
        vfork_closing();
    } else if (strcmp(mode, "clone-vm") == 0) {
        clone_closing();
    } else if (strcmp(mode, "spawn") == 0) {
        spawn_true();
    } else if (strcmp(mode, "exec") == 0) {
        char next[] = "after-exec";
        char *args[] = {argv[0], next, NULL};
        execve("/proc/self/exe", args, environ);
        MUST(false);
    } else if (strcmp(mode, "exec-fails") == 0) {
        char *args[] = {argv[0], NULL};
        const char *volatile nowhere = (const char *)8;
        MUST(execl("/nonexistent/program", "program", (char *)NULL) < 0);
        MUST(execve(nowhere, args, environ) < 0 && errno == EFAULT);
        MUST(execv(nowhere, args) < 0 && errno == EFAULT);
        MUST(syscall(SYS_execve, nowhere, args, environ) < 0 && errno == EFAULT);
    }
    end_here();
    return 12;
}
