/* The rows of `cwguard top` as text, for the screen and for the table alike.
 *
 * width: the columns that there are; what is least needed is left out where they are few, and names are cut. 0: no end, as in a
 * pipe. Single-threaded. */
#ifndef CLI_TOP_ROWS_H
#define CLI_TOP_ROWS_H

#include "cli/top/model.h"

enum { CW_TOP_ROW_BYTES = 2048 };

/* "3 processes, 128 connections, 17 in CLOSE_WAIT, 12 leaked by 2 code paths". */
void cw_top_row_totals(char to[CW_TOP_ROW_BYTES], const struct cw_top_model *model);

/* A process; NULL: the heading. */
void cw_top_row_process(char to[CW_TOP_ROW_BYTES], const struct cw_top_process *process, unsigned width);

/* A code path; NULL: the heading. Looks up symbols. */
void cw_top_row_group(char to[CW_TOP_ROW_BYTES], const struct cw_top_group *group, unsigned width);

#endif
