/* The clocks. */
#define _GNU_SOURCE
#include "preload/clock.h"

#include <dlfcn.h>

static int (*get_time)(clockid_t clock, struct timespec *ret) = clock_gettime;

void cw_clock_init(void)
{
    /* By libc's handle: the global scope and RTLD_NEXT may lead to somebody else's. */
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    void *found = libc ? dlsym(libc, "clock_gettime") : NULL;
    if (found)
        *(void **)&get_time = found;
}

uint64_t cw_clock_ns(clockid_t clock)
{
    struct timespec now = {0};
    get_time(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}
