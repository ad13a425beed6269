/* Unwind rules out of .eh_frame. See cfi.h. Numbers and names: DWARF 5, section 6.4; LSB Core, "Exception Frames". */
#include "preload/cfi.h"

#include <dwarf.h>
#include <string.h>

enum { PE_ABSPTR = 0, PE_UDATA4 = 3, PE_UDATA8 = 4, PE_SDATA4 = 11, PE_SDATA8 = 12, PE_PCREL = 0x10, PE_OMIT = 0xff };
enum { HDR_TABLE = 0x3b /* relative to the header, sdata4 */ };
enum { OP_GNU_ARGS_SIZE = 0x2e };
enum { REG_BP = 6, REG_SP = 7, REG_RA = 16 };
#define REMEMBERED_MAX 8

/* Reads inside one object only. After the first read that would leave it, ok is false and everything reads as 0. */
struct reader {
    uintptr_t at, end;
    bool ok;
};

static uint64_t take(struct reader *r, unsigned bytes)
{
    uint64_t value = 0;
    if (!r->ok || r->end - r->at < bytes) {
        r->ok = false;
        return 0;
    }
    memcpy(&value, (const void *)r->at, bytes);
    r->at += bytes;
    return value;
}

static uint64_t take_uleb(struct reader *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint64_t byte = take(r, 1);
        if (shift < 64)
            value |= (byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return value;
    }
}

static int64_t take_sleb(struct reader *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0;;) {
        uint64_t byte = take(r, 1);
        if (shift < 64)
            value |= (byte & 0x7f) << shift;
        shift += 7;
        if (byte & 0x80)
            continue;
        if (shift < 64 && byte & 0x40)
            value |= ~UINT64_C(0) << shift;
        return (int64_t)value;
    }
}

/* A pointer of an FDE; the forms that linkers emit. */
static uint64_t take_pointer(struct reader *r, unsigned encoding)
{
    uintptr_t base = (encoding & 0x70) == PE_PCREL ? r->at : 0;
    if ((encoding & 0x70) != PE_PCREL && (encoding & 0x70) != 0)
        r->ok = false;
    switch (encoding & 0x0f) {
    case PE_ABSPTR:
    case PE_UDATA8:
    case PE_SDATA8:
        return base + take(r, 8);
    case PE_UDATA4:
        return base + take(r, 4);
    case PE_SDATA4:
        return base + (uint64_t)(int64_t)(int32_t)take(r, 4);
    default:
        r->ok = false;
        return 0;
    }
}

static struct reader reader_at(const struct cw_object *object, uintptr_t at)
{
    return (struct reader){.at = at, .end = object->end, .ok = at >= object->start && at < object->end};
}

/* --- from an address to its FDE --- */

/* .eh_frame_hdr: version, three encodings, pointer to .eh_frame, count, then the table sorted by address. 0 if none. */
static uintptr_t find_fde(const struct cw_object *object, uintptr_t pc)
{
    uintptr_t header = object->eh_frame_hdr;
    struct reader r = reader_at(object, header);
    unsigned version = (unsigned)take(&r, 1), pointer = (unsigned)take(&r, 1), count = (unsigned)take(&r, 1);
    unsigned table = (unsigned)take(&r, 1);
    if (!r.ok || version != 1 || count != PE_UDATA4 || table != HDR_TABLE || pointer == PE_OMIT)
        return 0;
    take_pointer(&r, pointer);
    uint64_t n = take(&r, 4);
    if (!r.ok || n == 0 || n > (r.end - r.at) / 8)
        return 0;
    const int32_t *rows = (const int32_t *)r.at; /* pairs: first address, FDE; both relative to the header */
    int64_t want = (int64_t)(pc - header);
    if (want < rows[0])
        return 0;
    uint64_t low = 0, high = n; /* rows[low] <= want < rows[high] */
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (rows[2 * middle] <= want)
            low = middle;
        else
            high = middle;
    }
    return header + (uintptr_t)(int64_t)rows[2 * low + 1];
}

