/* Connections that were never accepted. usage: queue close|shutdown|keep|child|exit
 * child: a forked child closes its copy of the listener, whose queue lives on in the parent. */
#include "test/e2e/victims/victim.h"

int main(int argc, char **argv)
{
    victim_begin();
    MUST(argc == 2);
    int listener = listen_on(AF_INET);
    ask("connect %d 8 4", port_of(listener));
    ask("fin");
    if (strcmp(argv[1], "close") == 0)
        MUST(close(listener) == 0);
    else if (strcmp(argv[1], "shutdown") == 0)
        MUST(shutdown(listener, SHUT_RDWR) == 0);
    else if (strcmp(argv[1], "child") == 0) {
        pid_t pid = fork();
        MUST(pid >= 0);
        if (pid == 0) {
            MUST(close(listener) == 0);
            end_here();
            _exit(0);
        }
        MUST(waitpid(pid, NULL, 0) == pid);
    }
    end_here();
    return 0;
}
