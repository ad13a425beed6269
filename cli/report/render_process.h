/* One process of a report in the making: what cli/report/render.c keeps of each, and the steps that concern one alone.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_REPORT_RENDER_PROCESS_H
#define CLI_REPORT_RENDER_PROCESS_H

#include "cli/process/held.h"
#include "cli/report/render.h"
#include "cli/symbols/symbols.h"

struct cw_render_process {
    struct cw_load load;
    char *name; /* of the ledger, for messages */
    enum cw_render_of of;
    bool saved; /* a copy of a process that ran then: nobody else can be asked, and its pid may be another's now */
    bool live;  /* proc is it */
    bool never_checked; /* it ended before the kernel was asked even once */
    struct cw_proc proc;
    struct cw_options options;
    struct cw_report_input in;
    struct cw_held held;
    struct cw_symbols *symbols;
    struct cw_resolver resolver;
    struct cw_report report;
    void *scratch; /* the report's */
};

/* Which options hold: the ledger's own, for they are what the recorder judged by, and on top those of the request. */
void cw_render_options(struct cw_render_process *process, const struct cw_request *request);

/* Settles which moment the report speaks of, and asks the kernel where that can still be done: process->in, but for
 * what takes a look at others. stacks: whether its threads may be looked at. */
void cw_render_moment(struct cw_render_process *process, const struct cw_request *request, bool stacks);

/* A process in another pid namespace: its number, its threads' and its children's become those seen from here, as
 * all other numbers in a report are. Last, before the report is built. */
void cw_render_translate(struct cw_render_process *process);

#endif
