/* The table: slots, free lists, references. See table.h for who owns what. */
#include "core/table.h"

#include "core/atomic.h"

#include <errno.h>

/* fds are made real memory this many at a time: 4,096 slots are 32 KiB. */
#define SLOT_STEP 4096u

uint64_t cw_table_slot(const struct cw_table *table, int fd)
{
    if ((uint32_t)fd >= CW_GET(*table->slots_ready))
        return 0;
    return __atomic_load_n(&table->view->slots[fd], __ATOMIC_ACQUIRE);
}

/* Makes slots up to fd real. Two threads may both do it: reserving twice is harmless, and slots_ready only grows. */
static int slots_reach(const struct cw_table *table, int fd)
{
    uint32_t ready = CW_GET(*table->slots_ready);
    if (fd < 0 || (uint32_t)fd >= table->view->n_slots)
        return -ENOSPC;
    if ((uint32_t)fd < ready)
        return 0;
    uint32_t want = ((uint32_t)fd / SLOT_STEP + 1) * SLOT_STEP;
    if (want > table->view->n_slots)
        want = table->view->n_slots;
    int failed = table->reserve(CW_SECTION_SLOTS, ready, want - ready);
    if (failed)
        return failed;
    while (ready < want &&
           !__atomic_compare_exchange_n(table->slots_ready, &ready, want, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        ;
    uint32_t *used = &table->view->header->sections[CW_SECTION_SLOTS].used;
    uint32_t seen = CW_GET(*used);
    while (seen < want && !__atomic_compare_exchange_n(used, &seen, want, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
    return 0;
}

static uint16_t generation_of(const struct cw_table *table, enum cw_slot_kind kind, uint32_t index)
{
    return kind == CW_SLOT_CONN ? (uint16_t)CW_GET(table->view->conns[index].generation)
                                : (uint16_t)CW_GET(table->view->sets[index].generation);
}

int cw_table_store(const struct cw_table *table, int fd, enum cw_slot_kind kind, uint32_t index, uint64_t *ret_old)
{
    int failed = slots_reach(table, fd);
    if (failed)
        return failed;
    uint64_t word = CW_SLOT_MAKE(kind, generation_of(table, kind, index), index);
    *ret_old = __atomic_exchange_n(&table->view->slots[fd], word, __ATOMIC_ACQ_REL);
    return 0;
}

uint64_t cw_table_mark_closing(const struct cw_table *table, int fd)
{
    uint64_t word = cw_table_slot(table, fd);
    while (word && !(word & CW_SLOT_CLOSING))
        if (__atomic_compare_exchange_n(&table->view->slots[fd], &word, word | CW_SLOT_CLOSING, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            return word | CW_SLOT_CLOSING;
    return 0;
}

/* The marked word cannot come back by reuse (ABA): its closer holds the record's reference until after this call, so the
 * same index and generation cannot have been stored anew. */
bool cw_table_unmark(const struct cw_table *table, int fd, uint64_t marked)
{
    return __atomic_compare_exchange_n(&table->view->slots[fd], &marked, marked & ~CW_SLOT_CLOSING, false,
                                       __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* A reference to a record that may have been freed meanwhile: none is taken of one that nobody refers to. */
static bool ref_if_used(struct cw_conn *conn)
{
    uint32_t refs = CW_GET(conn->refs);
    while (refs)
        if (__atomic_compare_exchange_n(&conn->refs, &refs, refs + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            return true;
    return false;
}

static bool exchange(const struct cw_table *table, int fd, uint64_t from, uint64_t to)
{
    return __atomic_compare_exchange_n(&table->view->slots[fd], &from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static uint64_t settled(uint64_t marked)
{
    return (marked & ~CW_SLOT_CLOSING) | CW_SLOT_SETTLED;
}

bool cw_table_settle(const struct cw_table *table, int fd, uint64_t marked)
{
    uint32_t index = CW_SLOT_INDEX(marked);
    if (!ref_if_used(&table->view->conns[index]))
        return false;
    if (exchange(table, fd, marked, settled(marked)))
        return true;
    cw_table_unref_conn(table, index);
    return false;
}

unsigned cw_table_clear(const struct cw_table *table, int fd, uint64_t marked)
{
    return !exchange(table, fd, marked, 0) && exchange(table, fd, settled(marked), 0) ? 2 : 1;
}

uint32_t cw_table_used(const struct cw_table *table, enum cw_section_id section)
{
    return __atomic_load_n(&table->view->header->sections[section].used, __ATOMIC_ACQUIRE);
}

/* The next record that was never handed out, made real memory; 0 when the section is full. */
static uint32_t bump(const struct cw_table *table, enum cw_section_id section, uint32_t capacity)
{
    uint32_t *used = &table->view->header->sections[section].used;
    uint32_t index = CW_GET(*used);
    do {
        if (index == 0) { /* record 0 means "none" everywhere */
            __atomic_compare_exchange_n(used, &index, 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
            index = 1;
        }
        if (index >= capacity)
            return 0;
        if (table->reserve(section, index, 1))
            return 0;
    } while (!__atomic_compare_exchange_n(used, &index, index + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
    return index;
}

/* Free lists: the head's high half is a tag that rises with every pop and push, so that a head that was popped and pushed
 * back meanwhile is not taken for the same list. A popped record's link may be read after another thread has taken it:
 * records never become unmapped, and the tag then makes the exchange fail. */
static uint32_t pop(uint64_t *head, const void *records, size_t stride, size_t link_offset)
{
    uint64_t old = __atomic_load_n(head, __ATOMIC_ACQUIRE);
    while ((uint32_t)old) {
        const uint32_t *link =
            (const uint32_t *)(const void *)((const char *)records + (size_t)(uint32_t)old * stride + link_offset);
        uint64_t next = ((old >> 32) + 1) << 32 | CW_GET(*link);
        if (__atomic_compare_exchange_n(head, &old, next, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            return (uint32_t)old;
    }
    return 0;
}

static void push(uint64_t *head, uint32_t *link, uint32_t index)
{
    uint64_t old = CW_GET(*head), new;
    do {
        CW_SET(*link, (uint32_t)old);
        new = ((old >> 32) + 1) << 32 | index;
    } while (!__atomic_compare_exchange_n(head, &old, new, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
}

/* Word by word with atomic stores: another thread may be walking the records. */
static void wipe(void *record, size_t bytes)
{
    uint64_t *words = record;
    for (size_t i = 0; i < bytes / sizeof *words; i++)
        CW_SET(words[i], 0);
}

uint32_t cw_table_new_conn(const struct cw_table *table)
{
    struct cw_view *view = table->view;
    uint32_t index =
        pop(&view->header->conn_free_head, view->conns, sizeof *view->conns, offsetof(struct cw_conn, next_free));
    if (!index)
        index = bump(table, CW_SECTION_CONNS, view->n_conns);
    if (!index)
        return 0;
    struct cw_conn *conn = &view->conns[index];
    uint16_t generation = (uint16_t)(CW_GET(conn->generation) + 1);
    wipe(conn, sizeof *conn);
    CW_SET(conn->generation, generation);
    CW_SET(conn->fd, -1);
    CW_SET(conn->epoll_fd, -1);
    CW_SET(conn->refs, 1);
    return index;
}

uint32_t cw_table_new_set(const struct cw_table *table)
{
    struct cw_view *view = table->view;
    uint32_t index =
        pop(&view->header->set_free_head, view->sets, sizeof *view->sets, offsetof(struct cw_set, next_free));
    if (!index)
        index = bump(table, CW_SECTION_SETS, view->n_sets);
    if (!index)
        return 0;
    struct cw_set *set = &view->sets[index];
    uint32_t generation = CW_GET(set->generation) + 1;
    wipe(set, sizeof *set);
    CW_SET(set->generation, generation);
    CW_SET(set->refs, 1);
    CW_SET(set->flags, 1);
    return index;
}

uint32_t cw_table_new_thread(const struct cw_table *table)
{
    uint32_t capacity = table->view->n_threads < 0xFFFF ? table->view->n_threads : 0xFFFF;
    return bump(table, CW_SECTION_THREADS, capacity);
}

void cw_table_ref_conn(const struct cw_table *table, uint32_t index)
{
    CW_ADD(table->view->conns[index].refs, 1);
}

void cw_table_free_conn(const struct cw_table *table, uint32_t index)
{
    struct cw_conn *conn = &table->view->conns[index];
    CW_SET(conn->flags, 0);
    push(&table->view->header->conn_free_head, &conn->next_free, index);
}

uint32_t cw_table_unref_conn(const struct cw_table *table, uint32_t index)
{
    struct cw_conn *conn = &table->view->conns[index];
    uint32_t left = __atomic_sub_fetch(&conn->refs, 1, __ATOMIC_ACQ_REL);
    if (left == 0 && !(CW_GET(conn->flags) & CW_CONN_LATE))
        cw_table_free_conn(table, index);
    return left;
}

uint32_t cw_table_unref_set(const struct cw_table *table, uint32_t index)
{
    struct cw_set *set = &table->view->sets[index];
    uint32_t left = __atomic_sub_fetch(&set->refs, 1, __ATOMIC_ACQ_REL);
    if (left == 0) {
        CW_SET(set->flags, 0);
        push(&table->view->header->set_free_head, &set->next_free, index);
    }
    return left;
}
