/* Wrappers of calls about the process itself, its signals and its code. */
#define _GNU_SOURCE
#include "preload/end.h"
#include "preload/signals.h"
#include "preload/wraps.h"

#include <string.h>

/* --- exec: what goes on with the fds is another program; one that fails was none --- */

#define EXEC(name, path, parameters, arguments)                                                                        \
    int cw_wrap_##name CW_WITH_SITE(parameters)                                                                        \
    {                                                                                                                  \
        (void)site;                                                                                                    \
        if (!CW_REAL(name)) {                                                                                          \
            errno = ENOSYS;                                                                                            \
            return -1;                                                                                                 \
        }                                                                                                              \
        cw_end_exec_begin(path);                                                                                       \
        int r = cw_real.name arguments;                                                                                \
        cw_end_exec_failed();                                                                                          \
        return r;                                                                                                      \
    }

/* A name with a slash is the file itself; any other is looked for in PATH. */
static const char *unsearched(const char *file)
{
    return strchr(file, '/') ? file : NULL;
}

EXEC(execve, path, (const char *path, char *const argv[], char *const envp[]), (path, argv, envp))
EXEC(execv, path, (const char *path, char *const argv[]), (path, argv))
EXEC(execvp, unsearched(file), (const char *file, char *const argv[]), (file, argv))
EXEC(execvpe, unsearched(file), (const char *file, char *const argv[], char *const envp[]), (file, argv, envp))
EXEC(fexecve, NULL, (int fd, char *const argv[], char *const envp[]), (fd, argv, envp))
EXEC(execveat, NULL, (int fd, const char *path, char *const argv[], char *const envp[], int flags),
     (fd, path, argv, envp, flags))

int cw_wrap_daemon(const struct cw_site *site, int nochdir, int noclose)
{
    (void)site;
    cw_tls.in_daemon = 1;
    int r = CW_REAL(daemon)(nochdir, noclose);
    cw_tls.in_daemon = 0;
    return r;
}

/* --- signals --- */

/* What the program may see of a handler: never ours. */
static sighandler_t shown(sighandler_t handler)
{
    return cw_signals_is_ours(handler) ? SIG_DFL : handler;
}

int cw_wrap_sigaction(const struct cw_site *site, int sig, const struct sigaction *act, struct sigaction *old)
{
    (void)site;
    /* Read now: old may be the same memory. libc itself reads it before the system call. */
    bool to_default = act && !(act->sa_flags & SA_SIGINFO) && act->sa_handler == SIG_DFL;
    int r = CW_REAL(sigaction)(sig, act, old);
    if (r == 0 && old)
        cw_signals_show(sig, old);
    if (r == 0 && to_default)
        cw_signals_after_set(sig);
    return r;
}

static sighandler_t set_handler(sighandler_t (*real)(int, sighandler_t), int sig, sighandler_t handler)
{
    if (!real) {
        errno = ENOSYS;
        return SIG_ERR;
    }
    sighandler_t r = real(sig, handler);
    if (r != SIG_ERR && handler == SIG_DFL)
        cw_signals_after_set(sig);
    return shown(r);
}

sighandler_t cw_wrap_signal(const struct cw_site *site, int sig, sighandler_t handler)
{
    (void)site;
    return set_handler(CW_REAL(signal), sig, handler);
}

sighandler_t cw_wrap_sysv_signal(const struct cw_site *site, int sig, sighandler_t handler)
{
    (void)site;
    return set_handler(CW_REAL(sysv_signal), sig, handler);
}

sighandler_t cw_wrap_sigset(const struct cw_site *site, int sig, sighandler_t handler)
{
    (void)site;
    return set_handler(CW_REAL(sigset), sig, handler);
}

/* A handler that was installed with SA_RESETHAND and then sends its signal again (Node does so) relies on the default
 * action, and the kernel, not a call, has put that there: ours goes in its place before the signal is sent. */
int cw_wrap_raise(const struct cw_site *site, int sig)
{
    (void)site;
    cw_signals_after_set(sig);
    return CW_REAL(raise)(sig);
}

int cw_wrap_kill(const struct cw_site *site, pid_t pid, int sig)
{
    (void)site;
    if (pid == CW_P->pid)
        cw_signals_after_set(sig);
    return CW_REAL(kill)(pid, sig);
}

/* --- the loader --- */

int cw_wrap_dl_iterate_phdr(const struct cw_site *site, int (*each)(struct dl_phdr_info *, size_t, void *), void *data)
{
    int result;
    (void)site;
    if (__builtin_expect(cw_tls.guard != 0, 0) && cw_stack_guarded() && cw_fence_dl_iterate_phdr(each, data, &result))
        return result;
    return CW_REAL(dl_iterate_phdr)(each, data);
}
