#include "core/diagnose.h"

static bool holds_never_accepted(const struct cw_facts *facts)
{
    return facts->conn->origin == CW_ORIGIN_QUEUED;
}

static bool holds_eof_not_closed(const struct cw_facts *facts)
{
    return (facts->conn->flags & CW_CONN_EOF_SEEN) != 0;
}

static bool holds_untracked(const struct cw_facts *facts)
{
    return facts->conn->origin == CW_ORIGIN_UNTRACKED;
}

static bool holds_fin_unread(const struct cw_facts *facts)
{
    (void)facts;
    return true;
}

const struct cw_diagnosis cw_diagnoses[CW_DIAGNOSIS_COUNT] = {
#define CW_DIAGNOSIS(constant, id, severity, title, sentence, advice, next, function)                                  \
    [CW_DIAGNOSIS_##constant] = {id, CW_SEVERITY_##severity, title, sentence, advice, next, function},
#include "core/diagnoses.inc"
};

const char *cw_severity_name(enum cw_severity severity)
{
    return severity == CW_SEVERITY_NOTE ? "note" : "error";
}

enum cw_diagnosis_id cw_diagnose(const struct cw_facts *facts)
{
    unsigned id = 0;
    while (id + 1 < CW_DIAGNOSIS_COUNT && !cw_diagnoses[id].holds(facts))
        id++;
    return (enum cw_diagnosis_id)id;
}

uint32_t cw_diagnosis_stack(enum cw_diagnosis_id id, const struct cw_conn *conn, uint8_t *ret_call)
{
    *ret_call = CW_CALL_none;
    if (id != CW_DIAGNOSIS_EOF_NOT_CLOSED)
        return 0;
    *ret_call = conn->eof_call;
    return conn->eof_stack;
}
