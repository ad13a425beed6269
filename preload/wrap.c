/* The exported functions: one per row of hooks.inc. What they record is in record.h; what needs more than one line around
 * the real call is in wrap_*.c. */
#define _GNU_SOURCE
#include "preload/end.h"
#include "preload/fork.h"
#include "preload/probe.h"
#include "preload/wraps.h"

#include <linux/seccomp.h>
#include <stdarg.h>
#include <stddef.h>

#define CW_EXPORT __attribute__((visibility("default")))

/* A row that this libc does not have: somebody found our name by dlsym. */
#define CW_MISSING(real, failure)                                                                                      \
    if (__builtin_expect(!(real), 0)) {                                                                                \
        errno = ENOSYS;                                                                                                \
        failure;                                                                                                       \
    }

#define CW_HOOK(need, type, name, parameters, arguments, after)                                                        \
    CW_EXPORT type name parameters                                                                                     \
    {                                                                                                                  \
        __typeof__(name) *real = CW_REAL(name);                                                                        \
        CW_MISSING(real, return (type)-1)                                                                              \
        type r = real arguments;                                                                                       \
        struct cw_site site = CW_SITE();                                                                               \
        (void)site;                                                                                                    \
        after;                                                                                                         \
        return r;                                                                                                      \
    }
#define CW_ARGUMENTS(...) (&site, __VA_ARGS__)
#define CW_WRAP(need, type, name, parameters, arguments)                                                               \
    CW_EXPORT type name parameters                                                                                     \
    {                                                                                                                  \
        struct cw_site site = CW_SITE();                                                                               \
        return cw_wrap_##name CW_ARGUMENTS arguments;                                                                  \
    }
#define CW_HAND(need, name)
#define CW_ALIAS(alias, name) /* below: their targets must be defined first */
#include "preload/hooks.inc"
#undef CW_HOOK
#undef CW_WRAP
#undef CW_HAND
#undef CW_ALIAS

/* --- by hand: variadic --- */

static int after_fcntl(const struct cw_site *site, int fd, int command, int r)
{
    if (command == F_DUPFD || command == F_DUPFD_CLOEXEC)
        cw_on_dup(site, CW_CALL_fcntl, fd, r);
    return r;
}

/* fcntl takes nothing, an int or a pointer; read as a pointer, each comes through whole (as libc itself does it). */
CW_EXPORT int fcntl(int fd, int command, ...)
{
    va_list list;
    va_start(list, command);
    void *argument = va_arg(list, void *);
    va_end(list);
    struct cw_site site = CW_SITE();
    return after_fcntl(&site, fd, command, CW_REAL(fcntl)(fd, command, argument));
}

CW_EXPORT int fcntl64(int fd, int command, ...)
{
    va_list list;
    va_start(list, command);
    void *argument = va_arg(list, void *);
    va_end(list);
    struct cw_site site = CW_SITE();
    __typeof__(fcntl) *real = CW_REAL(fcntl64) ? CW_REAL(fcntl64) : CW_REAL(fcntl);
    return after_fcntl(&site, fd, command, real(fd, command, argument));
}

