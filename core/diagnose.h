/* Diagnoses: why a connection is still in CLOSE_WAIT.
 *
 * The rows of core/diagnoses.inc are the only list of them. A diagnosis is a pure function of a connection's facts. Any
 * thread, a signal handler, a forked child. */
#ifndef CORE_DIAGNOSE_H
#define CORE_DIAGNOSE_H

#include "core/view.h"

#include <stdbool.h>
#include <stddef.h>

enum cw_severity { CW_SEVERITY_ERROR, CW_SEVERITY_NOTE };

enum cw_diagnosis_id {
#define CW_DIAGNOSIS(constant, id, severity, title, sentence, advice, next, function) CW_DIAGNOSIS_##constant,
#include "core/diagnoses.inc"
    CW_DIAGNOSIS_COUNT
};

/* What a diagnosis may look at. Ages are to be taken from now_ms. */
struct cw_facts {
    const struct cw_view *view;
    const struct cw_conn *conn;
    uint32_t now_ms, grace_ms;
};

struct cw_diagnosis {
    const char *id;
    enum cw_severity severity;
    const char *title, *sentence, *advice, *next; /* see core/diagnoses.inc */
    bool (*holds)(const struct cw_facts *facts);
};
extern const struct cw_diagnosis cw_diagnoses[CW_DIAGNOSIS_COUNT];

const char *cw_severity_name(enum cw_severity severity);

/* The first diagnosis that holds; the last row always does. */
enum cw_diagnosis_id cw_diagnose(const struct cw_facts *facts);

/* The stack that decides: where the end of stream was seen and the like. Id in STACKS, 0 if the diagnosis has none
 * or it is not known; *ret_call (enum cw_call) is the call made there. */
uint32_t cw_diagnosis_stack(enum cw_diagnosis_id id, const struct cw_conn *conn, uint8_t *ret_call);

#endif
