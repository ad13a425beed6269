/* Traffic after the FIN that makes the kernel's "last ACK received" young again.
 * usage: ages keepalive-eof|keepalive-unread|zerowindow */
#include "test/e2e/victims/victim.h"

static void probe_every_second(int fd)
{
    int on = 1, second = 1, many = 100;
    MUST(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) == 0);
    MUST(setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &second, sizeof second) == 0);
    MUST(setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &second, sizeof second) == 0);
    MUST(setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &many, sizeof many) == 0);
}

static void fill_window(int fd)
{
    static char block[65536];
    int small = 16384;
    MUST(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small) == 0);
    while (send(fd, block, sizeof block, MSG_DONTWAIT) > 0)
        ;
    MUST(errno == EAGAIN);
}

int main(int argc, char **argv)
{
    victim_begin();
    MUST(argc == 2);
    const char *how = argv[1];
    int listener = listen_on(AF_INET);
    ask("connect %d 1 4 2048", port_of(listener));
    int fd = accept_client(listener);
    if (strcmp(how, "zerowindow") != 0)
        probe_every_second(fd);
    ask("halfclose");
    if (strcmp(how, "keepalive-unread") != 0)
        on_readable(fd);
    if (strcmp(how, "zerowindow") == 0)
        fill_window(fd);
    say("age 2300\n"); /* the shim dates a FIN that nobody reads when it looks round, each second */
    answer_in_loop();
    end_in_loop();
    return 0;
}
