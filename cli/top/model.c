#include "cli/top/model.h"

#include "core/frames.h"
#include "core/out.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MINUTE_MS = 60000 };

const char *cw_top_kind_name(enum cw_top_kind kind)
{
    static const char *const names[] = {
#define CW_X(id, name) name,
        CW_TOP_KINDS(CW_X)
#undef CW_X
    };
    return names[kind];
}

const char *cw_top_sort_name(enum cw_top_sort sort)
{
    static const char *const names[] = {
#define CW_X(id, name) name,
        CW_TOP_SORTS(CW_X)
#undef CW_X
    };
    return names[sort];
}

bool cw_top_same(const struct cw_top_key *a, const struct cw_top_key *b)
{
    return a->stack_id == b->stack_id && a->label == b->label && a->kind == b->kind && a->diagnosis == b->diagnosis;
}

/* --- code paths --- */

static enum cw_top_kind kind_of(const struct cw_group *group)
{
    if (group->section == CW_REPORT_ERRORS)
        return CW_TOP_ERROR;
    if (group->section == CW_REPORT_CLOSED_LATE)
        return CW_TOP_LATE;
    return group->severity == CW_SEVERITY_ERROR ? CW_TOP_LEAK : CW_TOP_NOTE;
}

/* How long ago the socket became what the report lists it as. */
static uint32_t listed_since_ms(const struct cw_report *report, const struct cw_item *item)
{
    if (item->section == CW_REPORT_CLOSED_LATE)
        return report->in.now_ms - cw_report_conn(report, item)->close_ms;
    return item->age_ms > report->in.grace_ms ? item->age_ms - report->in.grace_ms : 0;
}

static uint32_t count_new(const struct cw_path *path)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < path->n_parts; i++) {
        const struct cw_report *report = path->parts[i].report;
        const struct cw_group *group = path->parts[i].group;
        for (uint32_t k = 0; k < group->count; k++)
            n += listed_since_ms(report, &report->items[group->first + k]) < MINUTE_MS;
    }
    return n;
}

static struct cw_top_group group_of(const struct cw_path *path)
{
    const struct cw_part *part = &path->parts[0];
    const char *label = cw_view_string(part->report->view, part->group->label);

    return (struct cw_top_group){
        .key = {.stack_id = part->group->stack_id,
                .label = *label ? cw_hash_str(CW_HASH_START, label) : 0,
                .kind = (uint8_t)kind_of(part->group),
                .diagnosis = (uint8_t)part->group->diagnosis},
        .path = path,
        .count = path->count,
        .per_minute = count_new(path),
        .oldest_ms = path->oldest_ms,
    };
}

/* --- processes --- */

static struct cw_top_process process_of(const struct cw_report *report, const struct cw_top_states *states)
{
    const struct cw_ledger *header = report->view->header;
    struct cw_top_process process = {
        .pid = header->pid,
        .outside = (header->flags & CW_HEADER_OUTSIDE) != 0,
        .states = *states,
        .leaked = report->totals.leaked,
        .up_ms = cw_report_uptime_ms(report),
    };
    const char *name = cw_basename(header->exe[0] ? header->exe : header->command);

    for (size_t n = 0; n < sizeof process.name - 1 && name[n]; n++)
        process.name[n] = name[n];
    /* At least what the report itself has asked for is known. */
    if (!states->known)
        process.states.close_wait = report->totals.close_wait;
    return process;
}

int cw_top_model_build(struct cw_top_model *ret, const struct cw_document *document, const struct cw_top_states *states,
                       const struct cw_top_states *all)
{
    struct cw_top_model model = {.states = *all};
    size_t n = 0;

    if (document) {
        for (unsigned section = 0; section < CW_REPORT_SECTIONS; section++)
            n += document->n_paths[section];
        model.groups = calloc(n + 1, sizeof *model.groups);
        model.processes = calloc(document->n_reports, sizeof *model.processes);
        if (!model.groups || !model.processes) {
            cw_top_model_free(&model);
            return -ENOMEM;
        }
        for (unsigned section = 0; section < CW_REPORT_SECTIONS; section++)
            for (uint32_t i = 0; i < document->n_paths[section]; i++)
                model.groups[model.n_groups++] = group_of(&document->paths[section][i]);
        for (uint32_t i = 0; i < document->n_reports; i++)
            model.processes[model.n_processes++] = process_of(document->reports[i], &states[i]);
        model.leaked = document->totals.leaked;
        model.close_wait = document->totals.close_wait;
    }
    if (all->known)
        model.close_wait = all->close_wait;
    *ret = model;
    return 0;
}

int cw_top_model_add(struct cw_top_model *model, const struct cw_top_process *process)
{
    struct cw_top_process *more = realloc(model->processes, (model->n_processes + 1) * sizeof *more);

    if (!more)
        return -ENOMEM;
    model->processes = more;
    more[model->n_processes++] = *process;
    return 0;
}

void cw_top_model_free(struct cw_top_model *model)
{
    free(model->processes);
    free(model->groups);
    *model = (struct cw_top_model){0};
}

/* --- order --- */

static uint32_t weight(const struct cw_top_group *group, enum cw_top_sort sort)
{
    return sort == CW_TOP_BY_COUNT ? group->count : sort == CW_TOP_BY_RATE ? group->per_minute : group->oldest_ms;
}

static int compare(const struct cw_top_group *a, const struct cw_top_group *b, enum cw_top_sort sort)
{
    uint32_t x = weight(a, sort), y = weight(b, sort);

    if (a->key.kind != b->key.kind)
        return a->key.kind < b->key.kind ? -1 : 1;
    if (x != y)
        return x > y ? -1 : 1;
    return a->path < b->path ? -1 : a->path > b->path;
}

#define CW_X(id, name)                                                                                                 \
    static int by_##id(const void *a, const void *b)                                                                   \
    {                                                                                                                  \
        return compare(a, b, CW_TOP_BY_##id);                                                                          \
    }
CW_TOP_SORTS(CW_X)
#undef CW_X

static int by_leaked(const void *a, const void *b)
{
    const struct cw_top_process *x = a, *y = b;

    if (x->leaked != y->leaked)
        return x->leaked > y->leaked ? -1 : 1;
    if (x->states.close_wait != y->states.close_wait)
        return x->states.close_wait > y->states.close_wait ? -1 : 1;
    return (x->pid > y->pid) - (x->pid < y->pid);
}

void cw_top_model_sort(struct cw_top_model *model, enum cw_top_sort sort)
{
    static int (*const by[])(const void *, const void *) = {
#define CW_X(id, name) by_##id,
        CW_TOP_SORTS(CW_X)
#undef CW_X
    };
    if (model->n_groups)
        qsort(model->groups, model->n_groups, sizeof *model->groups, by[sort]);
    if (model->n_processes)
        qsort(model->processes, model->n_processes, sizeof *model->processes, by_leaked);
}
