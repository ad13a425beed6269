/* The stack recorder: captures compared with glibc's own backtrace(), the fence, the ration, forks, unloaded code. */
#define _GNU_SOURCE
#include "core/stacks.h"
#include "preload/memo.h"
#include "preload/sys.h"
#include "test/support/stack_harness.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* Every malloc of the process is counted: a capture makes none. */
static unsigned long mallocs;
#if !HARNESS_SANITIZED
extern void *__libc_malloc(size_t bytes);
__attribute__((visibility("default"))) void *malloc(size_t bytes);
void *malloc(size_t bytes)
{
    __atomic_fetch_add(&mallocs, 1, __ATOMIC_RELAXED);
    return __libc_malloc(bytes);
}
#endif

struct truth {
    uint32_t id;
    int n; /* frames of backtrace(), the hook's own left out */
    void *ip[80];
};

static __attribute__((noinline)) void hook(struct truth *ret)
{
    struct cw_site site = CW_SITE();
    ret->id = cw_stack_capture(&site);
    void *all[80];
    int n = backtrace(all, 80), first = 0;
    while (first < n && (uintptr_t)all[first] != site.ra)
        first++;
    ret->n = n - first;
    memcpy(ret->ip, all + first, (size_t)ret->n * sizeof *all);
}

static __attribute__((noinline)) void descend(unsigned depth, struct truth *ret)
{
    char pad[32];
    __asm__ volatile("" ::"r"(pad) : "memory");
    if (depth)
        descend(depth - 1, ret);
    else
        hook(ret);
    __asm__ volatile("" ::"r"(pad) : "memory");
}

static __attribute__((noinline)) void descend_otherwise(unsigned depth, struct truth *ret)
{
    if (depth)
        descend_otherwise(depth - 1, ret);
    else
        hook(ret);
    __asm__ volatile("" ::: "memory");
}

/* The ledger's frames against glibc's. */
static void assert_frames(const struct truth *truth, unsigned max)
{
    uintptr_t ip[CW_STACK_MAX_FRAMES];
    unsigned flags, n = harness_frames(truth->id, ip, &flags);
    assert_true(truth->n > 0);
    unsigned want = (unsigned)truth->n < max ? (unsigned)truth->n : max;
    assert_int_equal(n, want);
    assert_int_equal(flags, (unsigned)truth->n > max ? CW_STACK_TRUNCATED : 0);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(ip[i], (uintptr_t)truth->ip[i]);
}

static uint64_t counter(enum cw_counter which)
{
    return CW_P->view.header->counters[which];
}

static unsigned open_fds(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += cw_sys(SYS_fcntl, fd, F_GETFD) >= 0;
    return n;
}

static void test_frames_and_ids(void **state)
{
    struct truth first, again, other;
    (void)state;
    unsigned fds = open_fds();
    for (unsigned depth = 0; depth < 28; depth++) {
        descend(depth, &first);
        assert_frames(&first, 32);
        errno = 4711;
        for (int i = 0; i < 3; i++) {
            unsigned long before = mallocs;
            descend(depth, &again);
            assert_int_equal(mallocs, before);
            assert_int_equal(errno, 4711);
            assert_frames(&again, 32);
        }
        /* Same call site, other path. */
        descend_otherwise(depth, &other);
        assert_frames(&other, 32);
        assert_true(other.id != first.id);
    }
    assert_int_equal(open_fds(), fds);
    assert_true(HARNESS_SANITIZED || harness_counts.fenced > 0);
}

static void test_truncated(void **state)
{
    struct truth truth;
    (void)state;
    for (int i = 0; i < 2; i++) {
        descend(50, &truth);
        assert_frames(&truth, 32);
    }
}

static __attribute__((noinline)) uint32_t memo_only(bool capture)
{
    struct cw_site site = CW_SITE();
    if (capture)
        return cw_stack_capture(&site);
    return cw_memo_find(&site, cw_static.main_stack_end, CW_P->epoch);
}

