/* Parts of the text report that its files share. Whatever comes from a ledger or a symbol table is escaped on its way
 * out. As pure as core/emit.h. */
#ifndef CORE_TEXT_H
#define CORE_TEXT_H

#include "core/report.h"
#include "core/work.h"

enum cw_colour { CW_COLOUR_OFF, CW_COLOUR_BOLD, CW_COLOUR_ERROR, CW_COLOUR_NOTE };

/* Nothing unless the report asks for colour. */
void cw_text_colour(struct cw_out *out, const struct cw_report *report, enum cw_colour colour);

/* "1 socket", "1,204 sockets". */
void cw_text_plural(struct cw_out *out, uint64_t n, const char *noun);

/* A text whose width matters before it is written: write it to cw_text_line, then take it; one at a time. */
struct cw_out *cw_text_line(const struct cw_report *report);
const char *cw_text_take(const struct cw_report *report);
unsigned cw_text_columns(const char *s);

/* Widens a column to hold `to`, unless that is so wide that only this row should stick out. */
void cw_text_widen(unsigned *width, unsigned to);

/* Where the socket came from, where the end of stream was seen, where it was closed at last: with frames. */
void cw_text_stacks(struct cw_out *out, const struct cw_report *report, const struct cw_group *group);

/* The lines evidence, sockets, Recv-Q and next. */
void cw_text_facts(struct cw_out *out, const struct cw_report *report, const struct cw_group *group);

#endif
