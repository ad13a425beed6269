/* Connections that were never accepted. usage: queue close|shutdown|keep, or one of these:
 * child: a forked child closes its copy of the listener, whose queue lives on in the parent. forked: the child keeps it
 * and touches it; the parent lives. orphan: the parent has gone by then. reuseport: two listeners share the port, and
 * one of them accepts. both: none of them does. close-one: nor there, the first is closed. two-processes: the second
 * is a child's. other-address: another listener of the process has the port on another address. drained: accept finds
 * nobody, the clients come and go, and the listener is closed. full: there is not one fd left. */
#include "test/e2e/victims/victim.h"

#include <sys/resource.h>

static uint16_t port;

NOINLINE static int listen_with(uint32_t address, int option)
{
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address)};
    MUST(fd >= 0 && setsockopt(fd, SOL_SOCKET, option, &on, sizeof on) == 0);
    MUST(bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 128) == 0);
    port = port_of(fd);
    return fd;
}

/* The child inherits the listener and asks accept whether somebody is there; the clients come afterwards. */
static void forked(int listener, bool parent_stays)
{
    int gone[2];
    char byte;
    MUST(fcntl(listener, F_SETFL, O_NONBLOCK) == 0 && pipe(gone) == 0);
    pid_t pid = fork();
    MUST(pid >= 0);
    if (pid != 0 && !parent_stays)
        _exit(0);
    if (pid != 0) {
        MUST(waitpid(pid, NULL, 0) == pid);
        return;
    }
    close(gone[1]);
    if (!parent_stays)
        MUST(read(gone[0], &byte, 1) == 0); /* the parent's end of it is closed with the parent */
    MUST(accept(listener, NULL, NULL) == -1);
    ask("connect %d 8 4", port_of(listener));
    ask("fin");
    end_here();
    exit(0);
}

/* 32 clients, of which the kernel gives each listener some; those of the first are accepted and closed. */
static void shared_port(void)
{
    int busy = listen_with(INADDR_LOOPBACK, SO_REUSEPORT), idle = listen_with(INADDR_LOOPBACK, SO_REUSEPORT), fd;
    MUST(busy != idle && fcntl(busy, F_SETFL, O_NONBLOCK) == 0);
    ask("connect %d 32 4", port);
    ask("fin");
    while ((fd = accept(busy, NULL, NULL)) >= 0)
        close(fd);
}

/* The child waits for the parent's end: when it ends, what is in its queue is gone. */
NOINLINE static void two_processes(void)
{
    int ready[2], go[2];
    char byte = 0;
    MUST(pipe(ready) == 0 && pipe(go) == 0);
    listen_with(INADDR_LOOPBACK, SO_REUSEPORT);
    pid_t pid = fork();
    MUST(pid >= 0);
    if (pid == 0) {
        listen_with(INADDR_LOOPBACK, SO_REUSEPORT);
        MUST(write(ready[1], &byte, 1) == 1 && read(go[0], &byte, 1) == 1);
        _exit(0);
    }
    MUST(read(ready[0], &byte, 1) == 1);
    ask("connect %d 32 4", port);
    ask("fin");
    end_here();
    MUST(write(go[1], &byte, 1) == 1 && waitpid(pid, NULL, 0) == pid);
}

/* 32 clients, of which the kernel gives each listener some. */
NOINLINE static void both_busy(bool close_one)
{
    int first = listen_with(INADDR_LOOPBACK, SO_REUSEPORT);
    listen_with(INADDR_LOOPBACK, SO_REUSEPORT);
    ask("connect %d 32 4", port);
    ask("fin");
    MUST(!close_one || close(first) == 0);
    end_here();
}

int main(int argc, char **argv)
{
    victim_begin();
    MUST(argc == 2);
    const char *what = argv[1];
    if (strcmp(what, "reuseport") == 0) {
        shared_port();
        end_here();
        return 0;
    }
    if (strcmp(what, "both") == 0 || strcmp(what, "close-one") == 0) {
        both_busy(strcmp(what, "close-one") == 0);
        return 0;
    }
    if (strcmp(what, "two-processes") == 0) {
        two_processes();
        return 0;
    }
    int listener = listen_on(AF_INET);
    if (strcmp(what, "forked") == 0 || strcmp(what, "orphan") == 0) {
        forked(listener, strcmp(what, "forked") == 0);
        end_here();
        return 0;
    }
    if (strcmp(what, "other-address") == 0) {
        port = port_of(listener);
        listen_with(INADDR_LOOPBACK + 1, SO_REUSEADDR);
    }
    if (strcmp(what, "drained") == 0)
        MUST(fcntl(listener, F_SETFL, O_NONBLOCK) == 0 && accept(listener, NULL, NULL) == -1 && errno == EAGAIN);
    ask("connect %d 8 4", port_of(listener));
    ask("fin");
    if (strcmp(what, "close") == 0 || strcmp(what, "drained") == 0)
        MUST(close(listener) == 0);
    else if (strcmp(what, "shutdown") == 0)
        MUST(shutdown(listener, SHUT_RDWR) == 0);
    else if (strcmp(what, "child") == 0) {
        pid_t pid = fork();
        MUST(pid >= 0);
        if (pid == 0) {
            MUST(close(listener) == 0);
            end_here();
            _exit(0);
        }
        MUST(waitpid(pid, NULL, 0) == pid);
    } else if (strcmp(what, "full") == 0) {
        struct rlimit files;
        MUST(getrlimit(RLIMIT_NOFILE, &files) == 0);
        files.rlim_cur = 32;
        MUST(setrlimit(RLIMIT_NOFILE, &files) == 0);
        while (dup(ctl_in) >= 0)
            ;
        MUST(accept(listener, NULL, NULL) == -1 && errno == EMFILE);
    }
    end_here();
    return 0;
}
