/* Stacks as reports show them: without the shim, libc's start-up code and what lies below it; and the two names by
 * which a code path is known across runs. Pure but for the resolver; any thread, a signal handler. */
#ifndef CORE_FRAMES_H
#define CORE_FRAMES_H

#include "core/context.h"
#include "core/out.h"
#include "core/resolve.h"
#include "core/view.h"

/* Copies the frames worth showing, innermost first, and returns how many: at least one if the stack has any.
 * `symbols` is room for CW_SYMBOLS_MAX; resolver may be NULL. */
unsigned cw_frames_shown(const struct cw_view *view, const struct cw_resolver *resolver, uint32_t stack,
                         struct cw_symbol *symbols, uint64_t ret_frames[CW_STACK_MAX_FRAMES]);

/* Symbols at a frame, as resolve does it; 0 when there is no resolver. */
unsigned cw_frame_symbols(const struct cw_view *view, const struct cw_resolver *resolver, uint64_t frame,
                          struct cw_symbol *symbols);

/* The last part of a path: "c.so" of "/a/b/c.so". */
const char *cw_basename(const char *path);

/* The file name of the frame's module, "" if unknown. */
const char *cw_frame_module_name(const struct cw_view *view, uint64_t frame);

/* "server+0x1a2f", or "0x7f12…" of code that lies in no module; escaped. */
void cw_frame_place(struct cw_out *out, const struct cw_view *view, uint64_t frame);

/* The bytes of a build-id in hex, nothing where there is none. */
void cw_module_build_id(struct cw_out *out, const struct cw_module *module);

/* Hashes (FNV-1a, 64 bits). Start with CW_HASH_START and add. */
#define CW_HASH_START UINT64_C(0xcbf29ce484222325)
uint64_t cw_hash_bytes(uint64_t hash, const void *bytes, size_t n);
uint64_t cw_hash_str(uint64_t hash, const char *s); /* with its NUL, so that "ab","c" and "a","bc" differ */

/* Adds a stack's (build-id, offset) pairs: equal across runs, hosts and address space layouts. libc's frames and the
 * shim's are left out, unless there are no others: they differ from host to host for the same program. */
uint64_t cw_hash_stack(uint64_t hash, const struct cw_view *view, uint32_t stack);

/* Adds module names and function names: equal across rebuilds. */
uint64_t cw_hash_functions(uint64_t hash, const struct cw_view *view, const struct cw_resolver *resolver,
                           uint32_t stack, struct cw_symbol *symbols);

#endif
