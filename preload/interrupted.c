/* The stack of interrupted code, by the unwind tables and checked reads alone. */
#define _GNU_SOURCE
#include "preload/interrupted.h"

#include "preload/cfi.h"
#include "preload/kernel.h"

#include <errno.h>
#include <string.h>
#include <sys/ucontext.h>

void cw_interrupted_take(const void *ucontext, struct cw_interrupted *ret)
{
    const greg_t *regs = ((const ucontext_t *)ucontext)->uc_mcontext.gregs;
    *ret = (struct cw_interrupted){
        .ip = (uintptr_t)regs[REG_RIP],
        .sp = (uintptr_t)regs[REG_RSP],
        .bp = (uintptr_t)regs[REG_RBP],
        .result = regs[REG_RAX],
        .args = {(uint64_t)regs[REG_RDI], (uint64_t)regs[REG_RSI], (uint64_t)regs[REG_RDX], (uint64_t)regs[REG_R10],
                 (uint64_t)regs[REG_R8], (uint64_t)regs[REG_R9]},
    };
}

static bool word_at(uintptr_t at, uintptr_t *ret)
{
    return at % sizeof *ret == 0 && cw_kernel_peek(ret, (const void *)at, sizeof *ret);
}

struct frame {
    uintptr_t pc, sp, bp; /* pc: in the instruction that is being executed */
    bool bp_known;
};

/* To the caller's frame; false at the end, or where the tables do not say. */
static bool step(struct frame *frame, uintptr_t *ret_return)
{
    struct cw_object object;
    struct cw_cfi_rule rule;
    if (!cw_objects_find(frame->pc, &object) || !cw_cfi_find(&object, frame->pc, &rule))
        return false;
    if (rule.cfa != CW_CFA_SP && !frame->bp_known)
        return false;
    uintptr_t cfa = (rule.cfa == CW_CFA_SP ? frame->sp : frame->bp) + (uintptr_t)rule.cfa_offset;
    if (rule.cfa == CW_CFA_BP_DEREF && !word_at(cfa, &cfa))
        return false;
    if (cfa <= frame->sp || !word_at(cfa - 8, ret_return) || *ret_return == 0)
        return false;
    uintptr_t bp = frame->bp;
    if (rule.bp == CW_BP_AT_CFA)
        frame->bp_known = word_at(cfa + (uintptr_t)rule.bp_offset, &bp);
    else if (rule.bp == CW_BP_AT_BP)
        frame->bp_known = frame->bp_known && word_at(frame->bp + (uintptr_t)rule.bp_offset, &bp);
    else if (rule.bp == CW_BP_UNKNOWN)
        frame->bp_known = false;
    frame->bp = bp;
    frame->sp = cfa;
    frame->pc = *ret_return - 1;
    return true;
}

unsigned cw_interrupted_frames(const struct cw_interrupted *at, uintptr_t *ret_ip, unsigned max, bool *ret_truncated)
{
    struct frame frame = {.pc = at->ip, .sp = at->sp, .bp = at->bp, .bp_known = true};
    unsigned n = 0;
    uintptr_t next = at->ip + 1; /* readers take one off: a return address may lie behind its function */
    bool more = max > 0;

    while (more && n < max) {
        ret_ip[n++] = next;
        more = step(&frame, &next);
    }
    *ret_truncated = more;
    return n;
}

/* "mov $nr, %eax; syscall": what a wrapper makes its call with. */
static bool number_before(uintptr_t syscall_at, int *ret)
{
    unsigned char code[5];
    if (!cw_kernel_peek(code, (const void *)(syscall_at - sizeof code), sizeof code) || code[0] != 0xB8)
        return false;
    memcpy(ret, code + 1, sizeof *ret);
    return *ret >= 0 && *ret <= INT16_MAX;
}

bool cw_interrupted_call(const struct cw_interrupted *at, struct cw_task_call *ret, int *ret_error)
{
    static const unsigned char syscall_code[2] = {0x0F, 0x05};
    unsigned char code[2];
    int nr = -1;

    *ret_error = 0;
    /* SA_RESTART: the kernel leads back to the instruction itself, with the number in its place (arch/x86, handle_signal). */
    if (cw_kernel_peek(code, (const void *)at->ip, sizeof code) && memcmp(code, syscall_code, sizeof code) == 0 &&
        at->result >= 0 && at->result <= INT16_MAX) {
        nr = (int)at->result;
    } else if (at->result == -EINTR && cw_kernel_peek(code, (const void *)(at->ip - 2), sizeof code) &&
               memcmp(code, syscall_code, sizeof code) == 0) {
        if (!number_before(at->ip - 2, &nr))
            *ret_error = EINTR;
    }
    if (nr < 0)
        return false;
    *ret = (struct cw_task_call){.nr = nr, .sp = at->sp, .pc = at->ip};
    memcpy(ret->args, at->args, sizeof ret->args);
    return true;
}
