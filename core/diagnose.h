/* Diagnoses: why a socket is still open.
 *
 * The rows of core/diagnoses.inc are the only list of them. A diagnosis is a pure function of a socket's facts. Any
 * thread, a signal handler, a forked child. */
#ifndef CORE_DIAGNOSE_H
#define CORE_DIAGNOSE_H

#include "core/context.h"
#include "core/view.h"

#include <stdbool.h>
#include <stddef.h>

enum cw_severity { CW_SEVERITY_ERROR, CW_SEVERITY_NOTE };

enum cw_diagnosis_id {
#define CW_DIAGNOSIS(constant, ...) CW_DIAGNOSIS_##constant,
#include "core/diagnoses.inc"
    CW_DIAGNOSIS_COUNT
};

/* What a diagnosis may look at. Ages are to be taken from now_ms. */
struct cw_facts {
    const struct cw_view *view;
    const struct cw_conn *conn;
    uint32_t now_ms, grace_ms;
    const struct cw_context *context; /* what other records say of it; NULL: nothing */
};

/* What makes sockets one group, besides diagnosis and label. */
enum cw_grouped {
    CW_GROUPED_BY_STACKS,   /* where they were opened, and the deciding stack */
    CW_GROUPED_BY_DECISION, /* the deciding stack; without one, `part` */
    CW_GROUPED_BY_PART
};

/* Where a diagnosis was decided. */
struct cw_decision {
    uint32_t stack; /* id in STACKS, 0 none or not known */
    uint8_t call;   /* enum cw_call made there */
    uint32_t part;  /* the listener, the thread */
    enum cw_grouped grouped;
};

struct cw_diagnosis {
    const char *id;
    enum cw_severity severity;
    const char *title, *sentence, *recognised, *advice, *next, *decided, *threads; /* see core/diagnoses.inc */
    uint32_t evidence;
    bool (*holds)(const struct cw_facts *facts);
    void (*decides)(const struct cw_facts *facts, struct cw_decision *ret);
};
extern const struct cw_diagnosis cw_diagnoses[CW_DIAGNOSIS_COUNT];

const char *cw_severity_name(enum cw_severity severity);

/* The first diagnosis that holds; the last row always does. */
enum cw_diagnosis_id cw_diagnose(const struct cw_facts *facts);

/* The stack that decides, given that diagnosis. */
struct cw_decision cw_decide(enum cw_diagnosis_id id, const struct cw_facts *facts);

/* --- what keeps a listener from being accepted from --- */

enum cw_listener_variant_id {
#define CW_LISTENER_VARIANT(constant, ...) CW_LISTENER_##constant,
#include "core/listener_variants.inc"
    CW_LISTENER_VARIANT_COUNT
};

struct cw_listener_variant {
    const char *id, *words, *advice, *next; /* see core/listener_variants.inc */
};
extern const struct cw_listener_variant cw_listener_variants[CW_LISTENER_VARIANT_COUNT];

/* From what its record says and what its acceptor is doing. listener NULL: not known which. */
enum cw_listener_variant_id cw_listener_variant(const struct cw_view *view, const struct cw_conn *listener);

/* The thread that accepts from it, NULL if not known. */
const struct cw_thread *cw_listener_acceptor(const struct cw_view *view, const struct cw_conn *listener);

/* --- facts that diagnoses and evidence share --- */

/* The thread that a socket of diagnosis owner-stuck waits for, NULL if none is known. */
const struct cw_thread *cw_stuck_thread(const struct cw_facts *facts);

/* The fork that left the socket to a child, NULL if none is on record. */
const struct cw_fork *cw_fork_after_accept(const struct cw_facts *facts);

/* Whether an event mask as in force says that a one-shot registration is spent (epoll_ctl(2), EPOLLONESHOT; the kernel
 * leaves only such private bits, fs/eventpoll.c EP_PRIVATE_BITS). */
bool cw_oneshot_spent(uint32_t epoll_mask);

#endif
