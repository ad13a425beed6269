/* The parts under the stack recorder: objects found two ways, unwind rules against walks, the fence's answers,
 * fibers. */
#define _GNU_SOURCE
#include "preload/cfi.h"
#include "preload/memo.h"
#include "preload/sys.h"
#include "preload/unwind.h"
#include "test/support/stack_harness.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>

/* --- objects --- */

struct seen {
    unsigned n;
    uintptr_t pc[64];
    struct cw_object object[64];
};

static int take_code(struct dl_phdr_info *info, size_t size, void *data)
{
    struct seen *seen = data;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum && seen->n < 64; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD && (info->dlpi_phdr[i].p_flags & PF_X)) {
            seen->pc[seen->n++] = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz / 2;
            break;
        }
    return 0;
}

/* With and without _dl_find_object the answers are the same. */
static void test_objects_two_ways(void **state)
{
    struct seen seen = {.n = 0};
    (void)state;
    dl_iterate_phdr(take_code, &seen);
    assert_true(seen.n >= 4); /* program, libc, loader, vdso */
    for (unsigned i = 0; i < seen.n; i++)
        assert_true(cw_objects_find(seen.pc[i], &seen.object[i]));
    cw_objects_init(true);
    for (unsigned i = 0; i < seen.n; i++) {
        struct cw_object by_maps, *by_loader = &seen.object[i];
        assert_true(cw_objects_find(seen.pc[i], &by_maps));
        assert_int_equal(by_maps.start, by_loader->start);
        assert_int_equal(by_maps.load, by_loader->load);
        assert_int_equal(by_maps.eh_frame_hdr, by_loader->eh_frame_hdr);
        assert_int_equal(by_maps.dynamic, by_loader->dynamic);
    }
    /* A library that comes later is found by a new look; what is no code of an object is not found. */
    struct cw_object object;
    void *library = dlopen("libBrokenLocale.so.1", RTLD_NOW | RTLD_LOCAL);
    uintptr_t in_it = library ? (uintptr_t)dlsym(library, "__ctype_get_mb_cur_max") : 0;
    assert_true(in_it != 0);
    cw_objects_changed();
    assert_true(cw_objects_find(in_it, &object));
    assert_non_null(strstr(object.name, "libBrokenLocale"));
    assert_false(cw_objects_find((uintptr_t)&object, &object));
    dlclose(library);
    cw_objects_init(false);
    assert_false(cw_objects_find((uintptr_t)&object, &object));
}

static void test_readable(void **state)
{
    (void)state;
    char *page = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(page != MAP_FAILED && mprotect(page + 4096, 4096, PROT_NONE) == 0);
    assert_true(cw_objects_readable((uintptr_t)page));
    assert_true(cw_objects_readable((uintptr_t)page + 4095));
    assert_false(cw_objects_readable((uintptr_t)page + 4096));
    munmap(page, 8192);
    assert_false(cw_objects_readable((uintptr_t)page));
    assert_false(cw_objects_readable(0));
    assert_false(cw_objects_readable(UINT64_C(0x8000000000000000)));
}

/* Most of libc and the program has rules that the memo understands, and they never lead outside the object. */
static void test_rules(void **state)
{
    struct seen seen = {.n = 0};
    (void)state;
    dl_iterate_phdr(take_code, &seen);
    for (unsigned i = 0; i < seen.n; i++) {
        struct cw_object object;
        struct cw_cfi_rule rule;
        unsigned asked = 0, known = 0;
        assert_true(cw_objects_find(seen.pc[i], &object));
        for (uintptr_t pc = object.start; pc < object.end; pc += 61) {
            asked++;
            if (!cw_cfi_find(&object, pc, &rule))
                continue;
            known++;
            assert_true(rule.cfa != CW_CFA_SP || rule.cfa_offset >= 8);
            assert_true(rule.bp != CW_BP_AT_CFA || rule.bp_offset <= -16);
        }
        assert_true(!strstr(object.name, "libc.so") || known > asked / 3);
    }
}

/* Through the kernel: past holes, and past what a sanitizer has put between variables. */
static void copy_page(char *to, uintptr_t from)
{
    struct iovec here = {.iov_base = to, .iov_len = 4096}, there = {.iov_base = (void *)from, .iov_len = 4096};
    cw_sys(SYS_process_vm_readv, getpid(), &here, 1, &there, 1, 0);
}

