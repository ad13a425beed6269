/* Forks. See fork.h for what is carried over. */
#define _GNU_SOURCE
#include "preload/fork.h"

#include "core/stacks.h"
#include "preload/ledger_file.h"
#include "preload/probe.h"
#include "preload/record.h"
#include "preload/stack.h"
#include "preload/sys.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

/* A private copy of the parent's slots and connections, made in the parent just before the fork. */
struct copy {
    size_t bytes;
    uint32_t n_slots, n_conns;
    uint32_t threaded;
    uint32_t stack, ms; /* where and when fork was called */
    uint32_t reserved;
    /* n_slots words, then n_conns records */
};

static const char *single_threaded; /* glibc's __libc_single_threaded (2.32), if there */

static uint64_t *copy_slots(struct copy *copy)
{
    return (uint64_t *)(void *)(copy + 1);
}

static struct cw_conn *copy_conns(struct copy *copy)
{
    return (struct cw_conn *)(void *)(copy_slots(copy) + copy->n_slots);
}

static bool has_threads(void)
{
    /* Without the variable: every thread that touched a socket has a record. */
    return single_threaded ? !*single_threaded : cw_table_used(&cw_table, CW_SECTION_THREADS) > 2;
}

/* --- handlers --- */

static void prepare(void)
{
    cw_tls.fork_copy = NULL;
    if (!CW_GET(CW_P->live) || CW_GET(cw_static.seccomp) || cw_vforked() || CW_GET(CW_P->conns_open) == 0)
        return;
    uint32_t n_slots = CW_GET(CW_P->slots_ready), n_conns = cw_table_used(&cw_table, CW_SECTION_CONNS);
    size_t bytes = sizeof(struct copy) + n_slots * sizeof(uint64_t) + n_conns * sizeof(struct cw_conn);
    long memory = cw_sys(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory < 0 && memory > -4096)
        return; /* the child falls back to our table as it is then */
    struct copy *copy = (struct copy *)memory;
    *copy = (struct copy){.bytes = bytes,
                          .n_slots = n_slots,
                          .n_conns = n_conns,
                          .threaded = has_threads(),
                          .stack = cw_tls.fork_stack,
                          .ms = cw_now_ms()};
    uint64_t *slots = copy_slots(copy);
    for (uint32_t fd = 0; fd < n_slots; fd++)
        slots[fd] = CW_GET(CW_P->view.slots[fd]);
    memcpy(copy_conns(copy) + 1, CW_P->view.conns + 1, (n_conns - 1) * sizeof(struct cw_conn));
    cw_tls.fork_copy = copy;
}

static void drop_copy(void **place)
{
    struct copy *copy = *place;
    *place = NULL;
    if (copy && !CW_GET(cw_static.seccomp))
        cw_sys(SYS_munmap, copy, copy->bytes);
}