/* A repeated path does not come to the unwinder again: the memo knows it, under the same id. */
static void test_memo_knows(void **state)
{
    uint32_t id[3];
    (void)state;
    cw_stack_code_unloaded();
    for (volatile int i = 0; i < 3; i++) /* one call site: no unrolling */
        id[i] = memo_only(i == 1);
    assert_int_equal(id[0], 0);
    assert_true(id[1] != 0);
    assert_int_equal(id[2], id[1]);
}

/* In a forked child with a ledger of its own a known path gets a new id with the same frames, unwalked. */
static void test_fork(void **state)
{
    struct truth before, after;
    (void)state;
    uintptr_t want[CW_STACK_MAX_FRAMES], ip[CW_STACK_MAX_FRAMES];
    struct truth *out[] = {&before, &after};
    unsigned n = 0;
    for (volatile int i = 0; i < 2; i++) { /* one call site: no unrolling */
        pid_t pid = i ? fork() : 0;
        if (i && pid) {
            int status;
            assert_int_equal(waitpid(pid, &status, 0), pid);
            assert_int_equal(status, 0);
            break;
        }
        if (i) {
            cw_stack_forked(true); /* libunwind is out of bounds: a walk would be libgcc's */
            harness_new_ledger();
        }
        unsigned long fenced = harness_counts.fenced;
        hook(out[i]);
        if (i) {
            unsigned m = harness_frames(after.id, ip, NULL);
            _exit(m == n && memcmp(ip, want, n * sizeof *ip) == 0 && harness_counts.fenced == fenced && after.id ? 0
                                                                                                                 : 1);
        }
        n = harness_frames(before.id, want, NULL);
    }
}

/* What cannot be recorded is counted, is not an error, and is remembered as such. */
static void test_ledger_full(void **state)
{
    struct truth truth;
    (void)state;
    uint64_t full = counter(CW_COUNTER_table_full);
    cw_stack_code_unloaded();
    harness_full = true;
    for (int i = 0; i < 3; i++) {
        descend(3, &truth);
        assert_int_equal(truth.id, 0);
    }
    harness_full = false;
    assert_true(counter(CW_COUNTER_table_full) >= full + 3);
    cw_stack_code_unloaded();
    descend(3, &truth);
    assert_frames(&truth, 32);
}

/* --- signal stacks --- */

static struct truth in_handler;
static void handler(int sig)
{
    (void)sig;
    hook(&in_handler);
}

static __attribute__((noinline)) void tiny_hook(void)
{
    struct cw_site site = CW_SITE();
    in_handler.id = cw_stack_capture(&site);
}
static void tiny_handler(int sig)
{
    (void)sig;
    tiny_hook();
}

/* bytes of signal stack with an inaccessible page below: overrunning it is a crash. */
static void on_signal_stack(size_t bytes, void (*act)(int))
{
    char *low = mmap(NULL, bytes + 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(low != MAP_FAILED && mprotect(low + 4096, bytes, PROT_READ | PROT_WRITE) == 0);
    stack_t stack = {.ss_sp = low + 4096, .ss_size = bytes}, before;
    struct sigaction action = {.sa_handler = act, .sa_flags = SA_ONSTACK}, old;
    assert_int_equal(sigaltstack(&stack, &before), 0);
    assert_int_equal(sigaction(SIGUSR1, &action, &old), 0);
    in_handler.id = 0;
    assert_int_equal(raise(SIGUSR1), 0);
    sigaction(SIGUSR1, &old, NULL);
    sigaltstack(&before, NULL);
    munmap(low, bytes + 4096);
    assert_true(in_handler.id != 0);
}

static void test_signal_stacks(void **state)
{
    uintptr_t ip[CW_STACK_MAX_FRAMES];
    unsigned flags;
    (void)state;
    on_signal_stack(65536, handler);
    assert_frames(&in_handler, 32);
    /* Too small for libunwind, not for libgcc; too small for either. The kernel's own frame takes up to 4 KiB of it. */
    on_signal_stack(16384, tiny_handler);
    assert_true(harness_frames(in_handler.id, ip, &flags) > 4);
    on_signal_stack(8192, tiny_handler);
    assert_true(harness_frames(in_handler.id, ip, &flags) >= 1);
    assert_int_equal(flags, CW_STACK_CALLER_ONLY);
}

/* --- threads --- */

static void *thread_main(void *data)
{
    struct truth *truth = data;
    for (int i = 0; i < 300; i++)
        descend((unsigned)i % 20, &truth[i % 20]);
    return NULL;
}

static void test_threads(void **state)
{
    static struct truth truth[4][20];
    pthread_t thread[4];
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, thread_main, truth[i]), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 20; k++) {
            assert_frames(&truth[i][k], 32);
            assert_int_equal(truth[i][k].id, truth[0][k].id);
        }
}

