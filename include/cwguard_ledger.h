/* The ledger: what the recorder (libcwguard.so, inside the target) leaves for the reporter (cwguard, outside).
 *
 * One sparse file: a header page, then fixed arrays ("sections"), each described in the header by offset, stride and
 * capacity. Everything is native-endian and written with relaxed atomic stores while the process runs, so a reader sees
 * whole words but not whole records; a reader treats the file as hostile and checks every index.
 *
 * Raise CW_LEDGER_VERSION whenever the meaning, size or position of anything below changes. */
#ifndef CWGUARD_LEDGER_H
#define CWGUARD_LEDGER_H

#include <stdint.h>

#define CW_LEDGER_MAGIC "cwguard\n" /* 8 bytes, no terminating NUL */
#define CW_LEDGER_VERSION 2u
#define CW_LEDGER_HEADER_BYTES 8192u

/* Sections in file order: name, record type. */
#define CW_SECTIONS(X)                                                                                                 \
    X(SLOTS, uint64_t)                 /* one per fd number: what the fd means */                                      \
    X(CONNS, struct cw_conn)           /* TCP sockets: connections and listeners; record 0 is never used */            \
    X(THREADS, struct cw_thread)       /* threads that touched a socket; record 0 is never used */                     \
    X(SETS, struct cw_set)             /* epoll sets; record 0 is never used */                                        \
    X(FORKS, struct cw_fork)           /* a ring: the fork that raised the counter to n stands at n modulo capacity */  \
    X(STACK_INDEX, uint32_t)           /* open-addressed hash of stack ids */                                          \
    X(STACKS, uint64_t)                /* stacks, one after another; a stack's id is the index of its first word */    \
    X(MODULES, struct cw_module)       /* ELF objects that stacks pass through; record 0 is never used */              \
    X(STRINGS, char)                   /* NUL-terminated; a string's id is its offset, 0 is the empty string */

enum cw_section_id {
#define CW_X(name, type) CW_SECTION_##name,
    CW_SECTIONS(CW_X)
#undef CW_X
    CW_SECTION_COUNT
};

struct cw_section {
    uint64_t offset;   /* bytes from the start of the ledger, a multiple of 4096 */
    uint32_t stride;   /* bytes of one record */
    uint32_t capacity; /* records that fit */
    uint32_t used;     /* records handed out so far, never falls (SLOTS: highest fd seen + 1) */
    uint32_t reserved;
};

/* --- time ---
 * Times in records are "ms": milliseconds of CLOCK_MONOTONIC_COARSE since start_mono_ns, modulo 2^32, as the ages in
 * struct tcp_info are; 0 means never, so a real 0 is written as 1. Ages are differences modulo 2^32. */

/* --- fd slots ---
 * bits 0..31 index into the section that kind names; 32..47 generation, raised at each store of a new meaning;
 * 48..51 kind; 52 closing: a close is under way, its caller owns the slot's reference; 53 settled: a sweep has taken the
 * closing bit away, the fd being open still. The word 0 is "nothing known". */
enum cw_slot_kind { CW_SLOT_NONE = 0, CW_SLOT_CONN = 1, CW_SLOT_SET = 2 };
#define CW_SLOT_INDEX(s) ((uint32_t)(s))
#define CW_SLOT_GEN(s) ((uint16_t)((s) >> 32))
#define CW_SLOT_KIND(s) ((unsigned)((s) >> 48) & 0xFu)
#define CW_SLOT_CLOSING (UINT64_C(1) << 52)
#define CW_SLOT_SETTLED (UINT64_C(1) << 53)
#define CW_SLOT_MAKE(kind, gen, index) (((uint64_t)(kind) << 48) | ((uint64_t)(uint16_t)(gen) << 32) | (uint32_t)(index))

/* --- connections --- */