struct cie {
    uint64_t code_align;
    int64_t data_align;
    uint64_t ra_register;
    unsigned pointer_encoding;
    bool augmented;        /* FDEs have an augmentation block */
    struct reader program; /* the instructions that come before each FDE's own */
};

/* Opens a CIE or FDE: *r is left behind its length, ending where it ends. */
static bool open_entry(struct reader *r)
{
    uint64_t bytes = take(r, 4);
    if (bytes == 0xffffffff)
        bytes = take(r, 8);
    if (!r->ok || bytes == 0 || bytes > r->end - r->at)
        return false;
    r->end = r->at + bytes;
    return true;
}

static bool read_cie(const struct cw_object *object, uintptr_t at, struct cie *ret_cie)
{
    struct reader r = reader_at(object, at);
    if (!open_entry(&r) || take(&r, 4) != 0)
        return false;
    unsigned version = (unsigned)take(&r, 1);
    char augmentation[8] = "";
    for (unsigned i = 0;; i++) {
        char c = (char)take(&r, 1);
        if (c == 0)
            break;
        if (i == sizeof augmentation - 1)
            return false;
        augmentation[i] = c;
    }
    ret_cie->code_align = take_uleb(&r);
    ret_cie->data_align = take_sleb(&r);
    ret_cie->ra_register = version == 1 ? take(&r, 1) : take_uleb(&r);
    ret_cie->pointer_encoding = PE_ABSPTR;
    ret_cie->augmented = augmentation[0] == 'z';
    uintptr_t program = r.at;
    if (ret_cie->augmented) {
        uint64_t bytes = take_uleb(&r);
        if (!r.ok || bytes > r.end - r.at)
            return false;
        program = r.at + bytes;
    } else if (augmentation[0]) {
        return false;
    }
    for (const char *c = augmentation + ret_cie->augmented; *c; c++) {
        if (*c == 'R')
            ret_cie->pointer_encoding = (unsigned)take(&r, 1);
        else if (*c == 'P') { /* a personality routine: its encoding, then the pointer, which nobody here needs */
            unsigned encoding = (unsigned)take(&r, 1);
            take_pointer(&r, encoding & 0x7f);
        } else if (*c == 'L')
            take(&r, 1);
        else /* 'S': a signal handler's frame; others: unknown */
            return false;
    }
    ret_cie->program = (struct reader){.at = program, .end = r.end, .ok = true};
    return r.ok && (version == 1 || version == 3);
}

/* --- the instructions --- */

struct state {
    bool cfa_known; /* false: an expression that is not understood */
    bool cfa_deref;
    uint64_t cfa_register;
    int64_t cfa_offset;
    enum cw_bp_rule bp;
    int64_t bp_offset;
    bool ra_usual; /* in the word below the CFA */
};

struct machine {
    struct reader r;
    const struct cie *cie;
    struct state now, initial, remembered[REMEMBERED_MAX];
    unsigned n_remembered;
};

static void set_offset(struct state *s, uint64_t reg, int64_t offset)
{
    if (reg == REG_BP) {
        s->bp = CW_BP_AT_CFA;
        s->bp_offset = offset;
    } else if (reg == REG_RA) {
        s->ra_usual = offset == -8;
    }
}

static void set_unknown(struct state *s, uint64_t reg)
{
    if (reg == REG_BP)
        s->bp = CW_BP_UNKNOWN;
    else if (reg == REG_RA || reg == REG_SP)
        s->ra_usual = false;
}

static void restore(struct machine *m, uint64_t reg)
{
    if (reg == REG_BP) {
        m->now.bp = m->initial.bp;
        m->now.bp_offset = m->initial.bp_offset;
    } else if (reg == REG_RA) {
        m->now.ra_usual = m->initial.ra_usual;
    }
}

/* The two expressions that compilers emit for frames that realign the stack: the word at rbp + n holds the CFA
 * (deref), or the caller's rbp is in the word at rbp + n. Anything else returns false. The block is consumed either
 * way. */
