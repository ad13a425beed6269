/* The live line about a leak, the same from the recorder and from the watcher outside.
 *
 * Pure but for the resolver; any thread, a signal handler. */
#ifndef CORE_LIVE_TEXT_H
#define CORE_LIVE_TEXT_H

#include "core/diagnose.h"
#include "core/out.h"
#include "core/resolve.h"
#include "core/view.h"

struct cw_live_leak {
    const struct cw_view *view;
    const struct cw_resolver *resolver; /* may be NULL */
    struct cw_symbol *symbols;          /* room for CW_SYMBOLS_MAX */
    uint64_t *frames;                   /* and for CW_STACK_MAX_FRAMES */
    uint32_t count;                     /* sockets */
    uint32_t processes;                 /* that have them open */
    uint32_t grace_ms;
    enum cw_diagnosis_id diagnosis;
    uint32_t open_stack, deciding_stack; /* ids in STACKS; 0 unknown, none */
    uint8_t deciding_call;               /* enum cw_call */
    int32_t pid;                         /* whose report says more */
};

/* "12 sockets left in CLOSE_WAIT for more than 30 s [eof-not-closed], opened at …; full report: cwguard report 4242", without
 * a newline. */
void cw_live_text(struct cw_out *out, const struct cw_live_leak *leak);

/* "a socket reported as left in CLOSE_WAIT was closed after all, after 2 m: fd 7, peer 10.0.0.2:51344". after_ms: since the
 * peer's FIN. */
void cw_live_text_closed(struct cw_out *out, uint32_t after_ms, int32_t fd, uint8_t family, const uint8_t peer[16],
                         uint16_t peer_port);

#endif
