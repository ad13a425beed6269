/* The slot table under many threads: numbers that are freed before the close returns and taken again at once, closes that
 * fail, closes that no hook sees, copies, marks taken away by a sweep. In the end every record must be back on the free list, exactly once. Built with
 * ThreadSanitizer by `make check-stress`. */
#define _GNU_SOURCE
#include "core/atomic.h"
#include "core/conn.h"
#include "core/table.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { FDS = 48, CONNS = 4096, THREADS = 8, ROUNDS = 60000 };

static struct cw_view view;
static uint32_t slots_ready;
static uint32_t reserved_calls;

static int reserve(enum cw_section_id section, uint32_t first, uint32_t n)
{
    (void)section, (void)first, (void)n;
    CW_ADD(reserved_calls, 1);
    return 0;
}

static const struct cw_table table = {.view = &view, .slots_ready = &slots_ready, .reserve = reserve};

/* The kernel's fd table: 0 free, 1 open. */
static uint32_t kernel[FDS];

static int kernel_open(unsigned from)
{
    for (unsigned i = 0; i < FDS; i++) {
        uint32_t is_free = 0;
        unsigned fd = (from + i) % FDS;
        if (__atomic_compare_exchange_n(&kernel[fd], &is_free, 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            return (int)fd;
    }
    return -1;
}

static bool kernel_close(int fd)
{
    uint32_t is_open = 1;
    return __atomic_compare_exchange_n(&kernel[fd], &is_open, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static void displaced(uint64_t old)
{
    if (old && !(old & CW_SLOT_CLOSING))
        cw_table_unref_conn(&table, CW_SLOT_INDEX(old));
}

static void open_one(unsigned from, uint32_t now_ms)
{
    uint64_t old;
    int fd = kernel_open(from);
    uint32_t index = fd < 0 ? 0 : cw_table_new_conn(&table);
    if (fd < 0)
        return;
    if (!index)
        abort();
    cw_conn_open(&view.conns[index], CW_ORIGIN_ACCEPT, CW_CALL_accept, fd, 1, 1, 0, now_ms);
    if (cw_table_store(&table, fd, CW_SLOT_CONN, index, &old))
        abort();
    displaced(old);
}

static void copy_one(int fd, unsigned from)
{
    uint64_t old, marked = cw_table_mark_closing(&table, fd); /* holds the record still, as a caller's open fd would */
    if (!marked)
        return;
    uint32_t index = CW_SLOT_INDEX(marked);
    int copy = kernel_open(from);
    if (copy >= 0) {
        cw_table_ref_conn(&table, index);
        if (cw_table_store(&table, copy, CW_SLOT_CONN, index, &old))
            abort();
        displaced(old);
    }
    if (!cw_table_unmark(&table, fd, marked))
        cw_table_unref_conn(&table, index);
}

static void close_one(int fd, unsigned how)
{
    if (how == 0) { /* unseen */
        kernel_close(fd);
        return;
    }
    uint64_t marked = cw_table_mark_closing(&table, fd);
    bool freed = how != 1 && kernel_close(fd); /* 1: the call failed, the fd stays open */
    if (!marked)
        return;
    if (!freed && cw_table_unmark(&table, fd, marked))
        return;
    for (unsigned n = freed ? cw_table_clear(&table, fd, marked) : 1; n; n--)
        cw_table_unref_conn(&table, CW_SLOT_INDEX(marked));
}

/* A sweep that takes somebody's mark for one that nobody comes back for. */
static void settle_one(int fd)
{
    uint64_t slot = cw_table_slot(&table, fd);
    if (slot & CW_SLOT_CLOSING)
        cw_table_settle(&table, fd, slot);
}

static void touch_one(int fd, uint32_t now_ms)
{
    uint64_t slot = cw_table_slot(&table, fd);
    struct cw_touch touch = {.call = CW_CALL_read, .result = (int32_t)(now_ms % 3), .now_ms = now_ms, .thread = 1};
    if (CW_SLOT_KIND(slot) == CW_SLOT_CONN)
        cw_conn_in(&view.conns[CW_SLOT_INDEX(slot)], &touch);
}

static void *work(void *seed_at)
{
    unsigned seed = *(unsigned *)seed_at;
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        unsigned dice = (unsigned)rand_r(&seed), fd = (dice >> 8) % FDS;
        switch (dice % 9) {
        case 0:
        case 1:
        case 2:
            open_one(fd, i);
            break;
        case 3:
            copy_one((int)fd, fd + 1);
            break;
        case 4:
            touch_one((int)fd, i);
            break;
        case 5:
            settle_one((int)fd);
            break;
        default:
            close_one((int)fd, (dice >> 4) % 8);
            break;
        }
    }
    return NULL;
}

static void *map(size_t n, size_t stride)
{
    void *memory = mmap(NULL, n * stride, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        abort();
    return memory;
}

int main(void)
{
    pthread_t threads[THREADS];
    unsigned seeds[THREADS];
    view.header = map(1, CW_LEDGER_HEADER_BYTES);
    view.slots = map(FDS, sizeof *view.slots);
    view.conns = map(CONNS, sizeof *view.conns);
    view.n_slots = FDS;
    view.n_conns = CONNS;
    for (unsigned i = 0; i < THREADS; i++) {
        seeds[i] = i + 1;
        if (pthread_create(&threads[i], NULL, work, &seeds[i]))
            abort();
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);

    for (int fd = 0; fd < FDS; fd++) {
        uint64_t marked = cw_table_mark_closing(&table, fd);
        if (marked) {
            cw_table_clear(&table, fd, marked);
            cw_table_unref_conn(&table, CW_SLOT_INDEX(marked));
        }
        if (cw_table_slot(&table, fd))
            return printf("fd %d still means something\n", fd), 1;
    }
    uint32_t used = cw_table_used(&table, CW_SECTION_CONNS), listed = 0;
    static bool seen[CONNS];
    for (uint32_t at = (uint32_t)view.header->conn_free_head; at; at = view.conns[at].next_free) {
        if (at >= used || seen[at])
            return printf("record %u is on the free list twice, or was never handed out\n", at), 1;
        seen[at] = true;
        listed++;
        /* Other flags may be a late touch's (table.h); IN_USE would let a report see it. */
        if (view.conns[at].refs || (view.conns[at].flags & CW_CONN_IN_USE))
            return printf("record %u is free with %u references\n", at, view.conns[at].refs), 1;
    }
    if (listed != used - 1)
        return printf("%u records handed out, %u came back\n", used - 1, listed), 1;
    /* Records are reused: at most one per number and thread is ever alive at a time. */
    if (used > FDS + 2 * THREADS + 1)
        return printf("%u records for %d numbers\n", used, FDS), 1;
    printf("%d threads, %d rounds each: %u records, all came back\n", THREADS, ROUNDS, listed);
    return 0;
}
