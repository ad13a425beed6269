/* The stack of our own. */
#include "preload/own_stack.h"

#include "preload/state.h"

/* Some 5 KB are used where a child renders the report, more where that must be done in the process; pages never touched
 * cost nothing. */
#define BYTES 131072u

static _Alignas(4096) unsigned char stack[BYTES];

/* fn(arg) with the stack pointer at `top`. The frame pointer leads back, so that it can be unwound. */
void cw_own_stack_switch(void (*fn)(void *), void *arg, void *top);

__asm__(".text\n"
        ".globl cw_own_stack_switch\n"
        ".hidden cw_own_stack_switch\n"
        ".type cw_own_stack_switch, @function\n"
        "cw_own_stack_switch:\n"
        "    .cfi_startproc\n"
        "    endbr64\n"
        "    pushq %rbp\n"
        "    .cfi_def_cfa_offset 16\n"
        "    .cfi_offset %rbp, -16\n"
        "    movq %rsp, %rbp\n"
        "    .cfi_def_cfa_register %rbp\n"
        "    movq %rdx, %rsp\n"
        "    movq %rdi, %rax\n"
        "    movq %rsi, %rdi\n"
        "    callq *%rax\n"
        "    movq %rbp, %rsp\n"
        "    popq %rbp\n"
        "    .cfi_def_cfa %rsp, 8\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".size cw_own_stack_switch, . - cw_own_stack_switch\n");

void cw_own_stack_call(void (*fn)(void *), void *arg)
{
    uint32_t nobody = 0;
    /* On the process page: a forked child finds its copy of the stack free. */
    if (!__atomic_compare_exchange_n(&CW_P->own_stack, &nobody, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        fn(arg);
        return;
    }
    cw_own_stack_switch(fn, arg, stack + sizeof stack);
    __atomic_store_n(&CW_P->own_stack, 0, __ATOMIC_RELEASE);
}
