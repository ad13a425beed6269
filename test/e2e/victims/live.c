/* An event loop that leaks while it runs, and closes after all when told.
 * usage: live N line|line-at-ten|close|silent|close-silent|
 * close-range-silent */
#include "test/e2e/victims/victim.h"

#include <sys/epoll.h>

enum { MOST = 128 };

static int fds[MOST];

/* Goes round epoll_wait until the runner answers: the shim works on the way through such calls. */
static void loop_until_told(int set)
{
    for (;;) {
        struct epoll_event ready[8];
        int n = epoll_wait(set, ready, 8, 50);
        for (int i = 0; i < n; i++) {
            if (ready[i].data.fd == ctl_in) {
                victim_answer();
                return;
            }
            on_readable(ready[i].data.fd);
            MUST(epoll_ctl(set, EPOLL_CTL_DEL, ready[i].data.fd, NULL) == 0);
        }
    }
}

int main(int argc, char **argv)
{
    victim_begin();
    MUST(argc == 3);
    int n = atoi(argv[1]), set = epoll_create1(0), listener = listen_on(AF_INET);
    MUST(n > 0 && n <= MOST);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = ctl_in};
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, ctl_in, &event) == 0);
    take_clients(listener, n, fds);
    for (int i = 0; i < n; i++) {
        event.data.fd = fds[i];
        MUST(epoll_ctl(set, EPOLL_CTL_ADD, fds[i], &event) == 0);
    }
    ask("fin");
    bool silent = strstr(argv[2], "silent") != NULL, close_all = strstr(argv[2], "close") != NULL;
    if (silent)
        say("age 2500\n");
    else
        say("await %s left in CLOSE_WAIT\n", strcmp(argv[2], "line-at-ten") == 0 ? "10 sockets" : "socket");
    loop_until_told(set);
    if (close_all) {
        for (int i = 0; i < n; i++)
            MUST((strstr(argv[2], "range") ? close_range((unsigned)fds[i], (unsigned)fds[i], 0) : close(fds[i])) == 0);
        if (!silent)
            say("await closed after all\n");
        else
            say("age 0\n");
        loop_until_told(set);
    }
    say("end %d\n", (int)getpid());
    loop_until_told(set);
    return 0;
}
