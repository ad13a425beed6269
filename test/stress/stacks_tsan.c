/* Many threads put the same and different stacks into one table at once: each content has one id for all of them,
 * each id its content, and ThreadSanitizer has nothing to say. */
#include "core/stacks.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 6
#define ROUNDS 30000
#define PATHS 1500u
#define STACK_WORDS (1u << 18)
#define PLACES 4096u

static struct cw_view view;
static uint32_t ids[THREADS][PATHS];
static unsigned long reserved, wrong;

static int reserve(enum cw_section_id section, uint32_t first, uint32_t n)
{
    (void)section;
    (void)first;
    __atomic_fetch_add(&reserved, n, __ATOMIC_RELAXED);
    return 0;
}

/* Path p's frames: a function of p alone. */
static unsigned frames_of(uint32_t p, uint64_t *ret_frames)
{
    unsigned n = 1 + p % 20;
    for (unsigned i = 0; i < n; i++)
        ret_frames[i] = CW_FRAME(1 + (p + i) % 7, 4096 + (uint64_t)p * 131 + i * 16);
    return n;
}

static bool holds(uint32_t id, uint32_t p)
{
    uint64_t want[CW_STACK_MAX_FRAMES];
    const uint64_t *frames;
    unsigned n = frames_of(p, want);
    return cw_view_stack(&view, id, &frames, NULL) == n && memcmp(frames, want, n * sizeof *want) == 0;
}

static void *thread_main(void *data)
{
    uintptr_t self = (uintptr_t)data;
    uint32_t seed = 99 + (uint32_t)self;
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t frames[CW_STACK_MAX_FRAMES];
        seed = seed * 1664525u + 1013904223u;
        uint32_t p = (seed >> 8) % PATHS;
        uint32_t id = cw_stacks_intern(&view, frames, frames_of(p, frames), 0, reserve);
        /* Read back at once, while others write: an id that was handed out is finished. */
        if (id == 0 || (ids[self][p] && ids[self][p] != id) || !holds(id, p))
            __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
        ids[self][p] = id;
    }
    return NULL;
}

int main(void)
{
    pthread_t thread[THREADS];
    char *memory = calloc(1, CW_LEDGER_HEADER_BYTES + PLACES * sizeof(uint32_t) + STACK_WORDS * sizeof(uint64_t));
    if (!memory)
        return 1;
    view = (struct cw_view){.header = (struct cw_ledger *)(void *)memory,
                            .stacks = (uint64_t *)(void *)(memory + CW_LEDGER_HEADER_BYTES + PLACES * sizeof(uint32_t)),
                            .n_stacks = STACK_WORDS};
    view.header->sections[CW_SECTION_STACK_INDEX].offset = CW_LEDGER_HEADER_BYTES;
    view.header->sections[CW_SECTION_STACK_INDEX].capacity = PLACES;
    view.header->sections[CW_SECTION_STACKS].used = 1;
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&thread[i], NULL, thread_main, (void *)i) != 0)
            return 1;
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    unsigned shared = 0;
    for (uint32_t p = 0; p < PATHS; p++) {
        uint32_t id = 0;
        for (unsigned i = 0; i < THREADS; i++) {
            if (id && ids[i][p] && ids[i][p] != id)
                wrong++;
            shared += id && ids[i][p];
            id = ids[i][p] ? ids[i][p] : id;
        }
        for (uint32_t q = 0; q < p; q++)
            wrong += id && ids[0][q] == id;
    }
    printf("%u paths seen by several threads, %lu records reserved, %lu wrong\n", shared, reserved, wrong);
    free(memory);
    return wrong || shared < PATHS ? 1 : 0;
}
