/* What emitters need besides the report, in its scratch memory, because a dying process may have little stack. */
#ifndef CORE_WORK_H
#define CORE_WORK_H

#include "core/evidence.h"
#include "core/frames.h"

struct cw_report_work {
    struct cw_out line_out; /* writes into line: cw_out_line(&line_out, &line) */
    struct cw_line line;
    struct cw_symbol symbols[CW_SYMBOLS_MAX];
    uint64_t frames[CW_STACK_MAX_FRAMES];
    struct cw_evidence evidence[CW_EVIDENCE_MAX];
};

#endif
