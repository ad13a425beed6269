#include "cli/top/table.h"

#include "cli/top/rows.h"
#include "core/names.h"

static void out_row(struct cw_out *out, const char *row)
{
    cw_out_str(out, row);
    cw_out_char(out, '\n');
}

int cw_top_table(struct cw_out *out, const struct cw_top_model *model, uint64_t real_ns)
{
    char row[CW_TOP_ROW_BYTES];

    cw_out_utc(out, real_ns);
    cw_out_str(out, "  ");
    cw_top_row_totals(row, model);
    out_row(out, row);
    for (size_t i = 0; i < model->n_processes; i++) {
        if (!i) {
            cw_top_row_process(row, NULL, 0);
            out_row(out, row);
        }
        cw_top_row_process(row, &model->processes[i], 0);
        out_row(out, row);
    }
    for (size_t i = 0; i < model->n_groups; i++) {
        if (!i) {
            cw_top_row_group(row, NULL, 0);
            out_row(out, row);
        }
        cw_top_row_group(row, &model->groups[i], 0);
        out_row(out, row);
    }
    out_row(out, "");
    return cw_out_flush(out);
}
