/* Raw system calls: inline, no errno, no cancellation point, no way back into a hook.
 *
 * Every system call that the shim makes for itself goes through here (design: a hook leaves errno and cancellation as
 * the real call left them). Each returns the kernel's own result: negative errno on failure. Any thread, a signal handler,
 * a forked child. */
#ifndef PRELOAD_SYS_H
#define PRELOAD_SYS_H

#include <sys/syscall.h>

#ifndef __x86_64__
#error "cwguard's recorder knows x86-64 only: the raw system calls, the vfork row and the stack memo are written for it"
#endif

/* The analyzer does not know that a system call writes to what its arguments point at; of an unseen function it does. */
#ifdef __clang_analyzer__
long cw_sys6(long nr, long a, long b, long c, long d, long e, long f);
#else
static inline long cw_sys6(long nr, long a, long b, long c, long d, long e, long f)
{
    long ret;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}
#endif

#define CW_SYS_ARG(x) ((long)(x))
#define CW_SYS_0(nr) cw_sys6(nr, 0, 0, 0, 0, 0, 0)
#define CW_SYS_1(nr, a) cw_sys6(nr, CW_SYS_ARG(a), 0, 0, 0, 0, 0)
#define CW_SYS_2(nr, a, b) cw_sys6(nr, CW_SYS_ARG(a), CW_SYS_ARG(b), 0, 0, 0, 0)
#define CW_SYS_3(nr, a, b, c) cw_sys6(nr, CW_SYS_ARG(a), CW_SYS_ARG(b), CW_SYS_ARG(c), 0, 0, 0)
#define CW_SYS_4(nr, a, b, c, d) cw_sys6(nr, CW_SYS_ARG(a), CW_SYS_ARG(b), CW_SYS_ARG(c), CW_SYS_ARG(d), 0, 0)
#define CW_SYS_5(nr, a, b, c, d, e)                                                                                    \
    cw_sys6(nr, CW_SYS_ARG(a), CW_SYS_ARG(b), CW_SYS_ARG(c), CW_SYS_ARG(d), CW_SYS_ARG(e), 0)
#define CW_SYS_6(nr, a, b, c, d, e, f)                                                                                 \
    cw_sys6(nr, CW_SYS_ARG(a), CW_SYS_ARG(b), CW_SYS_ARG(c), CW_SYS_ARG(d), CW_SYS_ARG(e), CW_SYS_ARG(f))
#define CW_SYS_PICK(_0, _1, _2, _3, _4, _5, _6, name, ...) name

/* cw_sys(SYS_close, fd), cw_sys(SYS_getpid): number first, then up to six arguments of integer or pointer type. */
#define cw_sys(...)                                                                                                    \
    CW_SYS_PICK(__VA_ARGS__, CW_SYS_6, CW_SYS_5, CW_SYS_4, CW_SYS_3, CW_SYS_2, CW_SYS_1, CW_SYS_0, 0)(__VA_ARGS__)

#endif
