/* core/diagnose.c, core/diagnosis_*.c on a hostile ledger: any bytes at all in every record. */
#define _GNU_SOURCE /* POLLRDHUP */
#include "test/unit/makers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1103515245 + 12345;
    return *seed >> 16;
}

static void fill(void *memory, size_t n, uint32_t *seed)
{
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)memory)[i] = (unsigned char)next_random(seed);
}

/* A reference to a thread as it would be, as far as its generation goes. */
static uint32_t thread_of(const struct cw_view *view, uint32_t index)
{
    return index | (index < view->n_threads ? view->threads[index].generation << 16 : 0);
}

/* Any bytes at all in every record: always one diagnosis, nothing read outside (run it under a sanitizer). */
static void test_hostile(void **state)
{
    (void)state;
    uint32_t seed = 7, found[CW_DIAGNOSIS_COUNT] = {0};

    for (unsigned round = 0; round < 400; round++) {
        struct world w;
        world_new(&w, next_random(&seed) << 16);
        struct cw_view *view = &w.f->view;
        fill(w.f->header.counters, sizeof(w.f->header.counters), &seed);
        fill(view->threads, view->n_threads * sizeof(*view->threads), &seed);
        fill(view->sets, view->n_sets * sizeof(*view->sets), &seed);
        for (uint32_t i = 0; i < view->n_threads; i++)
            view->threads[i].exit_ms = i % 2 ? 0 : view->threads[i].exit_ms;
        fill(view->forks, view->n_forks * sizeof(*view->forks), &seed);
        for (uint32_t i = 0; i < view->n_forks; i++) {
            uint32_t n = (uint32_t)w.f->header.counters[CW_COUNTER_forks];
            view->forks[i].seq = n - (n - i) % FIXTURE_FORKS; /* where it belongs, if the capacity is right */
            view->forks[i].thread = thread_of(view, next_random(&seed) % 32);
        }
        fill(view->modules, view->n_modules * sizeof(*view->modules), &seed);
        fill(view->stacks, 512 * sizeof(*view->stacks), &seed);
        w.f->header.sections[CW_SECTION_THREADS].used = round % 3 ? UINT32_MAX : next_random(&seed);
        w.f->header.sections[CW_SECTION_CONNS].used = UINT32_MAX;
        w.f->header.sections[CW_SECTION_FORKS].capacity = round % 4 == 0 ? FIXTURE_FORKS
                                                          : round % 2    ? UINT32_MAX
                                                                         : next_random(&seed) % 64;
        for (uint32_t i = 1; i < view->n_conns; i++) {
            fill(&view->conns[i], sizeof(view->conns[i]), &seed);
            view->conns[i].flags |= CW_CONN_IN_USE;
            view->conns[i].origin = (uint8_t)(next_random(&seed) % (round % 2 ? CW_ORIGIN_COUNT : 256));
            view->conns[i].flags &= round % 4 ? next_random(&seed) | CW_CONN_IN_USE : UINT32_MAX;
            view->conns[i].touch_thread = thread_of(view, next_random(&seed) % 32);
            view->conns[i].open_thread = thread_of(view, next_random(&seed) % 32);
            view->conns[i].k_live %= 8;
            if (next_random(&seed) % 2)
                view->conns[i].in_first_ms = view->conns[i].out_first_ms = view->conns[i].event_ms = 0;
            view->conns[i].touch_stack %= 1024;
            view->conns[i].fork_seq = (uint32_t)w.f->header.counters[CW_COUNTER_forks] - next_random(&seed) % 100;
        }
        for (uint32_t i = 1; i < view->n_conns; i++) {
            w.conn = &view->conns[i];
            struct cw_facts facts = world_facts(&w);
            enum cw_diagnosis_id id = cw_diagnose(&facts);
            assert_true(id < CW_DIAGNOSIS_COUNT && cw_diagnoses[id].holds(&facts));
            for (unsigned k = 0; k < CW_DIAGNOSIS_COUNT; k++)
                cw_decide((enum cw_diagnosis_id)k, &facts);
            found[id]++;
        }
        world_free(&w);
    }
    for (unsigned i = 0; i < CW_DIAGNOSIS_COUNT; i++)
        print_message("%s %u, ", cw_diagnoses[i].id, found[i]);
    print_message("\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_hostile)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
