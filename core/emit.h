/* Emitters: one function per output format, all from the same document. Rows in core/emitters.inc.
 *
 * Pure but for the output's write function and the resolver; any thread, a signal handler with 12 KiB of stack. */
#ifndef CORE_EMIT_H
#define CORE_EMIT_H

#include "core/document.h"
#include "core/emitters.inc"
#include "core/out.h"

#define CW_X(id, name, function) void function(struct cw_out *out, const struct cw_document *document);
CW_EMITTERS(CW_X)
#undef CW_X

/* Writes the whole report in a format (enum cw_format) and flushes; 0, or the first error of `out`. */
int cw_emit(struct cw_out *out, const struct cw_document *document, unsigned format);

#endif
