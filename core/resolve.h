/* From a ledger's frame to names: the interface between reports and whoever can look symbols up. */
#ifndef CORE_RESOLVE_H
#define CORE_RESOLVE_H

#include "core/view.h"

#include <stdbool.h>

enum cw_frame_kind { CW_FRAME_NATIVE, CW_FRAME_JIT, CW_FRAME_PYTHON, CW_FRAME_JS };

/* One (possibly inlined) frame as a person wants to read it. Strings are owned by the resolver and stay valid until its
 * next call; NULL and 0 mean unknown, and nothing is ever invented. */
struct cw_symbol {
    const char *function; /* demangled */
    const char *file;     /* as in the debug info */
    uint32_t line;
    bool inlined; /* its code stands inside the next symbol's function */
    enum cw_frame_kind kind;
};

struct cw_resolver {
    void *ctx;
    /* Symbols at one frame, innermost (most inlined) first: how many were written, at most max; 0 when nothing is known.
     * `frame` is a word of STACKS: the return address, so the call lies just before it. */
    unsigned (*resolve)(void *ctx, const struct cw_view *view, uint64_t frame, struct cw_symbol *ret, unsigned max);
};

#endif
