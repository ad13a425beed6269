/* libgcc's walker: stateless, no malloc, no fd, lock-free where glibc has _dl_find_object, usable where libunwind
 * may not be entered. It reads stacks unchecked and ends where unwind tables end. By dlsym, so that the shim needs
 * libc alone. */
#include "preload/unwind.h"

#include <dlfcn.h>
#include <unwind.h>

static _Unwind_Reason_Code (*backtrace_by)(_Unwind_Trace_Fn callback, void *data);
static _Unwind_Word (*get_cfa)(struct _Unwind_Context *context);
static _Unwind_Ptr (*get_ip)(struct _Unwind_Context *context);

static _Unwind_Reason_Code ignore_frame(struct _Unwind_Context *context, void *data)
{
    (void)context;
    (void)data;
    return _URC_NORMAL_STOP;
}

static bool libgcc_init(void)
{
    void *library = dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return false;
    *(void **)&backtrace_by = dlsym(library, "_Unwind_Backtrace");
    *(void **)&get_cfa = dlsym(library, "_Unwind_GetCFA");
    *(void **)&get_ip = dlsym(library, "_Unwind_GetIP");
    if (!backtrace_by || !get_cfa || !get_ip)
        return false;
    backtrace_by(ignore_frame, NULL); /* its table of register sizes is made once: here, not in a signal handler */
    return true;
}

/* At a frame, its CFA as libgcc gives it is the callee's: the address above the return address. */
static _Unwind_Reason_Code take_frame(struct _Unwind_Context *context, void *data)
{
    struct cw_walk *walk = data;
    uintptr_t ip = get_ip(context), at = get_cfa(context) - 8;
    if (ip == 0)
        return _URC_END_OF_STACK;
    if (walk->n == 0 && (ip != walk->site->ra || at != walk->site->ra_at))
        return _URC_NO_REASON; /* our own frames */
    if (walk->n == walk->max) {
        walk->truncated = true;
        return _URC_NORMAL_STOP;
    }
    walk->ip[walk->n] = ip;
    walk->at[walk->n++] = at;
    return _URC_NO_REASON;
}

static void libgcc_walk(struct cw_walk *walk)
{
    walk->n = 0;
    backtrace_by(take_frame, walk);
}

const struct cw_walker cw_walker_libgcc = {
    .name = "libgcc",
    .stack_bytes = 8192,
    .stateful = false,
    .init = libgcc_init,
    .walk = libgcc_walk,
    .code_unloaded = NULL,
};
