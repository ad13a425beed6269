/* A made-up world, for the tests of diagnoses and evidence: a ledger with one socket with which nothing is the matter
 * but that its end of stream was not read. What is the matter is added by test/unit/makers.h. */
#ifndef TEST_UNIT_WORLD_H
#define TEST_UNIT_WORLD_H

#include "core/diagnose.h"
#include "test/unit/fixture.h"

#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

/* When things happen, in ms after the world's base. */
enum {
    GRACE = 2000,
    AT_OPEN = 10000,
    AT_USE = 30000, /* it was read or written last, where nothing else is said */
    AT_FIN = 40000,
    AT_LATER = 50000,
    NOW = 100000
};

struct world {
    struct fixture *f;
    uint32_t base; /* all times are this much later: near 2^32 they wrap */
    uint32_t main, libc;
    struct cw_conn *conn, *other, *listener;
    uint32_t worker, waiter,
        passer; /* threads: one that serves sockets, one that waits on the set, one that goes away */
    uint16_t set;
    uint32_t open_stack, touch_stack, wait_stack, eof_stack, ctl_stack, event_stack, copy_stack, fork_stack;
    uint32_t none; /* 0: no stack */
    uint64_t touch_frames[5];
    struct cw_context context;
    struct cw_symbol symbols[CW_SYMBOLS_MAX];
    void *memory;
};

static inline uint32_t world_at(const struct world *w, uint32_t ms)
{
    return w->base + ms;
}

static inline struct cw_thread *world_thread(const struct world *w, uint32_t reference)
{
    return &w->f->view.threads[CW_THREAD_INDEX(reference)];
}

static inline struct cw_set *world_set(const struct world *w)
{
    return &w->f->view.sets[w->set];
}

static inline uint32_t world_stack(struct world *w, uint64_t offset)
{
    return fixture_stack(w->f, (const uint64_t[]){CW_FRAME(w->main, offset), CW_FRAME(w->main, 0x400)}, 2, 0);
}

/* Polled since its end of stream came, by a thread that nobody knows, in a set that reported nothing. */
static inline void world_neutral(struct world *w, struct cw_conn *conn)
{
    conn->open_stack = w->open_stack;
    conn->flags |= CW_CONN_POLLED;
    conn->poll_mask = POLLIN;
    conn->polled_ms = world_at(w, AT_LATER);
    conn->fin_ms = world_at(w, AT_FIN);
    conn->inode = 777;
    fixture_close_wait(conn, world_at(w, NOW), NOW - AT_FIN, NOW - AT_FIN + 1);
}

static inline void world_new(struct world *w, uint32_t base)
{
    *w = (struct world){.f = fixture_new(64), .base = base};
    w->main = fixture_module(w->f, "/srv/server", CW_MODULE_MAIN);
    w->libc = fixture_module(w->f, "/lib/libc.so.6", CW_MODULE_LIBC);
    w->worker = fixture_thread(w->f, 4243, "worker");
    w->waiter = fixture_thread(w->f, 4244, "waiter");
    w->passer = fixture_thread(w->f, 4245, "passer");
    w->set = fixture_set(w->f, 5);
    const uint64_t touch[] = {CW_FRAME(w->main, 0x10), CW_FRAME(w->main, 0x100), CW_FRAME(w->main, 0x300),
                              CW_FRAME(w->main, 0x400), CW_FRAME(w->libc, 0x500)};
    const uint64_t wait[] = {CW_FRAME(w->main, 0x320), CW_FRAME(w->main, 0x400), CW_FRAME(w->libc, 0x500)};
    for (unsigned i = 0; i < 5; i++)
        w->touch_frames[i] = touch[i];
    w->touch_stack = fixture_stack(w->f, touch, 5, 0);
    w->wait_stack = fixture_stack(w->f, wait, 3, 0);
    w->open_stack = world_stack(w, 0x20);
    w->eof_stack = world_stack(w, 0x30);
    w->ctl_stack = world_stack(w, 0x40);
    w->event_stack = world_stack(w, 0x50);
    w->copy_stack = world_stack(w, 0x60);
    w->fork_stack = world_stack(w, 0x70);
    w->other = fixture_conn(w->f, world_at(w, AT_OPEN));
    w->conn = fixture_conn(w->f, world_at(w, AT_OPEN));
    world_neutral(w, w->conn);
}

/* Gathers the context anew: after the records are as they should be. */
static inline struct cw_facts world_facts(struct world *w)
{
    size_t bytes = cw_context_bytes(&w->f->view);

    free(w->memory);
    w->memory = malloc(bytes);
    if (!w->memory)
        abort();
    cw_context_gather(&w->context, &w->f->view, &w->f->resolver, w->symbols, w->memory, bytes);
    return (struct cw_facts){&w->f->view, w->conn, world_at(w, NOW), GRACE, &w->context};
}

static inline void world_free(struct world *w)
{
    free(w->memory);
    fixture_free(w->f);
}

#endif