/* Damaged tables: never a read outside the object, which ends at an inaccessible page. */
static void test_damaged_rules(void **state)
{
    struct cw_object object;
    struct cw_cfi_rule rule;
    (void)state;
    assert_true(cw_objects_find((uintptr_t)&test_damaged_rules, &object));
    size_t bytes = (object.end - object.start + 4095) & ~(size_t)4095;
    char *copy = mmap(NULL, bytes + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(copy != MAP_FAILED && mprotect(copy + 4096, bytes, PROT_READ | PROT_WRITE) == 0);
    struct cw_object damaged = {.start = (uintptr_t)copy + 4096, .end = (uintptr_t)copy + 4096 + bytes};
    damaged.load = damaged.start;
    damaged.eh_frame_hdr = damaged.start + (object.eh_frame_hdr - object.start);
    uint32_t seed = 4242;
    unsigned known = 0;
    for (unsigned round = 0; round < 400; round++) {
        for (uintptr_t page = object.start; page < object.end; page += 4096)
            copy_page(copy + 4096 + (page - object.start), page);
        /* Scribble over the tables, which follow the header. */
        for (unsigned i = 0; i < 64 && round; i++) {
            seed = seed * 1664525u + 1013904223u;
            uintptr_t at = damaged.eh_frame_hdr + seed % 8192;
            if (at < damaged.end)
                *(unsigned char *)at = (unsigned char)(seed >> 24);
        }
        for (uintptr_t pc = damaged.start; pc < damaged.end; pc += 97)
            known += cw_cfi_find(&damaged, pc, &rule);
    }
    assert_true(known > 0);
    munmap(copy, bytes + 8192);
}

/* --- the fence --- */

static void test_fence(void **state)
{
    int fake[2], own[2];
    char byte = 'x';
    (void)state;
    assert_int_equal(cw_sys(SYS_pipe2, own, 0), 0);
    assert_int_equal(cw_fence_pipe2(fake, 0), 0);
    assert_true(fake[0] > 1 << 30 && fake[1] > 1 << 30);
    assert_int_equal(cw_fence_read(fake[0], &byte, 1), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(cw_fence_syscall(SYS_write, fake[1], (long)&byte, 1, 0, 0, 0), 1);
    assert_int_equal(cw_fence_syscall(SYS_write, fake[1], 4096, 1, 0, 0, 0), -1);
    assert_int_equal(errno, EFAULT);
    /* The program's own numbers: nothing is read out of them, written into them or closed. */
    assert_int_equal(cw_sys(SYS_write, own[1], "ab", 2), 2);
    assert_int_equal(cw_fence_read(own[0], &byte, 1), -1);
    assert_int_equal(cw_fence_write(own[1], &byte, 1), 1);
    assert_int_equal(cw_fence_close(own[0]), 0);
    assert_int_equal(cw_fence_syscall(SYS_close, own[1], 0, 0, 0, 0, 0), 0);
    char both[4];
    assert_int_equal(cw_sys(SYS_read, own[0], both, 4), 2);
    assert_memory_equal(both, "ab", 2);
    /* What libunwind does not ask goes on to the kernel, with libc's manners. */
    assert_int_equal(cw_fence_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0), getpid());
    assert_int_equal(cw_fence_syscall(SYS_dup, -1, 0, 0, 0, 0, 0), -1);
    assert_int_equal(errno, EBADF);
    cw_sys(SYS_close, own[0]);
    cw_sys(SYS_close, own[1]);
}

static uintptr_t shown_load;
static int shown(struct dl_phdr_info *info, size_t size, void *data)
{
    struct cw_object *want = data;
    assert_true(size >= offsetof(struct dl_phdr_info, dlpi_phnum) + sizeof info->dlpi_phnum);
    shown_load = info->dlpi_addr;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_GNU_EH_FRAME)
            assert_int_equal(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr, want->eh_frame_hdr);
    return 7;
}

static void test_fence_shows_one_object(void **state)
{
    struct cw_object object;
    int result = 0;
    (void)state;
    uintptr_t pc = (uintptr_t)&strlen + 1;
    assert_true(cw_objects_find(pc, &object));
    cw_fence_expect(pc);
    assert_int_equal(cw_fence_dl_iterate_phdr(shown, &object, &result), 1);
    assert_int_equal(result, 7);
    assert_int_equal(shown_load, object.load);
    cw_fence_expect((uintptr_t)&object); /* no code */
    assert_int_equal(cw_fence_dl_iterate_phdr(shown, &object, &result), 1);
    assert_int_equal(result, 0);
}

/* --- fibers --- */

static ucontext_t fiber, back;
static uint32_t fiber_id;
static unsigned fiber_kind;

static __attribute__((noinline)) void hook(void)
{
    struct cw_site site = CW_SITE();
    fiber_id = cw_stack_capture(&site);
}

static __attribute__((noinline)) void shallow(void)
{
    hook();
    __asm__ volatile("" ::: "memory");
}

static __attribute__((noinline)) void deep(unsigned depth)
{
    if (depth)
        deep(depth - 1);
    else
        hook();
    __asm__ volatile("" ::: "memory");
}

static void fiber_main(void)
{
    if (fiber_kind)
        deep(fiber_kind);
    else
        shallow();
}

/* One stack after another at the same address, of different size, with nothing mapped above: what the memo knows of
 * one must not make it read beyond the end of the next. */
static void test_fibers(void **state)
{
    uintptr_t ip[CW_STACK_MAX_FRAMES];
    unsigned frames[8] = {0};
    (void)state;
    char *area = mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(area != MAP_FAILED);
    for (unsigned round = 0; round < 400; round++) {
        size_t bytes = 40960 + 4096 * (round * 7 % 5);
        fiber_kind = round * 5 % 8;
        assert_int_equal(mprotect(area, 1 << 20, PROT_NONE), 0);
        assert_int_equal(mprotect(area + 4096, bytes, PROT_READ | PROT_WRITE), 0);
        getcontext(&fiber);
        fiber.uc_stack.ss_sp = area + 4096;
        fiber.uc_stack.ss_size = bytes;
        fiber.uc_link = &back;
        makecontext(&fiber, fiber_main, 0);
        fiber_id = 0;
        assert_int_equal(swapcontext(&back, &fiber), 0);
        unsigned n = harness_frames(fiber_id, ip, NULL);
        assert_true(n > fiber_kind + 1);
        if (frames[fiber_kind])
            assert_int_equal(n, frames[fiber_kind]);
        frames[fiber_kind] = n;
    }
    munmap(area, 1 << 20);
}

static int setup(void **state)
{
    (void)state;
    harness_begin(32, CW_UNWINDER_LIBUNWIND);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_objects_two_ways),
        cmocka_unit_test(test_readable),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_damaged_rules),
        cmocka_unit_test(test_fence),
        cmocka_unit_test(test_fence_shows_one_object),
        cmocka_unit_test(test_fibers),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
