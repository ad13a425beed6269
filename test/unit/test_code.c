/* core/code.c: instructions as the processor's manual has them, and the calls of this very program. */
#include "core/code.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { BASE = 0x1000, MEMORY = 1024 };

static uint8_t memory[MEMORY];

static bool read_memory(void *ctx, uint64_t address, void *to, size_t n)
{
    (void)ctx;
    if (address < BASE || address - BASE > MEMORY - n)
        return false;
    memcpy(to, memory + (address - BASE), n);
    return true;
}

/* What the call is of whose n bytes end at BASE + 0x100; ~0 if that is no call. */
static uint64_t call(const char *bytes, size_t n)
{
    uint64_t target = 1;

    memset(memory, 0x90, 0x100);
    memcpy(memory + 0x100 - n, bytes, n);
    return cw_code_is_behind_call(read_memory, NULL, BASE + 0x100, &target) ? target : ~UINT64_C(0);
}
#define CALL(bytes) call(bytes, sizeof(bytes) - 1)

static void test_calls(void **state)
{
    (void)state;
    memset(memory, 0x90, sizeof memory);
    assert_int_equal(CALL("\xe8\x00\x01\x00\x00"), BASE + 0x200);
    assert_int_equal(CALL("\xe8\x80\xff\xff\xff"), BASE + 0x80);
    assert_int_equal(CALL("\xff\xd0"), 0);                     /* call *%rax */
    assert_int_equal(CALL("\x41\xff\xd4"), 0);                 /* call *%r12 */
    assert_int_equal(CALL("\xff\x53\x18"), 0);                 /* call *0x18(%rbx) */
    assert_int_equal(CALL("\xff\x14\x24"), 0);                 /* call *(%rsp) */
    assert_int_equal(CALL("\xff\x94\x24\x00\x01\x00\x00"), 0); /* call *0x100(%rsp) */
    assert_int_equal(CALL("\xff\x14\xc5\x00\x10\x00\x00"), 0); /* call *0x1000(,%rax,8) */
    assert_int_equal(CALL("\xff\xe0"), ~UINT64_C(0));          /* jmp *%rax */
    assert_int_equal(CALL("\x48\x89\xc7"), ~UINT64_C(0));
    assert_int_equal(CALL("\xe9\x00\x01\x00\x00"), ~UINT64_C(0));
    assert_int_equal(CALL("\xc3"), ~UINT64_C(0));
    uint64_t target;
    assert_false(cw_code_is_behind_call(read_memory, NULL, 4, &target));
    assert_false(cw_code_is_behind_call(read_memory, NULL, BASE + 4, &target));
}

static void put(size_t at, const char *bytes, size_t n)
{
    memcpy(memory + at, bytes, n);
}
#define PUT(at, bytes) put(at, bytes, sizeof(bytes) - 1)

static void test_through_memory(void **state)
{
    (void)state;
    static const uint64_t slot = 0x123456789abc;

    memset(memory, 0x90, sizeof memory);
    memcpy(memory + 0x300, &slot, sizeof slot);
    assert_int_equal(CALL("\xff\x15\x00\x02\x00\x00"), slot); /* call *0x200(%rip) */
    PUT(0x200, "\xff\x25\xfa\x00\x00\x00");                   /* jmp *0xfa(%rip) */
    assert_int_equal(CALL("\xe8\x00\x01\x00\x00"), slot);
    PUT(0x200, "\xf3\x0f\x1e\xfa\xff\x25\xf6\x00\x00\x00"); /* endbr64; jmp */
    assert_int_equal(CALL("\xe8\x00\x01\x00\x00"), slot);
    PUT(0x200, "\xf3\x0f\x1e\xfa\xf2\xff\x25\xf5\x00\x00\x00"); /* endbr64; bnd jmp */
    assert_int_equal(CALL("\xe8\x00\x01\x00\x00"), slot);
    PUT(0x200, "\xff\x25\x00\x00\xff\x7f"); /* a slot that is not there */
    assert_int_equal(CALL("\xe8\x00\x01\x00\x00"), BASE + 0x200);
    assert_int_equal(CALL("\xff\x15\x00\x00\xff\x7f"), ~UINT64_C(0));
}

static void test_jumps(void **state)
{
    (void)state;
    memset(memory, 0x90, sizeof memory);
    assert_false(cw_code_jumps_to(read_memory, NULL, BASE, 0x100, BASE + 0x200));
    PUT(0x10, "\xe9\xeb\x01\x00\x00");
    assert_true(cw_code_jumps_to(read_memory, NULL, BASE, 0x100, BASE + 0x200));
    assert_false(cw_code_jumps_to(read_memory, NULL, BASE, 0x100, BASE + 0x201));
    assert_false(cw_code_jumps_to(read_memory, NULL, BASE, 0x14, BASE + 0x200)); /* cut in its middle */
    assert_false(cw_code_jumps_to(read_memory, NULL, 0, 0x100, BASE + 0x200));
    memset(memory, 0x90, sizeof memory);
    PUT(0x10, "\x0f\x84\xea\x01\x00\x00"); /* je */
    assert_true(cw_code_jumps_to(read_memory, NULL, BASE, 0x100, BASE + 0x200));
    memset(memory, 0x90, sizeof memory);
    PUT(0x80, "\xeb\x7e");
    assert_true(cw_code_jumps_to(read_memory, NULL, BASE, 0x100, BASE + 0x100));
    PUT(0x80, "\x75\x80"); /* jne, backwards */
    assert_true(cw_code_jumps_to(read_memory, NULL, BASE, 0x100, BASE + 2));
}

static bool read_own(void *ctx, uint64_t address, void *to, size_t n)
{
    (void)ctx;
    memcpy(to, (const void *)(uintptr_t)address, n);
    return true;
}

static uint64_t own_target;

static bool __attribute__((noinline)) called_directly(void)
{
    return cw_code_is_behind_call(read_own, NULL, (uint64_t)(uintptr_t)__builtin_return_address(0), &own_target);
}

static void test_own_calls(void **state)
{
    (void)state;
    bool (*volatile pointer)(void) = called_directly;

    assert_true(called_directly());
    assert_int_equal(own_target, (uint64_t)(uintptr_t)called_directly);
    assert_true(pointer());
    assert_int_equal(own_target, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_through_memory),
        cmocka_unit_test(test_jumps),
        cmocka_unit_test(test_own_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
