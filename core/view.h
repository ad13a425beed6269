/* A view: a ledger's sections as arrays with lengths that can be trusted.
 *
 * The recorder makes one over its live mapping, the tool over private copies of what it read from a file. Everything
 * behind the pointers may still be nonsense (a hostile or half-written file), so records are reached through the
 * functions below, which check every index and never read outside. Pure: any thread, a signal handler, a forked child. */
#ifndef CORE_VIEW_H
#define CORE_VIEW_H

#include "include/cwguard_ledger.h"

#include <stddef.h>
#include <stdint.h>

/* The sections that a view shows: section, type, field. */
#define CW_VIEW_SECTIONS(X)                                                                                            \
    X(SLOTS, uint64_t, slots)                                                                                          \
    X(CONNS, struct cw_conn, conns) /* may be written: truth and leak judgement go into the records */                 \
    X(THREADS, struct cw_thread, threads)                                                                              \
    X(SETS, struct cw_set, sets)                                                                                       \
    X(FORKS, struct cw_fork, forks)                                                                                    \
    X(STACKS, uint64_t, stacks)                                                                                        \
    X(MODULES, struct cw_module, modules)                                                                              \
    X(STRINGS, char, strings)

struct cw_view {
    struct cw_ledger *header; /* CW_LEDGER_HEADER_BYTES */
#define CW_X(section, type, field)                                                                                     \
    type *field;                                                                                                       \
    uint32_t n_##field; /* records, words or bytes usable */
    CW_VIEW_SECTIONS(CW_X)
#undef CW_X
};

/* The record, or NULL where the index is 0 or out of range. */
const struct cw_conn *cw_view_conn(const struct cw_view *view, uint32_t index);
const struct cw_conn *cw_slot_conn(const struct cw_view *view, int fd); /* what the fd means, if that is a socket */
const struct cw_set *cw_view_set(const struct cw_view *view, uint32_t index);
const struct cw_fork *cw_view_fork(const struct cw_view *view,
                                   uint32_t seq); /* the fork that raised the counter to seq */
const struct cw_module *cw_view_module(const struct cw_view *view, uint32_t index);

/* The thread that a reference names, or NULL if unknown or its record was given to another thread since. */
const struct cw_thread *cw_view_thread(const struct cw_view *view, uint32_t reference);

/* No string is longer, its NUL included: paths of files, labels. */
#define CW_STRING_MAX 4096u

/* The string, "" where the id is out of range or no NUL follows it soon enough. */
const char *cw_view_string(const struct cw_view *view, uint32_t id);

/* Frames of a stack, innermost first: returns how many (0 for an unknown id), *ret_frames points into the section,
 * *ret_flags (may be NULL) receives enum cw_stack_flag. */
unsigned cw_view_stack(const struct cw_view *view, uint32_t id, const uint64_t **ret_frames, unsigned *ret_flags);

#endif
