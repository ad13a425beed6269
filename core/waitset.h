/* What a thread that is inside poll or select waits for, read from its memory by the call's arguments.
 *
 * The hooks of these calls note what was asked for when they return; a thread that has been inside ever since has asked for
 * something else perhaps. Used by the dying process on its own threads and by the tool on another's. Pure but for `peek`: any
 * thread, a signal handler, a forked child. Source: poll(2), select(2). */
#ifndef CORE_WAITSET_H
#define CORE_WAITSET_H

#include "core/proctask.h"
#include "core/view.h"

/* Copies n bytes from an address of the thread's process; false if they cannot be had. */
typedef bool (*cw_waitset_peek)(void *ctx, void *to, uint64_t from, size_t n);

/* Whether the call is one of these. */
bool cw_waitset_is(int nr);

/* Enters into the records of the sockets in its set what is asked for them, as of now_ms. thread: its reference. */
void cw_waitset_enter(const struct cw_view *view, const struct cw_task_call *call, uint32_t thread, uint32_t now_ms,
                      cw_waitset_peek peek, void *ctx);

#endif
