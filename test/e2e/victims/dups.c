/* Copies of one socket. usage: dups dup|dup2|dup3|dupfd|dupfd-cloexec|dupfd64 keep-copy|keep-original|close-both */
#include "test/e2e/victims/victim.h"

static int copy_of(int fd, const char *how)
{
    if (strcmp(how, "dup") == 0)
        return dup(fd);
    if (strcmp(how, "dup2") == 0)
        return dup2(fd, 40);
    if (strcmp(how, "dup3") == 0)
        return dup3(fd, 41, O_CLOEXEC);
    if (strcmp(how, "dupfd") == 0)
        return fcntl(fd, F_DUPFD, 42);
    if (strcmp(how, "dupfd-cloexec") == 0)
        return fcntl(fd, F_DUPFD_CLOEXEC, 43);
    if (strcmp(how, "syscall") == 0)
        return (int)syscall(SYS_dup2, fd, 44);
    return (int)syscall(SYS_fcntl, fd, F_DUPFD, 45);
}

int main(int argc, char **argv)
{
    int fd;
    victim_begin();
    MUST(argc == 3);
    int listener = listen_on(AF_INET);
    take_clients(listener, 1, &fd);
    int copy = copy_of(fd, argv[1]);
    MUST(copy >= 0 && copy != fd);
    ask("fin");
    on_readable(copy);
    if (strcmp(argv[2], "keep-original") != 0)
        MUST(close(fd) == 0);
    if (strcmp(argv[2], "keep-copy") != 0)
        MUST(close(copy) == 0);
    end_here();
    return 0;
}
