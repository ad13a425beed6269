#include "core/diagnosis.h"
#include "core/evidence.h"
#include "core/outside_words.h"

const struct cw_diagnosis cw_diagnoses[CW_DIAGNOSIS_COUNT] = {
#define CW_DIAGNOSIS(constant, id, severity, title, sentence, recognised, advice, next, decided, evidence, threads,    \
                     function)                                                                                         \
    [CW_DIAGNOSIS_##constant] = {id,                                                                                   \
                                 CW_SEVERITY_##severity,                                                               \
                                 title,                                                                                \
                                 sentence,                                                                             \
                                 recognised,                                                                           \
                                 advice,                                                                               \
                                 next,                                                                                 \
                                 decided,                                                                              \
                                 threads,                                                                              \
                                 evidence,                                                                             \
                                 cw_holds_##function,                                                                  \
                                 cw_decides_##function},
#include "core/diagnoses.inc"
};

const char *cw_severity_name(enum cw_severity severity)
{
    return severity == CW_SEVERITY_NOTE ? "note" : "error";
}

enum cw_diagnosis_id cw_diagnose(const struct cw_facts *facts)
{
    unsigned id = 0;
    /* What the others turn on, nobody has seen. */
    if (cw_is_outside(facts->view) && facts->conn->origin != CW_ORIGIN_QUEUED)
        return CW_DIAGNOSIS_UNTRACKED;
    while (id + 1 < CW_DIAGNOSIS_COUNT && !cw_diagnoses[id].holds(facts))
        id++;
    return (enum cw_diagnosis_id)id;
}

struct cw_decision cw_decide(enum cw_diagnosis_id id, const struct cw_facts *facts)
{
    struct cw_decision decision = {0};
    cw_diagnoses[id].decides(facts, &decision);
    return decision;
}

/* --- the last rows --- */

bool cw_holds_untracked(const struct cw_facts *facts)
{
    return facts->conn->origin == CW_ORIGIN_UNTRACKED;
}

void cw_decides_untracked(const struct cw_facts *facts, struct cw_decision *ret)
{
    if (!cw_is_outside(facts->view))
        return;
    ret->grouped = CW_GROUPED_BY_PART;
    ret->part = cw_outside_part(facts);
}

bool cw_holds_fin_unread(const struct cw_facts *facts)
{
    (void)facts;
    return true;
}

void cw_decides_fin_unread(const struct cw_facts *facts, struct cw_decision *ret)
{
    (void)facts, (void)ret;
}
