/* Gives up rights after start. usage: privs chroot|setuid|both|nodump DIR */
#include "test/e2e/victims/victim.h"

#include <grp.h>
#include <sys/prctl.h>

int main(int argc, char **argv)
{
    int fds[2];
    victim_begin();
    MUST(argc == 3);
    const char *how = argv[1];
    int listener = listen_on(AF_INET);
    if (strcmp(how, "chroot") == 0 || strcmp(how, "both") == 0)
        MUST(chroot(argv[2]) == 0 && chdir("/") == 0);
    if (strcmp(how, "setuid") == 0 || strcmp(how, "both") == 0)
        MUST(setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0);
    if (strcmp(how, "nodump") == 0)
        MUST(prctl(PR_SET_DUMPABLE, 0) == 0);
    take_clients(listener, 2, fds);
    ask("fin");
    on_readable(fds[0]);
    end_here();
    return 0;
}
