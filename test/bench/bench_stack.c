/* What a capture of a repeated path costs, next to other ways of getting the same frames in the same run. */
#define _GNU_SOURCE
#include "test/support/stack_harness.h"

#include <dlfcn.h>
#include <stdio.h>
#include <time.h>

#define BATCHES 60 /* the quickest counts: the machine may be busy */
#define ROUNDS 5000

static int (*unw_backtrace_by)(void **buffer, int size);

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

static __attribute__((noinline)) uint32_t hook(void)
{
    struct cw_site site = CW_SITE();
    return cw_stack_capture(&site);
}

/* The cheapest thing there is, and blind where code was built without frame pointers. */
static __attribute__((noinline)) unsigned frame_pointers(uintptr_t *ret_ip, unsigned max)
{
    const uintptr_t *frame = __builtin_frame_address(0);
    unsigned n = 0;
    while (n < max && (uintptr_t)frame < cw_static.main_stack_end - 16) {
        ret_ip[n++] = frame[1];
        const uintptr_t *next = (const uintptr_t *)frame[0];
        if (next <= frame)
            break;
        frame = next;
    }
    return n;
}

#ifdef __clang__
#define WITH_POINTERS
#else
#define WITH_POINTERS __attribute__((optimize("no-omit-frame-pointer")))
#endif

static __attribute__((noinline)) WITH_POINTERS void measure(const char *kind)
{
    uintptr_t ip[CW_STACK_MAX_FRAMES];
    void *buffer[CW_STACK_MAX_FRAMES];
    unsigned n = harness_frames(hook(), ip, NULL), fp = 0;
    volatile uint32_t sink = 0;
    double memo = 1e9, pointers = 1e9, unwound = 1e9;
    int u = 1;
    for (int batch = 0; batch < BATCHES; batch++) {
        double start = now_ns();
        for (int i = 0; i < ROUNDS; i++)
            sink = hook();
        double then = now_ns();
        for (int i = 0; i < ROUNDS; i++)
            fp = frame_pointers(ip, CW_STACK_MAX_FRAMES);
        double later = now_ns();
        for (int i = 0; unw_backtrace_by && i < ROUNDS / 10; i++)
            u = unw_backtrace_by(buffer, CW_STACK_MAX_FRAMES);
        memo = least(memo, (then - start) / ROUNDS);
        pointers = least(pointers, (later - then) / ROUNDS);
        unwound = least(unwound, (now_ns() - later) / (ROUNDS / 10));
    }
    printf("%-16s memo %2u frames %6.1f ns (%.2f a frame)   frame pointers %2u: %5.1f ns (%.2f)   "
           "unw_backtrace %2d: %6.1f ns (%.2f)\n",
           kind, n, memo, memo / n, fp, pointers, pointers / fp, u, unwound, unwound / u);
    (void)sink;
}

#define DESCEND(name, attributes)                                                                                      \
    static __attribute__((noinline)) attributes void name(unsigned depth)                                              \
    {                                                                                                                  \
        char pad[48];                                                                                                  \
        __asm__ volatile("" ::"r"(pad) : "memory");                                                                    \
        if (depth)                                                                                                     \
            name(depth - 1);                                                                                           \
        else                                                                                                           \
            measure(#name);                                                                                            \
        __asm__ volatile("" ::"r"(pad) : "memory");                                                                    \
    }
DESCEND(plain, )
#ifndef __clang__
DESCEND(with_pointers, WITH_POINTERS)
#endif

WITH_POINTERS int main(void)
{
    harness_begin(64, CW_UNWINDER_LIBUNWIND);
    void *library = dlopen("libunwind.so.8", RTLD_NOW);
    if (library)
        *(void **)&unw_backtrace_by = dlsym(library, "unw_backtrace");
    static const unsigned depths[] = {4, 16, 30, 50};
    for (unsigned i = 0; i < sizeof depths / sizeof *depths; i++) {
        plain(depths[i]);
#ifndef __clang__
        with_pointers(depths[i]);
#endif
    }
    return 0;
}
