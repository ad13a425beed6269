/* A thread of another process at one moment: its registers and a copy of its stack, taken so that the thread is stopped
 * for as short as possible and nothing in it changes.
 *
 * A thread in a call that would return EINTR after a stop (epoll_wait and the like, signal(7)) is not stopped: it is
 * asleep, so that the kernel's word on its stack pointer is enough. Any other is stopped by a process of our own that
 * lives for this alone and dies after CW_SNAPSHOT_STOP_MS at the latest: the kernel lets go of the thread then. What
 * a signal does that arrives meanwhile it does afterwards. One that job control has stopped (SIGSTOP) stays so.
 * Single-threaded, as everything in the tool. */
#ifndef CLI_PROCESS_SNAPSHOT_H
#define CLI_PROCESS_SNAPSHOT_H

#include <stdint.h>
#include <sys/types.h>

#define CW_SNAPSHOT_STACK_BYTES (256u << 10)
#define CW_SNAPSHOT_STOP_MS 15

enum { CW_SNAPSHOT_FRAME = 6, CW_SNAPSHOT_SP = 7, CW_SNAPSHOT_PC = 16, CW_SNAPSHOT_REGISTERS };

struct cw_snapshot {
    uint64_t registers[CW_SNAPSHOT_REGISTERS]; /* by their DWARF numbers */
    uint32_t known;                            /* 1u << number of those that are known */
    int error;                                 /* errno of a thread that could not be had, then nothing else counts */
    uint64_t stack_at;                         /* address of stack[0], just below the stack pointer */
    uint32_t stack_bytes;
    uint8_t stack[CW_SNAPSHOT_STACK_BYTES];
};

/* Memory for one snapshot after the other, or NULL. */
struct cw_snapshot *cw_snapshot_new(void);
void cw_snapshot_free(struct cw_snapshot *snapshot);

/* Takes one of thread tid (as seen from here) of process pid: 0, or negative errno: -EPERM, -EACCES (no right, or it is
 * traced already), -ESRCH (gone), -EINTR (must not be stopped where it is), -ETIMEDOUT
 * (it did not stop in time: it sleeps uninterruptibly). */
int cw_snapshot_take(struct cw_snapshot *snapshot, pid_t pid, pid_t tid);

/* Reads n bytes of the process's memory: 0, or negative errno. */
int cw_snapshot_peek(pid_t pid, uint64_t address, void *to, size_t n);

#endif
