/* What `cwguard top` shows, as rows: the processes with their connections by state, and the code paths that leave sockets
 * behind, made from one document.
 *
 * Pure: no system calls, no clock; single-threaded. */
#ifndef CLI_TOP_MODEL_H
#define CLI_TOP_MODEL_H

#include "core/document.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The connections that a process has open, by what the kernel says, as ss -tanp counts them. */
struct cw_top_states {
    bool known;
    uint32_t established, close_wait, other;
};

struct cw_top_process {
    int32_t pid; /* as seen from here */
    char name[64];
    bool outside; /* the library is not in it */
    bool unknown; /* there is no report on it: leaked is not known */
    struct cw_top_states states;
    uint32_t leaked;
    uint64_t up_ms;
};

/* What a row of the second list is; the order is that of the list. */
#define CW_TOP_KINDS(X) X(LEAK, "leak") X(ERROR, "error") X(NOTE, "note") X(LATE, "late")

enum cw_top_kind {
#define CW_X(id, name) CW_TOP_##id,
    CW_TOP_KINDS(CW_X)
#undef CW_X
        CW_TOP_KIND_COUNT
};

/* A code path for good: from one look to the next. */
struct cw_top_key {
    uint64_t stack_id, label;
    uint8_t kind, diagnosis;
};

struct cw_top_group {
    struct cw_top_key key;
    const struct cw_path *path; /* in the document */
    uint32_t count;
    uint32_t per_minute; /* of the sockets counted, those that became a leak in the last minute */
    uint32_t oldest_ms;
};

#define CW_TOP_SORTS(X) X(COUNT, "count") X(RATE, "rate") X(AGE, "age")

enum cw_top_sort {
#define CW_X(id, name) CW_TOP_BY_##id,
    CW_TOP_SORTS(CW_X)
#undef CW_X
        CW_TOP_SORT_COUNT
};

struct cw_top_model {
    struct cw_top_process *processes;
    struct cw_top_group *groups;
    size_t n_processes, n_groups;
    struct cw_top_states states; /* of all; a socket that several have open is counted once */
    uint32_t close_wait, leaked;
};

/* Fills *ret from a document (NULL: nothing found), which must outlive it, with states[i] of its i-th report's process
 * and `all` of them together. 0, or -ENOMEM. Free it with cw_top_model_free. */
int cw_top_model_build(struct cw_top_model *ret, const struct cw_document *document, const struct cw_top_states *states,
                       const struct cw_top_states *all);
void cw_top_model_free(struct cw_top_model *model);

/* Adds a process that the document does not have. 0, or -ENOMEM. */
int cw_top_model_add(struct cw_top_model *model, const struct cw_top_process *process);

/* Code paths: errors before notes, then by that; equal ones stay as the document has them. Processes: those first that have
 * leaked most. */
void cw_top_model_sort(struct cw_top_model *model, enum cw_top_sort sort);

bool cw_top_same(const struct cw_top_key *a, const struct cw_top_key *b);

const char *cw_top_kind_name(enum cw_top_kind kind);
const char *cw_top_sort_name(enum cw_top_sort sort);

#endif
