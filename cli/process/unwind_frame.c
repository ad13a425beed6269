#include "cli/process/unwind_frame.h"

#include <dwarf.h>

enum { SP = CW_SNAPSHOT_SP, PC = CW_SNAPSHOT_PC, FP = CW_SNAPSHOT_FRAME };

/* Of a register in a mask; 0 of one that nobody keeps. */
static uint64_t bit(uint64_t number)
{
    return number < CW_SNAPSHOT_REGISTERS ? UINT64_C(1) << number : 0;
}

struct expression {
    cw_code_read read;
    void *ctx;
    const struct cw_unwind_registers *registers;
    uint64_t cfa, stack[8];
    unsigned depth;
    bool bad, is_value; /* is_value: the result is the value itself, not where it lies */
};

static void push(struct expression *e, uint64_t value)
{
    if (e->depth == sizeof e->stack / sizeof *e->stack)
        e->bad = true;
    else
        e->stack[e->depth++] = value;
}

static uint64_t pop(struct expression *e)
{
    e->bad |= e->depth == 0;
    return e->depth ? e->stack[--e->depth] : 0;
}

static uint64_t register_value(struct expression *e, uint64_t number)
{
    e->bad |= !(e->registers->known & bit(number));
    return e->bad ? 0 : e->registers->value[number];
}

static void calculate(struct expression *e, uint8_t operation)
{
    uint64_t b = pop(e), a = pop(e);

    switch (operation) {
    case DW_OP_plus:
        push(e, a + b);
        return;
    case DW_OP_minus:
        push(e, a - b);
        return;
    case DW_OP_and:
        push(e, a & b);
        return;
    case DW_OP_shl:
        push(e, b < 64 ? a << b : 0);
        return;
    default:
        push(e, (int64_t)a >= (int64_t)b);
        return;
    }
}

static void apply_other(struct expression *e, const Dwarf_Op *op)
{
    uint64_t address, value = 0;

    switch (op->atom) {
    case DW_OP_bregx:
        push(e, register_value(e, op->number) + op->number2);
        return;
    case DW_OP_regx:
        push(e, register_value(e, op->number));
        e->is_value = true;
        return;
    case DW_OP_call_frame_cfa:
        push(e, e->cfa);
        return;
    case DW_OP_plus_uconst:
        push(e, pop(e) + op->number);
        return;
    case DW_OP_deref:
        address = pop(e);
        e->bad |= !e->read(e->ctx, address, &value, sizeof value);
        push(e, value);
        return;
    case DW_OP_stack_value:
        e->is_value = true;
        return;
    case DW_OP_plus:
    case DW_OP_minus:
    case DW_OP_and:
    case DW_OP_shl:
    case DW_OP_ge:
        calculate(e, op->atom);
        return;
    default:
        e->bad = true;
        return;
    }
}

/* The operations that compilers, linkers and assembler writers put into tables. */
static void apply(struct expression *e, const Dwarf_Op *op)
{
    if (op->atom >= DW_OP_breg0 && op->atom <= DW_OP_breg31) {
        push(e, register_value(e, op->atom - DW_OP_breg0) + op->number);
    } else if (op->atom >= DW_OP_reg0 && op->atom <= DW_OP_reg31) {
        push(e, register_value(e, op->atom - DW_OP_reg0));
        e->is_value = true;
    } else if (op->atom >= DW_OP_lit0 && op->atom <= DW_OP_lit31) {
        push(e, op->atom - DW_OP_lit0);
    } else if (op->atom >= DW_OP_const1u && op->atom <= DW_OP_consts) {
        push(e, op->number);
    } else {
        apply_other(e, op);
    }
}

static bool evaluate(struct expression *e, const Dwarf_Op *ops, size_t n, uint64_t *ret)
{
    e->depth = 0;
    e->bad = e->is_value = false;
    for (size_t i = 0; i < n && !e->bad; i++)
        apply(e, &ops[i]);
    *ret = pop(e);
    return !e->bad;
}

static bool same_in_caller(unsigned number)
{
    return number == 3 || number == FP || number >= 12; /* rbx, rbp, r12 to r15: the callee gives them back */
}

int cw_unwind_frame(Dwarf_Frame *frame, cw_code_read read, void *ctx, struct cw_unwind_registers *registers,
                    bool *ret_frame_pointer)
{
    struct cw_unwind_registers caller = {.known = 0};
    struct expression e = {.read = read, .ctx = ctx, .registers = registers};
    Dwarf_Op *ops, memory[3];
    size_t n;

    if (dwarf_frame_cfa(frame, &ops, &n) || !n)
        return -1;
    if (!evaluate(&e, ops, n, &e.cfa)) {
        *ret_frame_pointer = n == 1 && ops->atom == DW_OP_breg6 && !(registers->known & bit(FP));
        return -1;
    }
    for (unsigned i = 0; i < CW_SNAPSHOT_REGISTERS; i++) {
        uint64_t value;
        if (dwarf_frame_register(frame, (int)i, memory, &ops, &n))
            continue;
        if (!n) { /* the same, or undefined: which of both, libdw says by the pointer */
            if (i == PC && ops)
                return 0;
            if (!ops && same_in_caller(i) && (registers->known & bit(i))) {
                caller.value[i] = registers->value[i];
                caller.known |= (uint32_t)bit(i);
            }
            continue;
        }
        if (!evaluate(&e, ops, n, &value) || (!e.is_value && !read(ctx, value, &value, sizeof value)))
            continue;
        caller.value[i] = value;
        caller.known |= (uint32_t)bit(i);
    }
    caller.value[SP] = e.cfa;
    caller.known |= (uint32_t)bit(SP);
    if (!(caller.known & bit(PC)))
        return -1;
    *registers = caller;
    return caller.value[PC] != 0;
}