/* The record of the fork that raised the counter to seq, made real; NULL if it cannot be. */
static struct cw_fork *fork_record(uint32_t seq)
{
    uint32_t capacity = CW_P->view.n_forks, index = capacity ? seq % capacity : 0;
    uint32_t *used = &CW_P->view.header->sections[CW_SECTION_FORKS].used, seen = CW_GET(*used);
    if (!capacity || cw_ledger_reserve(CW_SECTION_FORKS, index, 1))
        return NULL;
    while (seen <= index &&
           !__atomic_compare_exchange_n(used, &seen, index + 1, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        ;
    return &CW_P->view.forks[index];
}

/* Counts this fork and puts it on record; returns the counter. */
static uint32_t note_fork(void)
{
    uint32_t seq = (uint32_t)CW_ADD(CW_P->view.header->counters[CW_COUNTER_forks], 1) + 1, now_ms = cw_now_ms();
    struct cw_fork *fork = fork_record(seq);
    if (!fork) {
        cw_count(CW_COUNTER_table_full);
        return seq;
    }
    __atomic_exchange_n(&fork->seq, 0, __ATOMIC_ACQ_REL); /* the ring's former entry is over before its fields change */
    CW_SET(fork->ms, now_ms);
    CW_SET(fork->stack, cw_tls.fork_stack);
    CW_SET(fork->thread, cw_thread_self(now_ms));
    CW_SET(fork->pid, 0);
    /* After a raw clone the index may be another ledger's. */
    uint32_t accepted = cw_tls.accepted < cw_table_used(&cw_table, CW_SECTION_CONNS) ? cw_tls.accepted : 0;
    CW_SET(fork->conn, accepted);
    CW_SET(fork->conn_generation, accepted ? CW_GET(CW_P->view.conns[accepted].generation) : 0);
    cw_tls.accepted = 0;
    __atomic_store_n(&fork->seq, seq, __ATOMIC_RELEASE);
    return seq;
}

static void in_parent(void)
{
    drop_copy(&cw_tls.fork_copy);
    if (!CW_GET(CW_P->live) || cw_vforked())
        return;
    cw_tls.fork_seq = note_fork();
    if (cw_tls.in_daemon) {
        /* Its next step is _exit, unseen; the child goes on with the sockets. */
        CW_SET(CW_P->view.header->ended, CW_ENDED_EXIT);
        cw_ledger_remove();
    }
}

static void in_child(void)
{
    cw_tls.in_daemon = 0;
    cw_tls.accepted = 0;
    if (CW_GET(CW_P->live)) /* a kernel without MADV_WIPEONFORK */
        memset(&cw_process_page, 0, sizeof cw_process_page);
    /* Before it records: its own vfork children share its memory, and the pid tells them (cw_in_vfork_child). */
    if (!CW_GET(cw_static.seccomp))
        CW_SET(CW_P->pid, (pid_t)cw_sys(SYS_getpid));
    cw_tls.thread_ref = cw_tls.own_ref = 0;
    if (cw_tls.fork_copy) {
        drop_copy(&cw_static.fork_copy);
        cw_static.fork_copy = cw_tls.fork_copy;
        cw_tls.fork_copy = NULL;
    } else if (cw_static.fork_copy) {
        /* Forked by a child that had not touched a socket, as daemons are made: what its parent knew holds here as well.
         * Whether that child had threads was nobody's business. */
        ((struct copy *)cw_static.fork_copy)->threaded = 1;
    }
}

/* Before the fork: the child adopts the parent's stacks, so the id is true in both ledgers. */
void cw_fork_begin(struct cw_forking *ret, const struct cw_site *site)
{
    *ret = (struct cw_forking){.outer_stack = cw_tls.fork_stack, .outer_seq = cw_tls.fork_seq};
    cw_tls.fork_stack = cw_tls.fork_seq = 0;
    if (CW_GET(CW_P->live) && CW_GET(CW_P->conns_open) > 0 && !cw_vforked())
        cw_tls.fork_stack = cw_stack_capture(site);
}

/* libc calls the parent's handler after a fork that failed as well: that one is taken off the record. */
void cw_fork_end(const struct cw_forking *forking, pid_t result)
{
    uint32_t seq = cw_tls.fork_seq;
    cw_tls.fork_stack = forking->outer_stack;
    cw_tls.fork_seq = forking->outer_seq;
    if (result == 0 || !seq || !CW_GET(CW_P->live) || cw_vforked())
        return;
    struct cw_fork *fork = fork_record(seq);
    uint32_t expected = seq;
    if (fork && result > 0 && CW_GET(fork->seq) == seq)
        CW_SET(fork->pid, result);
    else if (fork && result < 0)
        __atomic_compare_exchange_n(&fork->seq, &expected, 0, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

void cw_fork_init(void)
{
    single_threaded = dlsym(RTLD_DEFAULT, "__libc_single_threaded");
    if (cw_static.may & CW_MAY_FILES) /* else in_child wipes it, and the ledger is not shared memory anyway */
        cw_sys(SYS_madvise, &cw_process_page, sizeof cw_process_page, MADV_WIPEONFORK);
    pthread_atfork(prepare, in_parent, in_child);
}

/* --- in the child ---
 * The thread that begins the child's ledger takes what the parent left away, while other threads' hooks may be looking at it:
 * they say so first (peeking), and look only as long as nobody has begun. */

/* What the parent makes real after the fork is inaccessible in our mapping of it (ledger_file.c); it is only read from now on,
 * and only as far as it is in use, that is real. */
static void open_parent(void)
{
    struct cw_ledger *header = cw_static.last_view.header;
    if (!header || CW_GET(CW_P->parent_open))
        return;
    cw_sys(SYS_mprotect, header, header->total_bytes, PROT_READ);
    CW_SET(CW_P->parent_open, 1);
}

static bool peek_begin(void)
{
    __atomic_add_fetch(&CW_P->peeking, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&CW_P->starting, __ATOMIC_SEQ_CST) != 0)
        return false;
    open_parent();
    return true;
}

static void peek_end(void)
{
    __atomic_sub_fetch(&CW_P->peeking, 1, __ATOMIC_RELEASE);
}

/* Whether nobody looks any more. Who was interrupted while looking, by a signal handler that is now here, or jumped out of
 * it, never will be done: then the memory stays. */
static bool peeking_over(void)
{
    for (int i = 0; i < 1000 && __atomic_load_n(&CW_P->peeking, __ATOMIC_SEQ_CST); i++)
        cw_sys(SYS_sched_yield);
    return !__atomic_load_n(&CW_P->peeking, __ATOMIC_SEQ_CST);
}

bool cw_fork_pending(void)
{
    return !CW_GET(CW_P->live) && !CW_GET(CW_P->off) && !CW_GET(cw_static.seccomp) &&
           (cw_static.fork_copy || cw_static.last_view.header);
}

static uint32_t slots_left(void)
{
    struct copy *copy = cw_static.fork_copy;
    if (copy)
        return copy->n_slots;
    return cw_static.last_view.header ? CW_GET(cw_static.last_view.header->sections[CW_SECTION_SLOTS].used) : 0;
}

uint32_t cw_fork_slots(void)
{
    uint32_t n = peek_begin() ? slots_left() : 0;
    peek_end();
    return n;
}

static bool was_conn(int fd)
{
    struct copy *copy = cw_static.fork_copy;
    if ((uint32_t)fd >= slots_left())
        return false;
    uint64_t slot = copy ? copy_slots(copy)[fd] : CW_GET(cw_static.last_view.slots[fd]);
    return CW_SLOT_KIND(slot) == CW_SLOT_CONN;
}

bool cw_fork_knows(int fd)
{
    if (fd < 0 || !cw_fork_pending())
        return false;
    /* Another thread has begun: cw_start waits for it, then the ledger knows. */
    bool knows = !peek_begin() || was_conn(fd);
    peek_end();
    return knows;
}

/* Copies the first n records of an append-only section, so that ids in it stay true. */
static void adopt_section(enum cw_section_id id, void *to, const void *from, uint32_t n, uint32_t capacity)
{
    if (n > capacity)
        n = capacity;
    if (n == 0 || cw_ledger_reserve(id, 0, n))
        return;
    memcpy(to, from, (size_t)n * CW_P->view.header->sections[id].stride);
    CW_SET(CW_P->view.header->sections[id].used, n);
}

static void adopt_tables(const struct cw_view *parent)
{
    struct cw_view *view = &CW_P->view;
    const struct cw_section *from = parent->header->sections;
    adopt_section(CW_SECTION_STACKS, view->stacks, parent->stacks, CW_GET(from[CW_SECTION_STACKS].used),
                  view->n_stacks);
    cw_stacks_reindex(view, cw_ledger_reserve);
    adopt_section(CW_SECTION_MODULES, view->modules, parent->modules, CW_GET(from[CW_SECTION_MODULES].used),
                  view->n_modules);
    adopt_section(CW_SECTION_STRINGS, view->strings, parent->strings, CW_GET(from[CW_SECTION_STRINGS].used),
                  view->n_strings);
}

/* One inherited fd: its record keeps its index. */
static void adopt_slot(uint32_t fd, uint64_t slot, const struct cw_conn *conns, uint32_t n_conns)
{
    uint32_t index = CW_SLOT_INDEX(slot);
    uint64_t old;
    if (CW_SLOT_KIND(slot) != CW_SLOT_CONN || index == 0 || index >= n_conns || !(conns[index].flags & CW_CONN_IN_USE))
        return;
    if (cw_ledger_reserve(CW_SECTION_CONNS, index, 1))
        return;
    struct cw_conn *conn = &CW_P->view.conns[index];
    if (conn->refs == 0) {
        *conn = conns[index];
        cw_conn_forked(conn);
        CW_P->conns_open++;
        if (conn->flags & CW_CONN_LISTENER)
            CW_P->view.header->listeners++;
    }
    conn->refs++;
    cw_table_store(&cw_table, (int)fd, CW_SLOT_CONN, index, &old);
}

void cw_fork_adopt(void)
{
    const struct cw_view *parent = &cw_static.last_view;
    struct copy *copy = cw_static.fork_copy;
    if (!parent->header)
        return;
    open_parent();
    struct cw_view *view = &CW_P->view;
    uint32_t n_conns = copy ? copy->n_conns : CW_GET(parent->header->sections[CW_SECTION_CONNS].used);
    if (n_conns > view->n_conns)
        n_conns = view->n_conns;
    view->header->start_mono_ns = parent->header->start_mono_ns; /* times in records stay comparable */
    view->header->start_real_ns = parent->header->start_real_ns;
    view->header->flags |= CW_HEADER_FORKED | (CW_GET(parent->header->flags) & CW_HEADER_RUN_GONE);
    view->header->fork_stack = copy ? copy->stack : 0;
    view->header->fork_ms = copy ? copy->ms : 0;
    adopt_tables(parent);
    if (n_conns > 1 && cw_ledger_reserve(CW_SECTION_CONNS, 1, n_conns - 1) == 0) {
        view->header->sections[CW_SECTION_CONNS].used = n_conns;
        for (uint32_t fd = 0, n = slots_left(); fd < n; fd++)
            adopt_slot(fd, copy ? copy_slots(copy)[fd] : CW_GET(parent->slots[fd]),
                       copy ? copy_conns(copy) : parent->conns, n_conns);
        for (uint32_t i = 1; i < n_conns; i++)
            if (view->conns[i].refs == 0)
                cw_table_free_conn(&cw_table, i);
    }
    CW_P->child = 1;
    CW_P->threaded_fork = !copy || copy->threaded;
    cw_stack_forked(CW_P->threaded_fork);
    if (peeking_over()) {
        cw_sys(SYS_munmap, parent->header, parent->header->total_bytes);
        drop_copy(&cw_static.fork_copy);
    } else {
        cw_static.fork_copy = NULL;
    }
}