/* Children forked while other threads are inside libunwind: none may hang. */
static uint32_t stop;
static void *unwinding(void *data)
{
    struct truth truth;
    (void)data;
    for (unsigned i = 0; !CW_GET(stop); i++) {
        cw_stack_code_unloaded();
        descend(i % 20, &truth);
    }
    return NULL;
}

static void test_fork_of_threads(void **state)
{
    pthread_t thread[2];
    (void)state;
    CW_SET(stop, 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, unwinding, NULL), 0);
    for (int i = 0; i < 200; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            struct truth truth;
            alarm(20);
            cw_stack_forked(true);
            harness_new_ledger();
            cw_stack_code_unloaded();
            descend(5, &truth);
            uintptr_t ip[CW_STACK_MAX_FRAMES];
            _exit(harness_frames(truth.id, ip, NULL) >= 1 ? 0 : 1);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
    CW_SET(stop, 1);
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
}

/* --- modules and unloading --- */

static int build_id_of(struct dl_phdr_info *info, size_t size, void *data);

static void test_modules(void **state)
{
    struct truth truth;
    (void)state;
    descend(1, &truth);
    const uint64_t *frames;
    unsigned n = cw_view_stack(&CW_P->view, truth.id, &frames, NULL);
    bool libc = false;
    for (unsigned i = 0; i < n; i++) {
        const struct cw_module *module = cw_view_module(&CW_P->view, CW_FRAME_MODULE(frames[i]));
        assert_non_null(module);
        Dl_info info;
        assert_true(dladdr(truth.ip[i], &info) != 0);
        assert_int_equal(module->load, (uintptr_t)info.dli_fbase);
        const char *path = cw_view_string(&CW_P->view, module->path);
        assert_int_equal(path[0], '/');
        assert_int_equal(access(path, R_OK), 0);
        assert_int_equal(module->build_id_len, 20);
        libc |= module->kind == CW_MODULE_LIBC;
        assert_int_equal(module->flags, 1);
        assert_true(module->kind != CW_MODULE_SHIM);
        assert_int_equal(dl_iterate_phdr(build_id_of, (void *)(uintptr_t)module), 1);
    }
    assert_true(libc);
    assert_int_equal(cw_view_module(&CW_P->view, CW_FRAME_MODULE(frames[0]))->kind, CW_MODULE_MAIN);
}

/* 1 if the loader's notes of the object at this load address have the build-id that the record has. */
static int build_id_of(struct dl_phdr_info *info, size_t size, void *data)
{
    const struct cw_module *module = data;
    (void)size;
    for (int i = 0; info->dlpi_addr == module->load && i < info->dlpi_phnum; i++) {
        const char *at = (const char *)info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        if (info->dlpi_phdr[i].p_type == PT_NOTE && memmem(at, info->dlpi_phdr[i].p_memsz, module->build_id, 20))
            return 1;
    }
    return 0;
}

