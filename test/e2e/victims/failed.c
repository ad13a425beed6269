/* Connections that fail. usage: failed accepted|unread|connected|refused|connecting|unconnected|closed|dup|child
 * accepted: reset by the client, and a read has said so. unread: reset, and nobody looked. connected: one of our own, reset by
 * the server. refused: a connect() that was refused. connecting: one that is under way. unconnected: a socket() alone.
 * closed: reset, then closed. dup: reset, open under two numbers. child: a child serves one connection, is reset, and exits at
 * once. */
#include "test/e2e/victims/victim.h"

enum { CLIENTS = 3 };

void on_reset(int fd);

NOINLINE void on_reset(int fd)
{
    char byte;
    MUST(read(fd, &byte, 1) == -1 && errno == ECONNRESET);
}

NOINLINE static int connect_to(uint16_t port, const char *address)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    MUST(fd >= 0 && inet_pton(AF_INET, address, &at.sin_addr) == 1);
    int result = connect(fd, (struct sockaddr *)&at, sizeof at);
    MUST(result == 0 || errno == EINPROGRESS);
    return fd;
}

static void wait_for(int fd, short events)
{
    struct pollfd ask = {.fd = fd, .events = events};
    while (poll(&ask, 1, 1000) != 1)
        ;
}

/* A port on which nobody listens: bound, and kept. */
static uint16_t deaf_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    MUST(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0);
    return port_of(fd);
}

static void accepted(const char *what)
{
    int fds[CLIENTS], listener = listen_on(AF_INET);
    take_clients(listener, CLIENTS, fds);
    ask("reset");
    for (int i = 0; i < CLIENTS && strcmp(what, "unread") != 0; i++)
        on_reset(fds[i]);
    for (int i = 0; i < CLIENTS && strcmp(what, "closed") == 0; i++)
        MUST(close(fds[i]) == 0);
    if (strcmp(what, "dup") == 0)
        MUST(dup(fds[0]) >= 0);
}

static void in_child(void)
{
    int fd, listener = listen_on(AF_INET);
    take_clients(listener, 1, &fd);
    pid_t pid = fork();
    MUST(pid >= 0);
    if (pid == 0) {
        ask("reset");
        on_reset(fd);
        exit(0);
    }
    MUST(close(fd) == 0 && waitpid(pid, NULL, 0) == pid);
}

static void connected(void)
{
    const char *port = ask("serve");
    int fd = connect_to((uint16_t)atoi(port), "127.0.0.1");
    ask("accept 1");
    wait_for(fd, POLLOUT);
    MUST(write(fd, "x", 1) == 1);
    ask("reset");
    on_reset(fd);
}

int main(int argc, char **argv)
{
    victim_begin();
    MUST(argc == 2);
    if (strcmp(argv[1], "connected") == 0)
        connected();
    else if (strcmp(argv[1], "refused") == 0)
        wait_for(connect_to(deaf_port(), "127.0.0.1"), POLLOUT);
    else if (strcmp(argv[1], "connecting") == 0)
        connect_to(9, "198.51.100.1"); /* RFC 5737: no host has it */
    else if (strcmp(argv[1], "unconnected") == 0)
        MUST(deaf_port() != 0);
    else if (strcmp(argv[1], "child") == 0)
        in_child();
    else
        accepted(argv[1]);
    end_here();
    return 0;
}