/* How a record came to be: name as in the JSON report, words for the text report. */
#define CW_ORIGINS(X)                                                                                                  \
    X(NONE, "none", "unknown")                                                                                         \
    X(SOCKET, "socket", "created here")      /* socket(): not connected yet, or a listener */                          \
    X(ACCEPT, "accept", "accepted")                                                                                    \
    X(CONNECT, "connect", "connected")                                                                                 \
    X(INHERITED, "inherited", "inherited at start") /* there when the process started: activation, inetd, exec */      \
    X(FORKED, "forked", "inherited over fork")                                                                         \
    X(RECEIVED, "received", "received by SCM_RIGHTS")                                                                  \
    X(UNTRACKED, "untracked", "opened unseen")      /* found by asking the kernel; no hook saw it */                   \
    X(QUEUED, "queued", "waiting to be accepted")   /* in a listener's accept queue; belongs to no fd */

enum cw_origin {
#define CW_X(name, id, words) CW_ORIGIN_##name,
    CW_ORIGINS(CW_X)
#undef CW_X
    CW_ORIGIN_COUNT
};

/* The calls that records name: the hook's own name, without fortify or alias decoration. 0 is none. */
#define CW_CALLS(X)                                                                                                    \
    X(socket) X(socketpair) X(accept) X(accept4) X(connect) X(bind) X(listen)                                          \
    X(dup) X(dup2) X(dup3) X(fcntl)                                                                                    \
    X(read) X(readv) X(recv) X(recvfrom) X(recvmsg) X(recvmmsg) X(splice)                                              \
    X(write) X(writev) X(send) X(sendto) X(sendmsg) X(sendmmsg) X(sendfile)                                            \
    X(epoll_create) X(epoll_ctl) X(epoll_wait) X(epoll_pwait) X(epoll_pwait2)                                          \
    X(poll) X(ppoll) X(select) X(pselect)                                                                              \
    X(close) X(close_range) X(closefrom) X(shutdown) X(fclose) X(fcloseall) X(fdopen) X(freopen)                       \
    X(fork) X(vfork) X(execve) X(exit) X(stdio)

enum cw_call {
    CW_CALL_none,
#define CW_X(name) CW_CALL_##name,
    CW_CALLS(CW_X)
#undef CW_X
    CW_CALL_COUNT
};

enum cw_conn_flag {
    CW_CONN_IN_USE = 1u << 0,
    CW_CONN_LISTENER = 1u << 1,       /* listen() succeeded: in_* fields speak of accept() on it */
    CW_CONN_CONNECTED = 1u << 2,      /* accepted, or connect() succeeded or is under way */
    CW_CONN_EOF_SEEN = 1u << 3,       /* a read returned 0, MSG_PEEK included */
    CW_CONN_EOF_CONSUMED = 1u << 4,   /* a read that was no peek returned 0 */
    CW_CONN_STDIO = 1u << 5,          /* handed to fdopen: later reads and writes may be invisible */
    CW_CONN_SCM_SENT = 1u << 6,       /* sent to another process with SCM_RIGHTS */
    CW_CONN_SHUT_RD = 1u << 7,
    CW_CONN_SHUT_WR = 1u << 8,
    CW_CONN_POLLED = 1u << 9,         /* has been in a poll or select set */
    CW_CONN_WATCHED = 1u << 10,       /* is in an epoll set, as far as epoll_ctl tells */
    CW_CONN_WAS_WATCHED = 1u << 11,   /* has been in an epoll set */
    CW_CONN_COPIED = 1u << 12,        /* dup, dup2, dup3 or F_DUPFD made another fd for it */
    CW_CONN_LATE = 1u << 13,          /* closed, but only after it had leaked; the record is kept for the report */
    CW_CONN_LEAKED = 1u << 14,        /* passed the grace period in CLOSE_WAIT at the last check */
    CW_CONN_ANNOUNCED = 1u << 15,     /* was part of a live line on stderr */
    CW_CONN_GONE = 1u << 16,          /* the last check found another socket, or none, behind the fd */
    CW_CONN_KEEPALIVE = 1u << 17,     /* SO_KEEPALIVE was on at the last check */
    CW_CONN_IN_FAILED = 1u << 18,     /* the last read failed with something other than EAGAIN or EINTR */
    CW_CONN_OUT_FAILED = 1u << 19,    /* likewise the last write */
    CW_CONN_SETTLING = 1u << 20,      /* its FIN came after the end began or after the last listener was closed */
    CW_CONN_LAST_WAS_OUT = 1u << 21,  /* the last transfer was a write: a read now is a turn */
    CW_CONN_SHARED = 1u << 22,        /* more than one thread has read or written it */
    CW_CONN_ELSEWHERE = 1u << 23,     /* in the tool's private copy only: the record of another process of the same report
                                         stands for this socket */
};

