/* `cwguard top` without a terminal: a plain table for each look, fit for a pipe. */
#ifndef CLI_TOP_TABLE_H
#define CLI_TOP_TABLE_H

#include "cli/top/model.h"
#include "core/out.h"

/* Writes the table and flushes: 0, or negative errno (-EPIPE: nobody reads any more). real_ns: CLOCK_REALTIME of the look. */
int cw_top_table(struct cw_out *out, const struct cw_top_model *model, uint64_t real_ns);

#endif
