/* Just enough of the x86-64 instruction set to see that an address follows a call, and of what. Pure but for `read`. */
#ifndef CORE_CODE_H
#define CORE_CODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Copies n bytes of the program; false if they cannot be had. */
typedef bool (*cw_code_read)(void *ctx, uint64_t address, void *to, size_t n);

/* Whether the instruction before `address` is a call. *ret_target: the function called, through the procedure linkage table if need
 * be; 0 if a register says which. */
bool cw_code_is_behind_call(cw_code_read read, void *ctx, uint64_t address, uint64_t *ret_target);

/* Whether there is a jump from the n bytes of a function at `from` (at most CW_CODE_JUMP_BYTES of them are looked at) to `to`. */
enum { CW_CODE_JUMP_BYTES = 512 };
bool cw_code_jumps_to(cw_code_read read, void *ctx, uint64_t from, uint64_t n, uint64_t to);

#endif