/* One TCP (or MPTCP) socket: four cache lines. The first two are written on reads, writes and waits, the third when it
 * opens, the fourth when it closes or the kernel is asked. Addresses are as in struct in6_addr, IPv4 in the first four
 * bytes; ports are in host order. *_stack are ids in STACKS, 0 unknown; *_thread are thread references (CW_THREAD_*). */
struct cw_conn {
    /* touches */
    uint32_t flags;        /* enum cw_conn_flag */
    uint32_t in_last_ms;   /* last read of any kind (listener: last accept) */
    uint32_t out_last_ms;  /* last write */
    int32_t in_last_res;   /* bytes returned, or negative errno (listener: fd or negative errno) */
    int32_t out_last_res;
    uint32_t touch_stack;  /* where the last read or write came from */
    uint64_t touch_ra;     /* the caller's return address at that touch */
    uint32_t touch_sp;     /* low half of its stack pointer: with touch_ra, the key that says "same place again" */
    uint32_t touch_thread;
    uint32_t turns_in;     /* reads of data that followed a write: answers to requests sent */
    uint32_t turns_out;    /* writes that followed a read: requests answered */
    uint32_t in_first_ms;
    uint32_t out_first_ms;
    uint8_t in_call;       /* enum cw_call of the last read */
    uint8_t out_call;
    uint8_t epoll_sets;    /* how many epoll sets it was ever added to, saturating */
    uint8_t close_call;    /* LATE: enum cw_call of the close at last */
    uint32_t polled_ms;    /* last time it was in a poll or select set */

    /* end of stream, events, interest */
    uint32_t eof_ms;       /* first read that returned 0 */
    uint32_t eof_stack;
    uint32_t event_ms;     /* first IN, HUP or RDHUP that poll or select delivered and no read followed */
    uint32_t event_stack;
    uint16_t event_mask;   /* POLL* bits of it */
    uint8_t eof_call;
    uint8_t event_call;
    int32_t epoll_fd;      /* the set it was last added to, changed in or taken out of */
    uint32_t epoll_mask;   /* EPOLL* bits registered last; after a check those in force: a spent one-shot has no event left */
    uint16_t epoll_set;    /* index in SETS */
    uint16_t out_gap_ds;   /* longest time between two writes since its end of stream was seen: 0.1 s, rounded up, saturating */
    uint32_t ctl_ms;       /* last epoll_ctl on it */
    uint32_t ctl_stack;
    uint32_t ctl_thread;   /* who called it; for a socket never in an epoll set who had it in a poll or select set last */
    int32_t in_first_res;
    int32_t out_first_res;
    uint32_t shut_ms;      /* first shutdown() */
    uint32_t shut_stack;
    uint8_t ctl_op;        /* EPOLL_CTL_* of it */
    uint8_t k_live;        /* what of touch_stack its thread was still in at the check: the first frame from the inside whose
                              return address, like all further out, was in place; 0 none, or not known */
    uint16_t poll_mask;    /* POLL* bits asked for in its last poll or select set */

    /* identity */
    uint8_t peer[16];
    uint8_t local[16];
    uint16_t peer_port;
    uint16_t local_port;
    uint8_t family;        /* AF_INET or AF_INET6, 0 unknown */
    uint8_t protocol;      /* IPPROTO_TCP; 255 stands for IPPROTO_MPTCP (262) */
    uint8_t origin;        /* enum cw_origin */
    uint8_t open_call;     /* enum cw_call */
    int32_t fd;            /* the fd it was opened as, or the last known one of its copies */
    uint32_t open_ms;
    uint32_t open_stack;
    uint32_t open_thread;
    uint32_t refs;         /* fds of this process that share it */
    uint32_t next_free;    /* link of the free list while not in use */

