/* Tries to refute the verified stack memo: threads run random programs over functions with every kind of frame
 * (fixed, with frame pointer, of variable size, realigned, using rbp for data), so that different paths meet at the
 * same place and depth all the time. Whenever the memo knows a path, its frames are compared with a walk made there
 * and then; one difference is a refutation. A memo without the rbp part runs along and must be fooled: otherwise the
 * programs would prove nothing. */
#define _GNU_SOURCE
#include "preload/memo.h"
#include "test/support/stack_harness.h"

#include <alloca.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#define THREADS 3
#define PROGRAMS (HARNESS_SANITIZED ? 6000 : 60000)
#define LENGTH_MAX 6
#define NAIVE_KEYS 65536

#ifdef __clang__
#define WITH_POINTER
#else
#define WITH_POINTER __attribute__((optimize("no-omit-frame-pointer")))
#endif

struct program {
    unsigned n;
    struct {
        unsigned function, bytes;
    } call[LENGTH_MAX];
};

static unsigned long hits, misses, kept, refuted, naive_hits, naive_fooled;
static uint32_t epoch = 1;

/* What a memo keyed by address and depth alone, comparing return addresses, would hold. One thread's. */
struct naive {
    uintptr_t ra, depth;
    unsigned n;
    uintptr_t place[CW_STACK_MAX_FRAMES], ip[CW_STACK_MAX_FRAMES];
};
static struct naive *naive_memo;
static __thread bool with_naive;

static void count(unsigned long *which)
{
    __atomic_fetch_add(which, 1, __ATOMIC_RELAXED);
}

static bool same_path(const struct cw_memo_path *path, const struct cw_walk *walk)
{
    return path->n == walk->n && memcmp(path->ip, walk->ip, walk->n * sizeof *walk->ip) == 0;
}

static __attribute__((no_sanitize("address"))) void try_naive(const struct cw_site *site, uintptr_t end,
                                                              const struct cw_walk *walk)
{
    uintptr_t depth = end - site->ra_at;
    struct naive *naive = &naive_memo[(site->ra * 31 + depth * 7) / 4 % NAIVE_KEYS];
    if (naive->ra == site->ra && naive->depth == depth) {
        bool all = true;
        for (unsigned i = 0; i < naive->n && all; i++)
            all = *(const volatile uintptr_t *)(site->ra_at + naive->place[i]) == naive->ip[i];
        if (all) {
            count(&naive_hits);
            if (naive->n != walk->n || memcmp(naive->ip, walk->ip, walk->n * sizeof *walk->ip) != 0)
                count(&naive_fooled);
            return;
        }
    }
    *naive = (struct naive){.ra = site->ra, .depth = depth, .n = walk->n};
    for (unsigned i = 0; i < walk->n; i++) {
        naive->place[i] = walk->at[i] - site->ra_at;
        naive->ip[i] = walk->ip[i];
    }
}

static uintptr_t end_of_stack(void)
{
    return (uintptr_t)pthread_self(); /* glibc keeps a thread's descriptor at the top of its stack */
}

static __attribute__((noinline)) void check(const struct cw_site *site)
{
    struct cw_walk walk = {.site = site, .max = CW_STACK_MAX_FRAMES};
    struct cw_memo_path path;
    uintptr_t end = end_of_stack();
    uint32_t id = cw_memo_find(site, end, CW_GET(epoch));
    bool known = cw_memo_recall(site, end, &path);
    cw_walker_libgcc.walk(&walk);
    if (known) {
        count(&hits);
        if (!same_path(&path, &walk) && __atomic_fetch_add(&refuted, 1, __ATOMIC_RELAXED) < 5)
            fprintf(stderr, "refuted: id %u, %u frames remembered, %u walked\n", id, path.n, walk.n);
    } else {
        count(&misses);
        if (cw_memo_put(&walk, end, CW_GET(epoch), 1 + (uint32_t)walk.n))
            count(&kept);
    }
    if (with_naive)
        try_naive(site, end, &walk);
}

static __attribute__((noinline)) void leaf(void)
{
    struct cw_site site = CW_SITE();
    check(&site);
    __asm__ volatile("" ::: "memory");
}

static void run(const struct program *program, unsigned at);

/* --- frames of every kind; the barrier after a call keeps it from becoming a jump --- */

#define FUNCTIONS(X) X(small) X(large) X(pointed) X(variable) X(variable_too) X(realigned) X(busy) X(pushing)

static __attribute__((noinline)) void small(const struct program *program, unsigned at)
{
    run(program, at);
    __asm__ volatile("" ::: "memory");
}

static __attribute__((noinline)) void large(const struct program *program, unsigned at)
{
    char local[176];
    __asm__ volatile("" ::"r"(local) : "memory");
    run(program, at);
    __asm__ volatile("" ::"r"(local) : "memory");
}