static bool take_bp_expression(struct reader *r, bool deref, int64_t *ret_offset)
{
    uint64_t bytes = take_uleb(r);
    if (!r->ok || bytes > r->end - r->at) {
        r->ok = false;
        return false;
    }
    struct reader block = {.at = r->at, .end = r->at + bytes, .ok = true};
    r->at += bytes;
    if (take(&block, 1) != DW_OP_breg6)
        return false;
    *ret_offset = take_sleb(&block);
    if (deref && take(&block, 1) != DW_OP_deref)
        return false;
    return block.ok && block.at == block.end;
}

static void define_cfa(struct machine *m, unsigned op)
{
    struct state *s = &m->now;
    if (op == DW_CFA_def_cfa_expression) {
        s->cfa_known = s->cfa_deref = take_bp_expression(&m->r, true, &s->cfa_offset);
        return;
    }
    if (op != DW_CFA_def_cfa_offset && op != DW_CFA_def_cfa_offset_sf)
        s->cfa_register = take_uleb(&m->r);
    if (op == DW_CFA_def_cfa || op == DW_CFA_def_cfa_offset)
        s->cfa_offset = (int64_t)take_uleb(&m->r);
    else if (op == DW_CFA_def_cfa_sf || op == DW_CFA_def_cfa_offset_sf)
        s->cfa_offset = take_sleb(&m->r) * m->cie->data_align;
    s->cfa_known = true;
    s->cfa_deref = false;
}

/* Rules for one register. */
static void define_register(struct machine *m, unsigned op)
{
    uint64_t reg = take_uleb(&m->r);
    switch (op) {
    case DW_CFA_offset_extended:
        set_offset(&m->now, reg, (int64_t)take_uleb(&m->r) * m->cie->data_align);
        return;
    case DW_CFA_offset_extended_sf:
        set_offset(&m->now, reg, take_sleb(&m->r) * m->cie->data_align);
        return;
    case DW_CFA_restore_extended:
        restore(m, reg);
        return;
    case DW_CFA_same_value:
        if (reg == REG_BP)
            m->now.bp = CW_BP_SAME;
        else
            set_unknown(&m->now, reg);
        return;
    case DW_CFA_expression: {
        int64_t offset;
        set_unknown(&m->now, reg);
        if (take_bp_expression(&m->r, false, &offset) && reg == REG_BP) {
            m->now.bp = CW_BP_AT_BP;
            m->now.bp_offset = offset;
        }
        return;
    }
    case DW_CFA_val_expression: {
        uint64_t bytes = take_uleb(&m->r);
        m->r.ok = m->r.ok && bytes <= m->r.end - m->r.at;
        m->r.at += m->r.ok ? bytes : 0;
        break;
    }
    case DW_CFA_register:
    case DW_CFA_val_offset:
    case DW_CFA_val_offset_sf: /* the same bytes, as far as skipping goes */
        take_uleb(&m->r);
        break;
    default: /* DW_CFA_undefined */
        break;
    }
    set_unknown(&m->now, reg);
}

#define BIT(op) (UINT32_C(1) << (op))
#define CFA_OPS                                                                                                        \
    (BIT(DW_CFA_def_cfa) | BIT(DW_CFA_def_cfa_sf) | BIT(DW_CFA_def_cfa_register) | BIT(DW_CFA_def_cfa_offset) |        \
     BIT(DW_CFA_def_cfa_offset_sf) | BIT(DW_CFA_def_cfa_expression))
#define REGISTER_OPS                                                                                                   \
    (BIT(DW_CFA_offset_extended) | BIT(DW_CFA_offset_extended_sf) | BIT(DW_CFA_restore_extended) |                     \
     BIT(DW_CFA_undefined) | BIT(DW_CFA_same_value) | BIT(DW_CFA_register) | BIT(DW_CFA_expression) |                  \
     BIT(DW_CFA_val_offset) | BIT(DW_CFA_val_offset_sf) | BIT(DW_CFA_val_expression))