    /* copies, the kernel's word, the end */
    uint32_t fork_seq;     /* header.forks when it was opened: the difference is "forks while open" */
    uint32_t copy_close_ms; /* last close of one fd of several, or the sendmsg that passed it on */
    uint32_t copy_close_stack;
    uint32_t copy_stack;   /* last dup of it, or the sendmsg that passed it on */
    uint32_t inode;        /* of the socket, as ss and /proc/PID/fd show it; 0 not asked yet */
    uint32_t k_ms;         /* when the kernel was asked; 0 never */
    uint8_t k_state;       /* TCP_* state it said (enum in <netinet/tcp.h>) */
    uint8_t k_flags;       /* enum cw_k_flag */
    uint16_t generation;   /* raised each time the record is handed out */
    uint32_t k_recv_q;     /* bytes, the FIN counted as one, as ss shows it (listener: connections waiting) */
    uint32_t k_send_q;     /* bytes not yet acknowledged (listener: its limit) */
    uint32_t k_last_ack_recv; /* ms, tcpi_last_ack_recv at k_ms */
    uint32_t k_last_data_sent; /* ms, tcpi_last_data_sent at k_ms */
    uint32_t fin_ms;       /* first time a hook or a check saw that the peer had closed */
    uint32_t close_ms;     /* LATE: when it was closed at last */
    uint32_t close_stack;
    uint32_t label;        /* string id */
    uint32_t leaked_sent_ms; /* absolute time of the last data sent when it was found to have leaked: see CW_CONN_LEAKED */
};

enum cw_k_flag {
    CW_K_QUEUES = 1 << 0, /* k_recv_q and k_send_q are known */
    CW_K_RDHUP = 1 << 1,  /* poll said POLLRDHUP or POLLHUP */
    CW_K_UNACKED = 1 << 2, /* sent data was unacknowledged or queued */
    CW_K_PORT_SHARED = 1 << 3 /* listener: more wait on its port than in this process's queues */
};

/* --- threads --- */

/* A thread reference: low 16 bits index, high 16 bits generation; it dangles when the record has been given to another
 * thread since, which the generation tells. 0 is unknown. */
#define CW_THREAD_INDEX(ref) ((ref) & 0xFFFFu)
#define CW_THREAD_GEN(ref) ((ref) >> 16)

struct cw_thread {
    uint32_t generation;
    int32_t tid;           /* in the process's own pid namespace */
    uint32_t first_ms;     /* when it first touched a socket: a live tid that started later is another thread */
    uint32_t wait_ms;      /* when its last epoll_wait, poll, select or accept returned */
    uint32_t wait_stack;   /* and from where it was called */
    uint16_t waiting_set;  /* index in SETS while it is inside epoll_wait, else 0 */
    int16_t k_syscall;     /* the system call it was in at the check: its number, or enum cw_thread_syscall */
    uint8_t wait_call;     /* enum cw_call */
    uint8_t in_wait;       /* 1 while inside such a call */
    char k_state;          /* at the check, as in /proc/PID/stat: R S D T …; 'X' it had exited; 0 not asked */
    uint8_t k_errno;       /* why k_syscall is not known, 0 if it is */
    uint32_t wait_res;     /* what it returned */
    char name[16];         /* PR_GET_NAME when first seen */
    uint32_t exit_ms;      /* when it exited, 0 it has not, or not seen */
    uint32_t k_ms;         /* when its state was asked for, 0 never */
    uint32_t k_stack;      /* its stack then, 0 not known */
    int32_t k_object;      /* what that call waits for: the fd of a read, write and the like; for a futex the thread that
                              holds the lock; 0 not known */
};
enum cw_thread_syscall { CW_SYSCALL_NONE = -1 /* on the CPU */, CW_SYSCALL_UNKNOWN = -2 };

/* --- epoll sets --- */

struct cw_set {
    uint32_t flags;        /* 1: in use */
    int32_t fd;
    uint32_t return_ms;    /* last return of epoll_wait on it that reported something */
    uint32_t return_stack;
    uint32_t return_thread;
    uint32_t refs;
    uint32_t next_free;
    uint32_t idle_ms;      /* last return that timed out */
    uint32_t generation;
    uint32_t k_errno;      /* why its fdinfo could not be read at the last check: masks are as registered; 0 it could, or
                              nobody has asked */
    uint32_t reserved[6];
};

