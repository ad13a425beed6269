/* Words for the rows of `cwguard top`: cut to columns, and where in the code a path is.
 *
 * Widths are those of the terminal's columns in the locale that setlocale(LC_CTYPE, "") has chosen. Single-threaded. */
#ifndef CLI_TOP_TEXT_H
#define CLI_TOP_TEXT_H

#include "core/document.h"

#include <stddef.h>

/* The columns of text. */
unsigned cw_top_columns(const char *text);

/* Writes as much of text as fits into `columns` columns, with "…" at the end of what was cut ("~" where the locale has no
 * such sign); what the terminal must not see is '?'. Returns the columns used. */
unsigned cw_top_fit(char *to, size_t to_bytes, const char *text, unsigned columns);

/* "on_readable server.c:164", or module and offset: the innermost function worth naming of the deciding stack, else of where
 * the socket was opened. Looks symbols up. */
void cw_top_place(const struct cw_path *path, char *to, size_t to_bytes);

/* An age as reports write it. */
void cw_top_age(uint64_t ms, char *to, size_t to_bytes);

#endif
