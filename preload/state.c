/* The recorder's state and its clock. */
#define _GNU_SOURCE
#include "preload/state.h"

#include "preload/clock.h"
#include "preload/sys.h"

#include <sched.h>

_Alignas(4096) union cw_process_page cw_process_page;
_Static_assert(sizeof cw_process_page == 4096, "one page: MADV_WIPEONFORK must not touch neighbours");

/* Disabled until the constructor has run: other libraries' constructors may call hooks before it. */
struct cw_static cw_static = {.process = &cw_process_page.process, .disabled = 1};
__thread struct cw_tls cw_tls;

uint32_t cw_now_ms(void)
{
    uint64_t ns = cw_clock_ns(CLOCK_MONOTONIC_COARSE) - CW_P->t0_ns;
    uint32_t ms = (uint32_t)(ns / 1000000u);
    return ms ? ms : 1;
}

void cw_vfork_expect(unsigned long flags)
{
    if ((flags & CLONE_VM) && !(flags & CLONE_THREAD))
        cw_tls.maybe_vfork |= flags & CLONE_VFORK ? CW_VFORK_ONCE : CW_VFORK_ALWAYS;
}

bool cw_in_vfork_child(void)
{
    if (CW_GET(cw_static.seccomp))
        return true; /* getpid may be punished: this thread steps aside for good */
    /* Asked between a vfork and the parent's next recorded call, and always after a clone of the other kind: 200 ns. A pid of 0 is a forked child's wiped page. */
    pid_t pid = (pid_t)cw_sys(SYS_getpid), owner = CW_GET(CW_P->pid);
    if (owner && pid != owner)
        return true;
    cw_tls.maybe_vfork &= ~(uint32_t)CW_VFORK_ONCE;
    return false;
}

bool cw_left_to_run(void)
{
    return cw_static.options.run[0] && CW_P->path_known;
}

bool cw_run_is_gone(void)
{
    return CW_GET(CW_P->view.header->flags) & CW_HEADER_RUN_GONE;
}
