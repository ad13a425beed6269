/* What the threads and the listeners of a process are doing, for reports made from outside: it had no recorder, so its threads are
 * the only places in its code that are known.
 *
 * Threads that stand at the same place, in the same state and call, are one entry. As pure as core/emit.h. */
#ifndef CORE_THREADS_REPORT_H
#define CORE_THREADS_REPORT_H

#include "core/json.h"
#include "core/out.h"
#include "core/report.h"

/* The lines "LISTENERS: …" with one for each, and "THREADS: …" with one entry per place. Nothing for a process that had a recorder (no CW_HEADER_OUTSIDE). */
void cw_text_threads(struct cw_out *out, const struct cw_report *report);

/* The elements of the report's arrays "threads" and "listeners", which the caller opens and closes. Nothing for a process that had a
 * recorder. */
void cw_json_threads(struct cw_json *json, const struct cw_report *report);
void cw_json_listeners(struct cw_json *json, const struct cw_report *report);

#endif