static __attribute__((noinline)) WITH_POINTER void pointed(const struct program *program, unsigned at)
{
    char local[64];
    __asm__ volatile("" ::"r"(local) : "memory");
    run(program, at);
    __asm__ volatile("" ::"r"(local) : "memory");
}

static __attribute__((noinline)) void variable(const struct program *program, unsigned at)
{
    char *local = alloca(program->call[at - 1].bytes);
    __asm__ volatile("" ::"r"(local) : "memory");
    run(program, at);
    __asm__ volatile("" ::"r"(local) : "memory");
}

static __attribute__((noinline)) void variable_too(const struct program *program, unsigned at)
{
    char fixed[48], *local = alloca(program->call[at - 1].bytes);
    __asm__ volatile("" ::"r"(local), "r"(fixed) : "memory");
    run(program, at);
    __asm__ volatile("" ::"r"(local), "r"(fixed) : "memory");
}

static __attribute__((noinline)) void realigned(const struct program *program, unsigned at)
{
    _Alignas(64) char local[64];
    __asm__ volatile("" ::"r"(local) : "memory");
    run(program, at);
    __asm__ volatile("" ::"r"(local) : "memory");
}

/* Seven values live across the call: rbp is one of the registers that hold them. */
static __attribute__((noinline)) void busy(const struct program *program, unsigned at)
{
    unsigned long a = at, b = program->n, c = program->call[0].bytes, d = (unsigned long)(uintptr_t)program, e = a * b,
                  f = c + d;
    __asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f));
    run(program, at);
    __asm__ volatile("" ::"r"(a), "r"(b), "r"(c), "r"(d), "r"(e), "r"(f));
}

static __attribute__((noinline)) void with_ten(long a, long b, long c, long d, long e, long f,
                                               const struct program *program, long g, long h, unsigned at)
{
    __asm__ volatile("" ::"r"(a + b + c + d + e + f + g + h));
    run(program, at);
    __asm__ volatile("" ::: "memory");
}

/* Arguments on the stack: the distance to the return address changes within the function. */
static __attribute__((noinline)) void pushing(const struct program *program, unsigned at)
{
    if (program->call[at - 1].bytes & 16)
        with_ten(1, 2, 3, 4, 5, 6, program, 7, 8, at);
    else
        run(program, at);
    __asm__ volatile("" ::: "memory");
}

static __attribute__((noinline)) void run(const struct program *program, unsigned at)
{
    static void (*const functions[])(const struct program *, unsigned) = {
#define X(name) name,
        FUNCTIONS(X)
#undef X
    };
    if (at == program->n)
        leaf();
    else
        functions[program->call[at].function](program, at + 1);
    __asm__ volatile("" ::: "memory");
}

static uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static void on_timer(int sig)
{
    (void)sig;
    leaf(); /* in the middle of anything, a put included */
}

static void *thread_main(void *data)
{
    uint32_t seed = 12345 + (uint32_t)(uintptr_t)data * 7919;
    with_naive = (uintptr_t)data == 0;
    for (int i = 0; i < PROGRAMS; i++) {
        struct program program = {.n = 1 + next_random(&seed) % LENGTH_MAX};
        for (unsigned k = 0; k < program.n; k++) {
            program.call[k].function = next_random(&seed) >> 8 & 7;
            program.call[k].bytes = 16 * (next_random(&seed) >> 8 & 7);
        }
        if ((next_random(&seed) & 0xfff) == 0)
            cw_memo_forget();
        run(&program, 0);
        /* Now and then a short one, which the memo will have seen. */
        program.n = 1 + (unsigned)i % 2;
        run(&program, 0);
    }
    return NULL;
}

int main(void)
{
    pthread_t thread[THREADS];
    harness_begin(CW_STACK_MAX_FRAMES, CW_UNWINDER_LIBGCC);
    naive_memo = calloc(NAIVE_KEYS, sizeof *naive_memo);
    if (!naive_memo)
        return 1;
    struct sigaction action = {.sa_handler = on_timer, .sa_flags = SA_RESTART};
    struct itimerval each = {{0, 700}, {0, 700}};
    sigaction(SIGPROF, &action, NULL);
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&thread[i], NULL, thread_main, (void *)i) != 0)
            return 1;
    sigset_t mask; /* the timer is for the threads: this one's stack ends elsewhere */
    sigemptyset(&mask);
    sigaddset(&mask, SIGPROF);
    pthread_sigmask(SIG_BLOCK, &mask, NULL);
    setitimer(ITIMER_PROF, &each, NULL);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    printf("%lu paths known, %lu not (%lu of them kept), %lu refuted; without rbp: %lu known, %lu wrong\n", hits,
           misses, kept, refuted, naive_hits, naive_fooled);
    if (refuted || hits < PROGRAMS || kept < misses / 2 || naive_fooled == 0) {
        fprintf(stderr, "%s\n", refuted ? "the memo was wrong" : "the test has not tried hard enough");
        return 1;
    }
    return 0;
}
