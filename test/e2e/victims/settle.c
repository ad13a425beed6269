/* FINs that come too late to blame anybody. usage: settle young|atexit|listener-closed|old */
#include "test/e2e/victims/victim.h"

#include <time.h>

/* Until a clock that ticks every few milliseconds tells two events apart: the kernel's ages come from such a one. */
static void await_ticks(long milliseconds)
{
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &start);
    do {
        poll(NULL, 0, 5);
        clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    } while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < milliseconds);
}

static void fin_at_exit(void)
{
    ask("fin");
    end_here();
}

int main(int argc, char **argv)
{
    int fds[2];
    victim_begin();
    MUST(argc == 2);
    int listener = listen_on(AF_INET);
    take_clients(listener, 2, fds);
    if (strcmp(argv[1], "atexit") == 0) {
        atexit(fin_at_exit);
        return 0;
    }
    if (strcmp(argv[1], "listener-closed") == 0) {
        close(listener);
        await_ticks(50);
    }
    ask("fin");
    if (strcmp(argv[1], "old") == 0)
        ask("age 2300");
    end_here();
    return 0;
}
