/* The ledger's geometry: how many records each section holds, and where it lies. */
#include "preload/ledger_parts.h"

const uint32_t cw_section_strides[CW_SECTION_COUNT] = {
#define CW_X(name, type) [CW_SECTION_##name] = (uint32_t)sizeof(type),
    CW_SECTIONS(CW_X)
#undef CW_X
};

/* Sections that do not follow the fd limit, largest first. STACK_INDEX must stay a power of two (it is a hash), THREADS
 * below 65,536 (a thread reference has 16 bits for the index). */
static const struct level {
    uint32_t slots; /* at most */
    uint32_t conns; /* more than slots: sockets closed late, sockets without an fd */
    uint32_t threads, sets, forks, index, stacks, modules, strings;
} levels[CW_SHAPE_LEVELS] = {
    {1u << 20, 16384, 32768, 4096, 1024, 65536, 1u << 20, 4096, 1u << 20},
    {1u << 17, 16384, 32768, 4096, 1024, 65536, 1u << 20, 4096, 1u << 20},
    {1u << 15, 8192, 16384, 4096, 1024, 65536, 1u << 19, 4096, 1u << 19},
    {1u << 13, 2048, 4096, 1024, 512, 16384, 1u << 17, 1024, 1u << 17},
    {1u << 11, 512, 1024, 256, 256, 4096, 1u << 15, 512, 1u << 16},
    {1u << 10, 256, 256, 64, 64, 1024, 1u << 13, 256, 1u << 15},
};

void cw_shape_make(struct cw_ledger_shape *ret_shape, uint32_t fd_limit, unsigned level)
{
    const struct level *row = &levels[level < CW_SHAPE_LEVELS ? level : CW_SHAPE_LEVELS - 1];
    uint32_t slots = fd_limit < 1024 ? 1024 : fd_limit;
    if (slots > row->slots)
        slots = row->slots;

    ret_shape->capacity[CW_SECTION_SLOTS] = slots;
    ret_shape->capacity[CW_SECTION_CONNS] = slots + row->conns;
    ret_shape->capacity[CW_SECTION_THREADS] = row->threads;
    ret_shape->capacity[CW_SECTION_SETS] = row->sets;
    ret_shape->capacity[CW_SECTION_FORKS] = row->forks;
    ret_shape->capacity[CW_SECTION_STACK_INDEX] = row->index;
    ret_shape->capacity[CW_SECTION_STACKS] = row->stacks;
    ret_shape->capacity[CW_SECTION_MODULES] = row->modules;
    ret_shape->capacity[CW_SECTION_STRINGS] = row->strings;

    uint64_t at = CW_LEDGER_HEADER_BYTES;
    for (unsigned i = 0; i < CW_SECTION_COUNT; i++) {
        ret_shape->offset[i] = at;
        at += ((uint64_t)ret_shape->capacity[i] * cw_section_strides[i] + 4095) & ~UINT64_C(4095);
    }
    ret_shape->total_bytes = at;
}