/* --- forks --- */

struct cw_fork {
    uint32_t seq;          /* the counter `forks` after it; written last, so a record with another seq is not that fork's */
    uint32_t ms;
    uint32_t stack;        /* 0 unknown: a fork inside libc (daemon) */
    uint32_t thread;       /* who forked */
    int32_t pid;           /* of the child, 0 unknown */
    uint32_t conn;         /* index in CONNS of the connection that this thread's step before was to accept, else 0 */
    uint32_t conn_generation;
    uint32_t reserved;
};

/* --- stacks ---
 * At word index `id` of STACKS: bits 0..31 hash, 32..39 number of frames, 40..47 flags; then one word per frame,
 * innermost first: bits 48..63 module index, 0..47 the return address minus the module's load address (module 0: the
 * address itself, JIT code or unknown). */
#define CW_STACK_HASH(w) ((uint32_t)(w))
#define CW_STACK_FRAMES(w) ((unsigned)((w) >> 32) & 0xFFu)
#define CW_STACK_FLAGS(w) ((unsigned)((w) >> 40) & 0xFFu)
#define CW_STACK_WORD(hash, n, flags) ((uint64_t)(uint32_t)(hash) | (uint64_t)(n) << 32 | (uint64_t)(flags) << 40)
#define CW_FRAME_MODULE(f) ((uint32_t)((f) >> 48))
#define CW_FRAME_OFFSET(f) ((f) & UINT64_C(0xFFFFFFFFFFFF))
#define CW_FRAME(module, offset) ((uint64_t)(module) << 48 | ((uint64_t)(offset) & UINT64_C(0xFFFFFFFFFFFF)))
#define CW_STACK_MAX_FRAMES 64u
enum cw_stack_flag {
    CW_STACK_CALLER_ONLY = 1, /* no unwinder could be entered: only the caller's address is known */
    CW_STACK_TRUNCATED = 2    /* deeper than option depth */
};

struct cw_module {
    uint64_t load;         /* load address: what file addresses are relative to (l_addr) */
    uint64_t start, end;   /* mapped range */
    uint32_t path;         /* string id */
    uint8_t build_id[20];
    uint8_t build_id_len;
    uint8_t kind;          /* enum cw_module_kind */
    uint16_t reserved;
    uint32_t flags;        /* 1: ready to be read; 2: unloaded since */
    uint32_t reserved2;
};
enum cw_module_kind { CW_MODULE_OTHER = 0, CW_MODULE_MAIN = 1, CW_MODULE_LIBC = 2, CW_MODULE_LOADER = 3, CW_MODULE_SHIM = 4, CW_MODULE_VDSO = 5 };

/* --- header --- */

/* Counters that any thread raises; JSON name and what is counted. */
#define CW_COUNTERS(X)                                                                                                 \
    X(connections)     /* TCP connections seen, listeners apart: those that came by exec or SCM_RIGHTS, too */         \
    X(accepted)                                                                                                        \
    X(connected)                                                                                                       \
    X(closes_unseen)   /* records whose fd turned out to mean another socket, or none */                               \
    X(stacks_rationed) /* stacks not taken because too many new call paths came at once */                             \
    X(table_full)      /* facts not recorded because a section was full or memory could not be had */                  \
    X(late_dropped)    /* sockets closed late beyond those kept one by one */                                          \
    X(lines_dropped)   /* live lines not written: stderr would have blocked, or more than ten in a minute */           \
    X(forks)                                                                                                           \
    X(reports)         /* leaked sockets announced so far by live lines */

enum cw_counter {
#define CW_X(name) CW_COUNTER_##name,
    CW_COUNTERS(CW_X)
#undef CW_X
    CW_COUNTER_COUNT
};

enum cw_ended { CW_ENDED_RUNNING, CW_ENDED_EXIT, CW_ENDED_SIGNAL, CW_ENDED_EXEC, CW_ENDED_KILLED };
enum cw_truth { CW_TRUTH_NONE, CW_TRUTH_SWEEP, CW_TRUTH_KERNEL };

