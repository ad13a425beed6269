#include "core/code.h"

#include <string.h>

/* Intel SDM volume 2: CALL is E8 rel32 or FF /2; JMP through memory relative to the next instruction FF 25 disp32. */
enum { CALL_RELATIVE = 0xe8, GROUP_5 = 0xff, RELATIVE = 0x05 /* mod 0, r/m 5: disp32 from the next instruction */ };

static uint64_t displaced(uint64_t address, const uint8_t bytes[4])
{
    int32_t displacement;
    memcpy(&displacement, bytes, sizeof displacement);
    return address + (uint64_t)(int64_t)displacement;
}

/* Bytes of FF with this ModRM byte, and SIB byte if it has one. */
static unsigned group_5_bytes(uint8_t modrm, uint8_t sib)
{
    unsigned mod = modrm >> 6, rm = modrm & 7, bytes = 2;

    if (mod == 3)
        return bytes;
    bytes += rm == 4;
    if (mod == 1)
        return bytes + 1;
    if (mod == 2 || (mod == 0 && rm == 5) || (mod == 0 && rm == 4 && (sib & 7) == 5))
        return bytes + 4;
    return bytes;
}

/* What a stub of the procedure linkage table leads to, the address itself if there is no stub. */
static uint64_t through_stub(cw_code_read read, void *ctx, uint64_t address)
{
    static const uint8_t endbr64[4] = {0xf3, 0x0f, 0x1e, 0xfa};
    uint8_t code[11];
    uint64_t target;
    unsigned at = 0;

    if (!read(ctx, address, code, sizeof code))
        return address;
    if (!memcmp(code, endbr64, sizeof endbr64))
        at = sizeof endbr64;
    at += code[at] == 0xf2; /* bnd */
    if (at + 6 > sizeof code || code[at] != GROUP_5 || code[at + 1] != (4 << 3 | RELATIVE))
        return address;
    return read(ctx, displaced(address + at + 6, code + at + 2), &target, sizeof target) ? target : address;
}

/* Any byte that could open a jump is taken for one: that its displacement should lead there by chance is unlikely enough. */
bool cw_code_jumps_to(cw_code_read read, void *ctx, uint64_t from, uint64_t n, uint64_t to)
{
    enum { JUMP = 0xe9, JUMP_SHORT = 0xeb, IF_SHORT = 0x70, IF = 0x80 /* behind 0f */ };
    uint8_t code[CW_CODE_JUMP_BYTES];

    if (n > sizeof code)
        n = sizeof code;
    if (!read(ctx, from, code, (size_t)n))
        return false;
    for (uint64_t i = 0; i + 2 <= n; i++) {
        bool near = code[i] == JUMP || (i && code[i - 1] == 0x0f && (code[i] & 0xf0) == IF);
        bool is_short = code[i] == JUMP_SHORT || (code[i] & 0xf0) == IF_SHORT;
        if (near && i + 5 <= n && displaced(from + i + 5, code + i + 1) == to)
            return true;
        if (is_short && from + i + 2 + (uint64_t)(int64_t)(int8_t)code[i + 1] == to)
            return true;
    }
    return false;
}

bool cw_code_is_behind_call(cw_code_read read, void *ctx, uint64_t address, uint64_t *ret_target)
{
    uint8_t code[8];

    if (address < sizeof code || !read(ctx, address - sizeof code, code, sizeof code))
        return false;
    if (code[3] == CALL_RELATIVE) {
        *ret_target = through_stub(read, ctx, displaced(address, code + 4));
        return true;
    }
    for (unsigned bytes = 2; bytes <= 7; bytes++) {
        const uint8_t *call = code + sizeof code - bytes;
        if (call[0] != GROUP_5 || (call[1] >> 3 & 7) != 2 || group_5_bytes(call[1], bytes > 2 ? call[2] : 0) != bytes)
            continue;
        *ret_target = 0;
        if ((call[1] & 0xc7) == RELATIVE && !read(ctx, displaced(address, call + 2), ret_target, sizeof *ret_target))
            return false;
        return true;
    }
    return false;
}
