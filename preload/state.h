/* What the recorder knows of itself: per process, per thread, and constants found once at load.
 *
 * struct cw_process lies on pages that read zero in a forked child (MADV_WIPEONFORK), whichever way it was forked, so
 * one load of `live` tells a hook "this process is not being recorded (yet)". A vfork child shares them with its
 * parent; cw_tls.maybe_vfork marks threads in which a hook must ask getpid. Thread-local memory is at most 128 bytes,
 * so that the library fits into the static TLS surplus when it is loaded late. */
#ifndef PRELOAD_STATE_H
#define PRELOAD_STATE_H

#include "core/atomic.h"
#include "core/options.h"
#include "core/view.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct cw_process {
    uint32_t live;          /* 1: recording; everything below is valid. 0: not (yet), or a forked child */
    uint32_t off;           /* 1: switched off for good in this process */
    uint32_t starting;      /* a thread is creating the ledger */
    uint32_t ending;        /* the end has begun (a thread id) */
    uint32_t ended;         /* 1: whatever is to be reported is out */
    uint32_t epoch;         /* raised when recording begins: cw_tls is stale when it differs */
    uint32_t threaded_fork; /* forked from a process with threads: libunwind may be locked, use libgcc's walker */
    pid_t pid;            /* owner; set at load and in a forked child, 0 in a raw clone that has not begun to record */
    uint64_t t0_ns;       /* CLOCK_MONOTONIC_COARSE when recording began */
    struct cw_view view;  /* over the live mapping; n_* are capacities here */
    uint32_t slots_ready; /* fd numbers below this have a slot in real memory; the others must not be looked at */
    uint32_t conns_open;  /* connections and listeners in use now */
    uint32_t sweep_ms;    /* when the last slice of a sweep was done */
    uint32_t sweep_next;  /* record at which the next slice begins */
    uint32_t sweeping;    /* a thread is at it, since then (ms) */
    uint32_t late;        /* records kept of sockets closed late */
    uint32_t child;       /* began as a forked child's ledger */
    uint32_t own_stack;   /* the stack of our own (own_stack.c) is in use */
    uint32_t parent_open; /* 1: in a forked child, the parent's mapping can be read as far as it is used */
    uint32_t peeking;     /* threads of a forked child that are looking at what the parent left (fork.c) */
    uint32_t earlier;     /* ledgers of this process, of before an exec, lie beside the file */
    int path_known;       /* ledger_path names the file */
    uint64_t ledger_dev, ledger_ino;
    char ledger_path[256];
};

/* Constant after load; survives fork. */
struct cw_static {
    struct cw_options options;
    struct cw_process *process; /* &cw_process_page.process, never NULL */
    uintptr_t main_stack_end;   /* address above every frame of the main thread */
    struct cw_view last_view;   /* of the last ledger mapped here: in a forked child the parent's, to be read only */
    uint32_t last_epoch;
    void *fork_copy;       /* in a forked child: what the parent knew (fork.c) */
    uint32_t fd2_replaced; /* fd 2 was put there with dup2, dup3 or freopen: it is the program's stderr */
    uint32_t may;          /* enum cw_may of preload/probe.h: system calls that a filter does not forbid */
    uint32_t seccomp;      /* the program has installed a filter: no system calls of ours that it could punish */
    uint32_t disabled;     /* AT_SECURE, programs=, a missing symbol: nothing is ever recorded */
    int start_fd2_known;   /* fd 2 at start, to tell it from a file that has taken over the number */
    uint64_t start_fd2_dev, start_fd2_ino;
};

struct cw_tls {
    uint32_t epoch;      /* of cw_process when the rest was filled in */
    uint32_t thread_ref; /* CW_THREAD_*: own_ref, or 0 when the next touch has something to put right (thread.c) */
    int32_t tid;
    uint32_t
        maybe_vfork; /* enum cw_maybe_vfork, or-ed: set by vfork and clone, cleared by the process that owns the memory */
    uintptr_t guard;            /* stack pointer at which the unwinder was entered, 0 outside: a longjmp out of a signal
                               handler is noticed because a later stack pointer lies above it */
    uintptr_t wait_ra, wait_sp; /* key of the last wait's stack */
    uint32_t wait_stack;
    uint32_t in_daemon;  /* inside daemon(): the parent of its fork ends without a word */
    void *fork_copy;     /* between the prepare and the parent handler of a fork */
    uint32_t own_ref;    /* CW_THREAD_* in this epoch; 0 not yet */
    uint32_t fork_stack; /* where fork was called from, while inside it; 0 unknown */
    uint32_t fork_seq;   /* what the fork that this thread is in, or was in last, raised the counter to */
    uint32_t accepted;   /* index of the connection that it has accepted and not yet waited or forked since; 0 none */
    uint64_t spare[6];   /* stack capture's own: see preload/stack.h */
};
_Static_assert(sizeof(struct cw_tls) <= 128, "thread-local memory must fit the static TLS surplus");

/* Pages of their own: MADV_WIPEONFORK works on whole ones. */
union cw_process_page {
    struct cw_process process;
    unsigned char bytes[4096];
};

extern struct cw_static cw_static __attribute__((visibility("hidden")));
extern union cw_process_page cw_process_page __attribute__((visibility("hidden")));
extern __thread struct cw_tls cw_tls __attribute__((tls_model("initial-exec"), visibility("hidden")));

#define CW_P (cw_static.process)

/* Whether `cwguard run` writes this process's live lines and its report: it has named its run in the options, and the
 * ledger is a file, which outlives the process. */
bool cw_left_to_run(void);

/* Whether that `cwguard run` has ended, so that nobody removes a ledger without findings. While recording. */
bool cw_run_is_gone(void);

/* Where a hook was called from. Taken in the hook itself, which keeps a frame pointer. */
struct cw_site {
    uintptr_t ra;    /* return address into the caller */
    uintptr_t ra_at; /* where it lies on the stack: the caller's stack pointer is 8 above */
    uintptr_t rbp;   /* the caller's frame pointer register, for what it is worth */
};
#define CW_SITE()                                                                                                      \
    ((struct cw_site){.ra = (uintptr_t)__builtin_return_address(0),                                                    \
                      .ra_at = (uintptr_t)__builtin_frame_address(0) + 8,                                              \
                      .rbp = *(const uintptr_t *)__builtin_frame_address(0)})

/* Whose process a thread may be in. A child that shares our memory, but whose parent does not sleep, shares this word
 * as well, for as long as it likes: then every hook asks, for ever. */
enum cw_maybe_vfork { CW_VFORK_ONCE = 1, CW_VFORK_ALWAYS = 2 };

/* Before a clone with these flags. */
void cw_vfork_expect(unsigned long flags);

/* Whether this is a vfork child: it shares our memory, and nothing may change there. Free unless the thread called
 * vfork. */
bool cw_in_vfork_child(void);
static inline bool cw_vforked(void)
{
    return __builtin_expect(cw_tls.maybe_vfork, 0) && cw_in_vfork_child();
}

/* Now, in ms as records have it (never 0). Any thread, a signal handler. */
uint32_t cw_now_ms(void);

#endif
