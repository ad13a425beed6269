/* What /proc tells of another process: who it is, whether it lives, which sockets it has open.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_PROCESS_PROC_H
#define CLI_PROCESS_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A process for good: a pid is given to another one sooner or later, its start time is not. */
struct cw_proc {
    pid_t pid;            /* as seen from here */
    pid_t ppid;           /* its parent, as seen from here; 0 outside our pid namespace */
    pid_t inner_pid;      /* as it sees itself, in its own pid namespace */
    uint64_t start_ticks; /* field 22 of /proc/PID/stat */
    uint64_t pid_ns;      /* inode of its pid namespace, 0 if we may not know */
    uid_t uid;            /* owner of /proc/PID: root for one that has changed its uid */
    bool zombie;          /* ended, but its parent has not asked yet */
};

/* 0, or negative errno: -ESRCH when there is no such process. */
int cw_proc_read(struct cw_proc *ret, pid_t pid);

/* What may have changed since: its parent, whether it has ended, or that the pid is another process's by now. 0, or negative
 * errno with *proc as it was. */
int cw_proc_again(struct cw_proc *proc);

/* The pid or tid of a process or thread as it sees itself; `pid` where the kernel does not say. */
pid_t cw_proc_inner_pid(pid_t pid);

/* The pid that a word of the command line is: 0 if it is none, -1 if it is a number that no pid can be. */
pid_t cw_proc_parse_pid(const char *word);

/* Reads a small /proc file as a string; bytes read, or negative errno. */
ssize_t cw_proc_read_small(const char *path, char *to, size_t n);

/* What a thread is called (comm), "" where it cannot be told; the process itself is the thread whose tid is its pid. */
void cw_proc_thread_name(pid_t pid, pid_t tid, char to[16]);

/* Whether the process that a ledger names is still there; false too where it cannot be told (another pid namespace),
 * with *ret_known (may be NULL) false then. */
bool cw_proc_lives(uint64_t pid_ns, pid_t pid, uint64_t start_ticks, bool *ret_known);

/* The process that a ledger names, also one in another pid namespace as long as we have it in our /proc: 0, or -ESRCH if it is
 * not there, or has ended. */
int cw_proc_find(struct cw_proc *ret, uint64_t pid_ns, pid_t inner_pid, uint64_t start_ticks);

/* Our own pid namespace's inode, 0 if /proc does not say. */
uint64_t cw_proc_own_pid_ns(void);

struct cw_proc_socket {
    uint32_t inode;
    int fd;
};

/* Its open sockets of any kind, sorted by inode (an inode once per fd): 0 with *ret to be freed, or negative errno
 * (-EACCES, -EPERM: the right is missing). */
int cw_proc_sockets(pid_t pid, struct cw_proc_socket **ret, size_t *ret_count);

#endif
