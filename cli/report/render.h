/* From loaded ledgers to one report: which moment it speaks of, which options hold, and out with it.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_REPORT_RENDER_H
#define CLI_REPORT_RENDER_H

#include "cli/ledger/load.h"
#include "cli/process/proc.h"
#include "cli/symbols/debug_files.h"
#include "core/document.h"

#include <stdbool.h>
#include <stddef.h>

/* Options given as flags: they win over those in the ledger. */
enum { CW_FLAGS_MAX = 64 };

enum cw_colour { CW_COLOUR_AUTO, CW_COLOUR_ALWAYS, CW_COLOUR_NEVER };

struct cw_request {
    struct {
        const char *name, *value; /* as cw_options_set takes them; values were checked before */
    } flags[CW_FLAGS_MAX];
    unsigned flag_count;
    enum cw_colour colour;
    const struct cw_redact *redact;     /* NULL: nothing */
    struct cw_debug_files *debug_files; /* NULL: files where they belong */
    bool to_stderr;                     /* where no file is named: stderr, not stdout */
    bool last_word;         /* nobody looks again: what still runs is judged with the grace of what has ended */
    bool glance;            /* one of many in a row: no thread is stopped, nobody else's fds are searched, no message */
    struct cw_names *names; /* names found for earlier reports, and by this one; NULL: not kept */
};

/* Names of code places that outlast a report, for those who make one after the other. NULL without memory. */
struct cw_names *cw_names_new(void);
void cw_names_free(struct cw_names *names);

enum cw_render_of {
    CW_RENDER_DYING,   /* its process hands it over: format and file are those of its options */
    CW_RENDER_RUNNING, /* the kernel is asked */
    CW_RENDER_CHECKED, /* runs, and the caller has entered the kernel's word as of the ledger's truth_ms */
    CW_RENDER_ENDED    /* as its process left it, or as the caller has completed it */
};

struct cw_render; /* a report in the making */

/* NULL without memory; request must outlive it. */
struct cw_render *cw_render_new(const struct cw_request *request);
void cw_render_free(struct cw_render *render);

/* Adds a process; the first one added heads the report. Takes over what *load holds, also when it fails. proc:
 * needed for RUNNING and CHECKED, may be NULL else. `name`: what messages call the ledger. 0, or -1 after a
 * message. */
int cw_render_add(struct cw_render *render, struct cw_load *load, const char *name, enum cw_render_of of,
                  const struct cw_proc *proc);

/* Asks the kernel, counts what several processes hold once, judges: the document, owned by the render, or NULL after a
 * message. What is missing in it is said on stderr. */
const struct cw_document *cw_render_build(struct cw_render *render);

/* What was added as the n-th, with all that was found out since; NULL if there are fewer. The render keeps it. */
const struct cw_load *cw_render_load(const struct cw_render *render, size_t n);

/* Writes it where its options say. 0, or -1 after a message. After cw_render_build. */
int cw_render_emit(struct cw_render *render);

#endif