/* Runs until the rules for `pc` stand, `*location` being where the program begins. False: not understood. */
static bool run(struct machine *m, uintptr_t *location, uintptr_t pc)
{
    while (m->r.ok && m->r.at < m->r.end) {
        unsigned op = (unsigned)take(&m->r, 1), low = op & 0x3f;
        uint64_t advance = 0;
        switch (op & 0xc0 ? op & 0xc0 : op) {
        case DW_CFA_advance_loc:
            advance = low;
            break;
        case DW_CFA_advance_loc1:
            advance = take(&m->r, 1);
            break;
        case DW_CFA_advance_loc2:
            advance = take(&m->r, 2);
            break;
        case DW_CFA_advance_loc4:
            advance = take(&m->r, 4);
            break;
        case DW_CFA_offset:
            set_offset(&m->now, low, (int64_t)take_uleb(&m->r) * m->cie->data_align);
            break;
        case DW_CFA_restore:
            restore(m, low);
            break;
        case DW_CFA_nop:
            break;
        case OP_GNU_ARGS_SIZE:
            take_uleb(&m->r);
            break;
        case DW_CFA_remember_state:
            if (m->n_remembered == REMEMBERED_MAX)
                return false;
            m->remembered[m->n_remembered++] = m->now;
            break;
        case DW_CFA_restore_state:
            if (m->n_remembered == 0)
                return false;
            m->now = m->remembered[--m->n_remembered];
            break;
        default:
            if (op < 32 && CFA_OPS >> op & 1)
                define_cfa(m, op);
            else if (op < 32 && REGISTER_OPS >> op & 1)
                define_register(m, op);
            else
                return false;
            break;
        }
        *location += advance * m->cie->code_align;
        if (*location > pc)
            return m->r.ok;
    }
    return m->r.ok;
}

bool cw_cfi_find(const struct cw_object *object, uintptr_t pc, struct cw_cfi_rule *ret_rule)
{
    uintptr_t at = object->eh_frame_hdr ? find_fde(object, pc) : 0;
    struct reader r = reader_at(object, at);
    if (!at || !open_entry(&r))
        return false;
    uintptr_t id_at = r.at;
    uint64_t to_cie = take(&r, 4); /* backwards, from this very word */
    struct cie cie;
    if (!r.ok || to_cie == 0 || to_cie > id_at - object->start || !read_cie(object, id_at - to_cie, &cie))
        return false;
    uintptr_t first = take_pointer(&r, cie.pointer_encoding);
    uint64_t bytes = take_pointer(&r, cie.pointer_encoding & 0x0f);
    if (!r.ok || pc < first || pc - first >= bytes || cie.ra_register != REG_RA)
        return false;
    if (cie.augmented) {
        uint64_t skip = take_uleb(&r);
        if (!r.ok || skip > r.end - r.at)
            return false;
        r.at += skip;
    }
    struct machine m = {.r = cie.program, .cie = &cie, .now = {.bp = CW_BP_SAME}};
    uintptr_t location = 0;
    if (!run(&m, &location, UINTPTR_MAX))
        return false;
    m.initial = m.now;
    m.r = r;
    location = first;
    if (!run(&m, &location, pc) || !m.now.cfa_known || !m.now.ra_usual)
        return false;
    if (!m.now.cfa_deref && m.now.cfa_register != REG_SP && m.now.cfa_register != REG_BP)
        return false;
    *ret_rule = (struct cw_cfi_rule){.cfa = m.now.cfa_deref                ? CW_CFA_BP_DEREF
                                            : m.now.cfa_register == REG_SP ? CW_CFA_SP
                                                                           : CW_CFA_BP,
                                     .bp = m.now.bp,
                                     .cfa_offset = m.now.cfa_offset,
                                     .bp_offset = m.now.bp_offset};
    return true;
}