/* A library comes, is on a stack, goes: its record says so, and when it comes again it gets a new one. */
static void test_unload(void **state)
{
    uintptr_t ip[CW_STACK_MAX_FRAMES];
    (void)state;
    uint32_t module[2];
    for (int i = 0; i < 2; i++) {
        void *library = dlopen("libBrokenLocale.so.1", RTLD_NOW | RTLD_LOCAL);
        assert_non_null(library);
        /* Any address in it serves as a caller's. */
        struct cw_site site = {
            .ra = (uintptr_t)dlsym(library, "__ctype_get_mb_cur_max") + 1, .ra_at = (uintptr_t)ip, .rbp = 0};
        uint32_t id = cw_stack_capture(&site);
        const uint64_t *frames;
        unsigned flags;
        assert_int_equal(cw_view_stack(&CW_P->view, id, &frames, &flags), 1);
        assert_int_equal(flags, CW_STACK_CALLER_ONLY);
        module[i] = CW_FRAME_MODULE(frames[0]);
        assert_non_null(
            strstr(cw_view_string(&CW_P->view, CW_P->view.modules[module[i]].path), "libBrokenLocale.so.1"));
        assert_int_equal(CW_P->view.modules[module[i]].flags, 1);
        assert_int_equal(dlclose(library), 0);
        cw_stack_code_unloaded();
        assert_int_equal(CW_P->view.modules[module[i]].flags, 3);
    }
    assert_true(module[0] != module[1]);
}

/* --- the guard --- */

/* A handler has jumped out of the unwinder: the guard is noticed to be stale, and libunwind is not entered again. */
static void test_stale_guard(void **state)
{
    struct truth truth;
    (void)state;
    cw_tls.guard = (uintptr_t)__builtin_frame_address(0) + 65536;
    assert_true(cw_stack_guarded());
    cw_tls.guard = (uintptr_t)__builtin_frame_address(0) - 65536;
    assert_false(cw_stack_guarded());
    assert_int_equal(cw_tls.guard, 0);
    unsigned long fenced = harness_counts.fenced;
    uint64_t rationed;
    do { /* tests before this one may have used the ration up */
        rationed = counter(CW_COUNTER_stacks_rationed);
        cw_stack_code_unloaded();
        descend(7, &truth);
    } while (counter(CW_COUNTER_stacks_rationed) != rationed);
    assert_frames(&truth, 32);
    assert_int_equal(harness_counts.fenced, fenced);
}

/* New paths without end: the ration is used up, and the rest is counted and has its caller. */
static void test_ration(void **state)
{
    struct truth truth = {.id = 0};
    uintptr_t ip[CW_STACK_MAX_FRAMES];
    unsigned flags = 0;
    (void)state;
    uint64_t before = counter(CW_COUNTER_stacks_rationed);
    for (int i = 0; i < 100000 && counter(CW_COUNTER_stacks_rationed) == before; i++) {
        cw_stack_code_unloaded();
        descend(0, &truth);
    }
    assert_int_equal(counter(CW_COUNTER_stacks_rationed), before + 1);
    assert_int_equal(harness_frames(truth.id, ip, &flags), 1);
    assert_int_equal(flags, CW_STACK_CALLER_ONLY);
    /* And time brings more. */
    struct timespec started, now;
    clock_gettime(CLOCK_MONOTONIC, &started);
    do {
        cw_stack_code_unloaded();
        descend(0, &truth);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (harness_frames(truth.id, ip, &flags) == 1 && now.tv_sec - started.tv_sec < 10);
    assert_int_equal(flags, 0);
}

static int setup(void **state)
{
    void *first[4];
    (void)state;
    backtrace(first, 4); /* loads libgcc_s, with malloc */
    harness_begin(32, CW_UNWINDER_LIBUNWIND);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames_and_ids), cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_memo_knows),     cmocka_unit_test(test_fork),
        cmocka_unit_test(test_ledger_full),    cmocka_unit_test(test_signal_stacks),
        cmocka_unit_test(test_threads),        cmocka_unit_test(test_modules),
        cmocka_unit_test(test_unload),         cmocka_unit_test(test_fork_of_threads),
        cmocka_unit_test(test_stale_guard),    cmocka_unit_test(test_ration),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
