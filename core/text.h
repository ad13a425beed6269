/* Parts of the text report that its files share. Whatever comes from a ledger or a symbol table is escaped on its way
 * out. As pure as core/emit.h. */
#ifndef CORE_TEXT_H
#define CORE_TEXT_H

#include "core/document.h"
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

/* "4242", or "4242 (worker)" where the program is another one than the first process's. */
void cw_text_pid(struct cw_out *out, const struct cw_document *document, const struct cw_report *report);

/* "1,204 TCP connections", or that there was no recorder to count them. */
void cw_text_connections(struct cw_out *out, const struct cw_document *document);

/* The first line: which program, when, how it ended. */
void cw_text_heading(struct cw_out *out, const struct cw_document *document);

/* Where the sockets came from, where the end of stream was seen, where they were closed at last: with frames. */
void cw_text_stacks(struct cw_out *out, const struct cw_report *report, const struct cw_group *group);

/* The frames of one stack, a line each. */
void cw_text_frames(struct cw_out *out, const struct cw_report *report, uint32_t stack);

/* The lines processes, evidence, sockets, Recv-Q and next. */
void cw_text_facts(struct cw_out *out, const struct cw_document *document, const struct cw_path *path);

/* What was not seen, remarks, and the line SUMMARY; or the one line that a clean run gets, if it gets any. */
void cw_text_end(struct cw_out *out, const struct cw_document *document);
void cw_text_clean(struct cw_out *out, const struct cw_document *document);

#endif