CW_EXPORT long syscall(long nr, ...)
{
    long a[6];
    va_list list;
    va_start(list, nr);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    struct cw_site site = CW_SITE();
    return cw_wrap_syscall(&site, nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

CW_EXPORT int prctl(int option, ...)
{
    unsigned long a[4];
    va_list list;
    va_start(list, option);
    for (int i = 0; i < 4; i++)
        a[i] = va_arg(list, unsigned long);
    va_end(list);
    bool filters = option == PR_SET_SECCOMP, before = filters && cw_end_filter_before();
    int r = CW_REAL(prctl)(option, a[0], a[1], a[2], a[3]);
    if (filters)
        cw_end_filter_after(before, r == 0);
    return r;
}

/* The handlers run inside (fork.c). _Fork and raw clones run none, and change nothing here either. */
CW_EXPORT pid_t fork(void)
{
    struct cw_site site = CW_SITE();
    struct cw_forking forking;
    cw_fork_begin(&forking, &site);
    pid_t r = CW_REAL(fork)();
    cw_fork_end(&forking, r);
    return r;
}

/* A child that shares our memory must not change what is ours in it. */
CW_EXPORT int clone(int (*fn)(void *), void *stack, int flags, void *arg, ...)
{
    void *a[3];
    va_list list;
    va_start(list, arg);
    for (int i = 0; i < 3; i++)
        a[i] = va_arg(list, void *);
    va_end(list);
    cw_vfork_expect((unsigned long)(unsigned)flags);
    return CW_REAL(clone)(fn, stack, flags, arg, a[0], a[1], a[2]);
}

/* The execl family: its arguments become a vector, as libc does it; the vector lies on the stack because a vfork child or a
 * signal handler may call it. */
#define CW_COLLECT(list, first, argv)                                                                                  \
    size_t count = 1;                                                                                                  \
    va_list list;                                                                                                      \
    va_start(list, first);                                                                                             \
    while (va_arg(list, const char *))                                                                                 \
        count++;                                                                                                       \
    va_end(list);                                                                                                      \
    char **argv = __builtin_alloca((count + 1) * sizeof *argv);                                                        \
    va_start(list, first);                                                                                             \
    argv[0] = (char *)(uintptr_t)first;                                                                                \
    for (size_t i = 1; i <= count; i++)                                                                                \
        argv[i] = va_arg(list, char *);

CW_EXPORT int execl(const char *path, const char *first, ...)
{
    CW_COLLECT(list, first, argv)
    va_end(list);
    struct cw_site site = CW_SITE();
    return cw_wrap_execv(&site, path, argv);
}

CW_EXPORT int execlp(const char *file, const char *first, ...)
{
    CW_COLLECT(list, first, argv)
    va_end(list);
    struct cw_site site = CW_SITE();
    return cw_wrap_execvp(&site, file, argv);
}

CW_EXPORT int execle(const char *path, const char *first, ...)
{
    CW_COLLECT(list, first, argv)
    char **envp = va_arg(list, char **);
    va_end(list);
    struct cw_site site = CW_SITE();
    return cw_wrap_execve(&site, path, argv, envp);
}

/* --- by hand: no return --- */

CW_EXPORT void _exit(int status)
{
    cw_end(CW_END_EXIT, status);
    CW_REAL(_exit)(status);
    __builtin_unreachable();
}

CW_EXPORT void quick_exit(int status)
{
    if (!cw_vforked())
        cw_end_quick_status(status);
    CW_REAL(quick_exit)(status);
    __builtin_unreachable();
}

/* --- by hand: vfork ---
 * The child returns on the parent's stack, so nothing may stand between: a tail jump, after a mark in thread-local memory
 * that says "getpid before you record" (cw_vforked). Where libc's vfork has not been found yet, a plain fork. */

/* Offsets for the assembly below. */
__attribute__((used)) static void vfork_offsets(void)
{
    __asm__ volatile(
        ".set cw_offset_maybe_vfork, %c0\n\t.set cw_offset_real_vfork, %c1" ::"i"(offsetof(struct cw_tls, maybe_vfork)),
        "i"(offsetof(struct cw_real, vfork)));
}

__asm__(".text\n"
        ".globl vfork\n"
        ".type vfork, @function\n"
        "vfork:\n"
        "    .cfi_startproc\n"
        "    endbr64\n"
        "    movq cw_tls@gottpoff(%rip), %rax\n"
        "    orl $1, %fs:cw_offset_maybe_vfork(%rax)\n" /* CW_VFORK_ONCE */
        "    leaq cw_real(%rip), %rax\n"
        "    movq cw_offset_real_vfork(%rax), %rax\n"
        "    testq %rax, %rax\n"
        "    jz 1f\n"
        "    jmp *%rax\n"
        "1:  movl $57, %eax\n" /* SYS_fork */
        "    syscall\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".size vfork, . - vfork\n");

/* --- other names --- */

/* In assembly, because vfork has no definition in C. */
#define CW_HOOK(need, type, name, parameters, arguments, after)
#define CW_WRAP(need, type, name, parameters, arguments)
#define CW_HAND(need, name)
#define CW_ALIAS(alias, name) __asm__(".globl " #alias "\n.set " #alias ", " #name "\n");
#include "preload/hooks.inc"
