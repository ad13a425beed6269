/* Words for what is found in a process that had no recorder (CW_HEADER_OUTSIDE): the kernel's word on its sockets and threads is
 * all there is, so that nothing may be said of what its code has done. Pure: any thread, a signal handler, a forked child. */
#ifndef CORE_OUTSIDE_WORDS_H
#define CORE_OUTSIDE_WORDS_H

#include "core/diagnose.h"

/* Whether the view is of such a process. */
bool cw_is_outside(const struct cw_view *view);

/* The row of a diagnosis, with words that are true for the view's process. */
const struct cw_diagnosis *cw_diagnosis_words(const struct cw_view *view, enum cw_diagnosis_id id);

/* Likewise what keeps a listener from being accepted from. listener NULL: not known which. */
const struct cw_listener_variant *cw_listener_words(const struct cw_view *view, const struct cw_conn *listener);

/* What tells apart sockets that probably come from different code: the service that they belong to, how far they were read, who is
 * told of them. The same for the same code in another process. */
uint32_t cw_outside_part(const struct cw_facts *facts);

/* Likewise of those that wait at a listener (NULL: not known which). */
uint32_t cw_outside_queue(const struct cw_conn *conn, const struct cw_conn *listener);

/* The thread that is waiting on the set now, the one that is in accept on the listener, NULL if none is seen there. */
const struct cw_thread *cw_outside_waiter(const struct cw_view *view, uint32_t set_index);
const struct cw_thread *cw_outside_acceptor(const struct cw_view *view, const struct cw_conn *listener);

#endif
