/* Names of code places, kept by build-id and offset: the same place in the next process, or in the next report, is not
 * looked up again. What a process has no build-id for is not kept.
 *
 * cw_names_new and cw_names_free are in cli/report/render.h. Single-threaded, as everything in the tool. */
#ifndef CLI_REPORT_RENDER_NAMES_H
#define CLI_REPORT_RENDER_NAMES_H

#include "cli/report/render.h"
#include "core/resolve.h"

#include <stdbool.h>

/* Whether two modules are the same object: an id that both have. */
bool cw_names_same_object(const struct cw_module *a, const struct cw_module *b);

/* What is kept for an offset of the module, as a resolver returns it: how many, 0 nothing. */
unsigned cw_names_find(const struct cw_names *names, const struct cw_module *module, uint64_t offset,
                       struct cw_symbol *ret, unsigned max);

/* Keeps a copy; without memory nothing. */
void cw_names_keep(struct cw_names *names, const struct cw_module *module, uint64_t offset,
                   const struct cw_symbol *symbols, unsigned n);

#endif
