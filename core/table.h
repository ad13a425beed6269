/* The table: which fd means what, and where records come from.
 *
 * Lock-free over a view of shared memory. A slot (one word per fd) holds a kind, a record's index and the record's
 * generation; the slot owns one reference to its record. Closing is two steps, because the kernel frees the number before
 * close() returns and another thread may get it at once: the closer marks the slot (cw_table_mark_closing), taking over its
 * reference, and afterwards clears it only if nobody has stored a new meaning (cw_table_clear).
 *
 * Any thread, a signal handler. Not a vfork child. A stale reader may still write facts into a record that has been handed
 * out anew: it used an fd that another thread was closing, and the kernel's word is asked before anything is reported. */
#ifndef CORE_TABLE_H
#define CORE_TABLE_H

#include "core/view.h"

#include <stdbool.h>

struct cw_table {
    struct cw_view *view;  /* n_* are capacities */
    uint32_t *slots_ready; /* fds below this may be looked at */
    /* Makes records real memory: 0 or negative errno. */
    int (*reserve)(enum cw_section_id section, uint32_t first, uint32_t n);
};

/* The slot's word; 0 for a number that was never seen. */
uint64_t cw_table_slot(const struct cw_table *table, int fd);

/* Stores a new meaning for fd, whose record (index of `kind`'s section) the caller hands over with one reference. Returns
 * 0 and the word that stood there before in *ret_old (its reference is the caller's now, unless CW_SLOT_CLOSING is set in it:
 * then it belongs to a closer); negative errno if there is no room, and the caller keeps its reference. */
int cw_table_store(const struct cw_table *table, int fd, enum cw_slot_kind kind, uint32_t index, uint64_t *ret_old);

/* Marks fd as closing: returns the marked word, whose reference is the caller's, or 0 if nothing is known or another
 * thread is closing it already. */
uint64_t cw_table_mark_closing(const struct cw_table *table, int fd);

/* Undoes the mark: the close failed and the fd is still open. Returns false if the slot has a new meaning: then the
 * caller still owns the reference. */
bool cw_table_unmark(const struct cw_table *table, int fd, uint64_t marked);

/* For a third party who finds a mark that seems to be nobody's any more: takes it away, giving the slot a reference of its
 * own, because the closer may come back yet and let go of its own one. False if the slot has changed. Connections only. */
bool cw_table_settle(const struct cw_table *table, int fd, uint64_t marked);

/* After a close: clears the slot if it still holds `marked`, or what cw_table_settle has made of it. Returns how many
 * references are the caller's to let go of: 1, also where the slot has a new meaning, or 2, the settled slot's among them. */
unsigned cw_table_clear(const struct cw_table *table, int fd, uint64_t marked);

/* A zeroed record with refs 1 and a new generation: its index, or 0 when there is no room. */
uint32_t cw_table_new_conn(const struct cw_table *table);
uint32_t cw_table_new_set(const struct cw_table *table);
uint32_t cw_table_new_thread(const struct cw_table *table); /* never given back; generation stays 0 */

/* One more fd, or one fewer; at zero the record is free, unless it is LATE. Returns what is left. */
void cw_table_ref_conn(const struct cw_table *table, uint32_t index);
uint32_t cw_table_unref_conn(const struct cw_table *table, uint32_t index);
uint32_t cw_table_unref_set(const struct cw_table *table, uint32_t index);

/* Gives back a record that no slot refers to. */
void cw_table_free_conn(const struct cw_table *table, uint32_t index);

/* Records handed out so far in a section: 1 .. this - 1 may be looked at. */
uint32_t cw_table_used(const struct cw_table *table, enum cw_section_id section);

#endif
