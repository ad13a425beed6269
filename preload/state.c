/* The recorder's state and its clock. */
#define _GNU_SOURCE
#include "preload/state.h"

#include "preload/sys.h"

#include <time.h>

_Alignas(4096) union cw_process_page cw_process_page;
_Static_assert(sizeof cw_process_page == 4096, "one page: MADV_WIPEONFORK must not touch neighbours");

/* Disabled until the constructor has run: other libraries' constructors may call hooks before it. */
struct cw_static cw_static = {.process = &cw_process_page.process, .disabled = 1};
__thread struct cw_tls cw_tls;

uint32_t cw_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now); /* in the vDSO: no system call, errno untouched */
    uint64_t ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec - CW_P->t0_ns;
    uint32_t ms = (uint32_t)(ns / 1000000u);
    return ms ? ms : 1;
}

bool cw_in_vfork_child(void)
{
    if (CW_GET(cw_static.seccomp))
        return true; /* getpid may be punished: this thread steps aside for good */
    /* Asked only between a vfork and the parent's next recorded call: 200 ns. A pid of 0 is a forked child's wiped page. */
    pid_t pid = (pid_t)cw_sys(SYS_getpid), owner = CW_GET(CW_P->pid);
    if (owner && pid != owner)
        return true;
    cw_tls.maybe_vfork = 0;
    return false;
}
