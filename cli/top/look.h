/* A look of `cwguard top`: what the watcher found, as a document and as rows.
 *
 * The document of the last look stays until the next one, so that pages can be made of it meanwhile. Single-threaded. */
#ifndef CLI_TOP_LOOK_H
#define CLI_TOP_LOOK_H

#include "cli/report/render.h"
#include "cli/top/model.h"
#include "cli/top/states.h"
#include "cli/watch/watch.h"

#include <stdbool.h>
#include <stdint.h>

struct cw_top_look {
    struct cw_request *request;
    struct cw_watch *watch;
    const pid_t *pids; /* those asked for; none: all */
    size_t n_pids;
    size_t n_alive, n_outside; /* of those asked for, at the last look: that live; without the library */
    pid_t outside;             /* the first of these */
    struct cw_render *render;
    const struct cw_document *document; /* NULL: nothing found */
    struct cw_top_counter counter;
    struct cw_top_model model;
    uint64_t real_ns; /* CLOCK_REALTIME of the last look */
};

/* Begins with {.request, .pids, .n_pids}: 0, or -1 after a message. ledger_dir as cw_find_ledgers takes it; it must outlive the
 * look. */
int cw_top_look_begin(struct cw_top_look *look, const char *ledger_dir);

/* Takes one. thorough: with what costs more or stops a thread for a moment: stacks of stuck threads, other holders of sockets. */
void cw_top_look_take(struct cw_top_look *look, bool thorough);

void cw_top_look_end(struct cw_top_look *look);

#endif
