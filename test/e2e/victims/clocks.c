/* A program whose own clock_gettime, ten years fast, stands before libc's for every library, as libfaketime's does. */
#include "test/e2e/victims/victim.h"

#include <time.h>

static int asked;

int clock_gettime(clockid_t clock, struct timespec *ret)
{
    asked++;
    long result = syscall(SYS_clock_gettime, clock, ret);
    ret->tv_sec += 10L * 365 * 86400;
    return (int)result;
}

int main(void)
{
    int fds[2];
    victim_begin();
    int listener = listen_on(AF_INET);
    take_clients(listener, 2, fds);
    ask("fin");
    on_readable(fds[0]);
    say("asked by others: %d\n", asked);
    end_here();
    return 0;
}