enum cw_header_flag {
    CW_HEADER_READY = 1u << 0,     /* the header's fixed part is complete */
    CW_HEADER_ANONYMOUS = 1u << 1, /* no file: the ledger ends with the process */
    CW_HEADER_REPORTED = 1u << 2,  /* a complete report is out */
    CW_HEADER_OFF = 1u << 3,       /* the recorder has switched itself off: off_reason says why */
    CW_HEADER_FORKED = 1u << 4,    /* begun by a forked child */
    CW_HEADER_NO_NETLINK = 1u << 5, /* a check could not use sock_diag (netlink_errno) */
    CW_HEADER_NO_FDS = 1u << 6,     /* not one fd was to be had for the last check: the reporter has to ask in our place */
    CW_HEADER_SAVED = 1u << 7,      /* a copy that the tool has taken of a running process: it speaks of the moment truth_ms */
    CW_HEADER_OUTSIDE = 1u << 8,    /* no recorder was in the process: the tool has made this from /proc and sock_diag */
    CW_HEADER_RUN_GONE = 1u << 9    /* set by the tool: the `cwguard run` that would have taken this in has ended before the process */
};

struct cw_ledger {
    char magic[8];
    uint32_t version;
    uint32_t header_bytes;
    uint64_t total_bytes;  /* of the sparse file */
    struct cw_section sections[CW_SECTION_COUNT];

    int32_t pid, ppid;     /* in the process's own pid namespace */
    uint32_t uid;
    uint32_t flags;        /* enum cw_header_flag */
    uint64_t pid_ns;       /* inode of /proc/self/ns/pid */
    uint64_t start_ticks;  /* field 22 of /proc/self/stat: with pid and pid_ns, names the process for good */
    uint64_t start_real_ns; /* CLOCK_REALTIME and CLOCK_MONOTONIC_COARSE of the same moment: when recording began */
    uint64_t start_mono_ns;
    uint64_t process_start_mono_ns; /* from start_ticks: when the process itself began */

    uint64_t counters[16]; /* in the order of CW_COUNTERS */

    uint32_t ended;        /* enum cw_ended */
    int32_t end_status;    /* exit status, or the signal's number */
    uint32_t end_ms;       /* when the end began */
    uint32_t listeners_closed_ms; /* when the last listener was closed, 0 while one is open or none ever was */
    uint32_t truth;        /* enum cw_truth: what stands behind k_* */
    uint32_t truth_ms;     /* when the last whole check of all sockets was done */
    uint32_t grace_ms;     /* the options that a reader needs to judge as the recorder did */
    uint32_t exit_grace_ms;
    uint32_t listeners;    /* open now */
    uint32_t end_thread;   /* the thread in which the end began */
    uint32_t fork_stack;   /* FORKED: where the parent forked, 0 unknown */
    uint32_t fork_ms;      /* FORKED: when */
    uint64_t conn_free_head; /* free list: low half index, high half tag against ABA */
    uint64_t set_free_head;
    uint64_t exe_dev, exe_ino;

    char exe[512];         /* readlink /proc/self/exe */
    char command[1024];    /* argv, NUL-separated, ends with two NULs; cut at whole words */
    char host[72];
    char kernel[72];
    char tool_version[24];
    char options[1024];    /* CWGUARD_OPTIONS as read */
    char off_reason[128];
    int32_t netlink_errno; /* NO_NETLINK: why; 0 not known */
};

_Static_assert(sizeof(struct cw_conn) == 256, "struct cw_conn is four cache lines");
_Static_assert(sizeof(struct cw_thread) == 64, "struct cw_thread is one cache line");
_Static_assert(sizeof(struct cw_set) == 64, "struct cw_set is one cache line");
_Static_assert(sizeof(struct cw_fork) == 32, "struct cw_fork is half a cache line");
_Static_assert(sizeof(struct cw_module) == 64, "struct cw_module has no padding");
_Static_assert(sizeof(struct cw_ledger) <= CW_LEDGER_HEADER_BYTES, "the header fits its pages");

#endif
