/* --redact: the list, and the keyed hash behind core/redact.h. The key is random and forgotten at the end, so a hash says
 * that two places of one report name the same thing, and nothing more.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_REPORT_REDACT_H
#define CLI_REPORT_REDACT_H

#include "core/redact.h"

/* list: names of CW_REDACTIONS separated by commas, or "all". Returns 0, or -1 with what is wrong with it, and the names
 * there are, in `why` (why_bytes > 0); *ret is then untouched. */
int cw_redact_begin(struct cw_redact *ret, const char *list, char *why, size_t why_bytes);

/* Forgets the key; *redact redacts nothing from then on. */
void cw_redact_end(struct cw_redact *redact);

#endif
