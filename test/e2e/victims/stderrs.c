/* What has become of fd 2 by the end? usage: stderrs keep|closed|devnull|taken|dup2log|freopenlog FILE */
#include "test/e2e/victims/victim.h"

int main(int argc, char **argv)
{
    int fds[2];
    victim_begin();
    MUST(argc == 3);
    const char *how = argv[1];
    int listener = listen_on(AF_INET);
    take_clients(listener, 2, fds);
    ask("fin");
    if (strcmp(how, "closed") == 0) {
        close(2);
    } else if (strcmp(how, "taken") == 0) { /* some file of the program's own: a report must not go into it */
        close(2);
        MUST(open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0600) == 2);
    } else if (strcmp(how, "devnull") == 0) {
        int null = open("/dev/null", O_RDWR);
        MUST(dup2(null, 2) == 2 && close(null) == 0);
    } else if (strcmp(how, "dup2log") == 0) { /* an error log: as a web server does it */
        int log = open(argv[2], O_WRONLY | O_CREAT | O_APPEND, 0600);
        MUST(dup2(log, 2) == 2 && close(log) == 0);
    } else if (strcmp(how, "freopenlog") == 0) {
        MUST(freopen(argv[2], "a", stderr) != NULL);
    }
    end_here();
    return 0;
}
