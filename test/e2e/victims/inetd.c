/* Started with a socket already open. usage: inetd FD [listener] */
#include "test/e2e/victims/victim.h"

int main(int argc, char **argv)
{
    victim_begin();
    MUST(argc >= 2);
    int fd = atoi(argv[1]);
    if (argc > 2) {
        int listener = fd;
        take_clients(listener, 1, &fd);
    }
    ask("fin");
    on_readable(fd);
    end_here();
    return 0;
}
