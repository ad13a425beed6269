#include "core/document.h"

#include "core/frames.h"
#include "core/sort.h"

#include <errno.h>
#include <string.h>

static int order(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* --- paths --- */

/* A group on its way into a path. */
struct entry {
    struct cw_part part;
    uint64_t key;    /* what a path's groups have in common, besides section, diagnosis and severity */
    uint32_t report; /* index */
    uint32_t number; /* of groups of one report that have all in common, how many are before it */
};

static uint64_t key_of(const struct cw_part *part)
{
    const struct cw_view *view = part->report->view;
    const struct cw_group *group = part->group;
    const struct cw_conn *oldest = cw_report_conn(part->report, &part->report->items[group->first]);
    uint32_t outside = view->header->flags & CW_HEADER_OUTSIDE; /* other words are true for those without a recorder */
    uint16_t port = oldest->origin == CW_ORIGIN_QUEUED ? oldest->local_port : 0; /* a group for each listener */
    const uint64_t *frames = NULL;
    uint64_t key = cw_hash_bytes(CW_HASH_START, &group->stack_id, sizeof(group->stack_id));

    key = cw_hash_bytes(key, &outside, sizeof(outside));
    key = cw_hash_bytes(key, &port, sizeof(port));
    if (!cw_view_stack(view, group->origin_stack, &frames, NULL) &&
        !cw_view_stack(view, group->deciding_stack, &frames, NULL))
        key = cw_hash_str(key, view->header->exe); /* no code is known: another program's is another */
    key = cw_hash_stack(key, view, group->close_stack);
    return cw_hash_str(key, cw_view_string(view, group->label));
}

static int compare_kinds(const struct entry *a, const struct entry *b)
{
    int result = order(a->part.group->section, b->part.group->section);
    result = result ? result : order(a->part.group->diagnosis, b->part.group->diagnosis);
    result = result ? result : order(a->part.group->severity, b->part.group->severity);
    return result ? result : order(a->key, b->key);
}

/* In the order of the report that it belongs to. */
static int compare_places(const struct entry *a, const struct entry *b)
{
    int result = order(a->report, b->report);
    return result ? result : order((uintptr_t)a->part.group, (uintptr_t)b->part.group);
}

static int compare_to_number(const void *first, const void *second, void *ctx)
{
    (void)ctx;
    int result = compare_kinds(first, second);
    return result ? result : compare_places(first, second);
}

static int compare_entries(const void *first, const void *second, void *ctx)
{
    const struct entry *a = first, *b = second;
    (void)ctx;
    int result = compare_kinds(a, b);
    result = result ? result : order(a->number, b->number);
    result = result ? result : order(b->part.group->count, a->part.group->count);
    return result ? result : compare_places(a, b);
}

struct build {
    struct entry *entries;
    struct cw_part *parts; /* parts[i] is that of entries[i] */
    struct cw_path *paths;
    uint32_t n_entries, n_paths;
};

static int compare_paths(const void *first, const void *second, void *ctx)
{
    const struct cw_path *a = first, *b = second;
    const struct build *build = ctx;
    const struct cw_group *group_a = a->parts->group, *group_b = b->parts->group;

    int result = order(group_a->section, group_b->section);
    result = result ? result : order(group_a->severity, group_b->severity);
    result = result ? result : order(b->count, a->count);
    result = result ? result : order(b->oldest_ms, a->oldest_ms);
    result = result ? result : order(group_a->stack_id, group_b->stack_id);
    return result ? result
                  : compare_places(&build->entries[a->parts - build->parts], &build->entries[b->parts - build->parts]);
}

size_t cw_document_scratch_bytes(const struct cw_report *const *reports, uint32_t n)
{
    size_t groups = 0;

    for (uint32_t i = 0; i < n; i++)
        for (unsigned section = 0; section < CW_REPORT_SECTIONS; section++)
            groups += reports[i]->n_groups[section];
    return groups * (sizeof(struct entry) + sizeof(struct cw_part) + sizeof(struct cw_path));
}

static void enter_groups(struct build *build, const struct cw_report *const *reports, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        for (unsigned section = 0; section < CW_REPORT_SECTIONS; section++)
            for (uint32_t k = 0; k < reports[i]->n_groups[section]; k++) {
                struct entry *entry = &build->entries[build->n_entries++];
                *entry = (struct entry){.part = {reports[i], &reports[i]->groups[section][k]}, .report = i};
                entry->key = key_of(&entry->part);
            }
}

static void number_groups(struct build *build)
{
    cw_sort(build->entries, build->n_entries, sizeof(*build->entries), compare_to_number, NULL);
    for (uint32_t i = 1; i < build->n_entries; i++) {
        struct entry *entry = &build->entries[i], *before = entry - 1;
        if (entry->report == before->report && !compare_kinds(entry, before))
            entry->number = before->number + 1;
    }
}

static void join_groups(struct build *build)
{
    cw_sort(build->entries, build->n_entries, sizeof(*build->entries), compare_entries, NULL);
    for (uint32_t i = 0; i < build->n_entries; i++) {
        const struct entry *entry = &build->entries[i];
        const struct cw_group *group = entry->part.group;
        build->parts[i] = entry->part;
        if (!i || entry->number != entry[-1].number || compare_kinds(entry, entry - 1))
            build->paths[build->n_paths++] = (struct cw_path){.parts = &build->parts[i], .newest_ms = UINT32_MAX};
        struct cw_path *path = &build->paths[build->n_paths - 1];
        path->n_parts++;
        path->count += group->count;
        path->oldest_ms = group->oldest_ms > path->oldest_ms ? group->oldest_ms : path->oldest_ms;
        path->newest_ms = group->newest_ms < path->newest_ms ? group->newest_ms : path->newest_ms;
    }
    cw_sort(build->paths, build->n_paths, sizeof(*build->paths), compare_paths, build);
}

static void add_totals(struct cw_report_totals *sum, const struct cw_report_totals *one)
{
    sum->close_wait += one->close_wait;
    sum->leaked += one->leaked;
    sum->notes += one->notes;
    sum->settling += one->settling;
    sum->closed_late += one->closed_late;
    sum->errors += one->errors;
    sum->queued += one->queued;
    sum->not_listed += one->not_listed;
}

int cw_document_build(struct cw_document *ret, const struct cw_report *const *reports, uint32_t n, void *scratch,
                      size_t scratch_bytes)
{
    size_t bytes = cw_document_scratch_bytes(reports, n);
    size_t room = bytes / (sizeof(struct entry) + sizeof(struct cw_part) + sizeof(struct cw_path));
    struct build build = {.entries = scratch};

    if (scratch_bytes < bytes)
        return -ENOSPC;
    build.parts = (struct cw_part *)(void *)(build.entries + room);
    build.paths = (struct cw_path *)(void *)(build.parts + room);
    memset(ret, 0, sizeof(*ret));
    ret->reports = reports;
    ret->n_reports = n;
    for (uint32_t i = 0; i < n; i++)
        add_totals(&ret->totals, &reports[i]->totals);
    enter_groups(&build, reports, n);
    number_groups(&build);
    join_groups(&build);
    for (uint32_t i = 0; i < build.n_paths; i++) {
        enum cw_report_section section = build.paths[i].parts->group->section;
        if (!ret->n_paths[section]++)
            ret->paths[section] = &build.paths[i];
        if (ret->n_paths[section] > CW_PATHS_LISTED)
            ret->totals.not_listed += build.paths[i].count;
    }
    return 0;
}

/* --- questions --- */

uint64_t cw_document_counter(const struct cw_document *document, enum cw_counter counter)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < document->n_reports; i++)
        sum += document->reports[i]->view->header->counters[counter];
    return sum;
}

uint64_t cw_document_connections(const struct cw_document *document)
{
    uint64_t opened = cw_document_counter(document, CW_COUNTER_accepted);
    uint64_t most = 0;

    opened += cw_document_counter(document, CW_COUNTER_connected);
    for (uint32_t i = 0; i < document->n_reports; i++) {
        uint64_t seen = document->reports[i]->view->header->counters[CW_COUNTER_connections];
        most = seen > most ? seen : most;
    }
    return opened > most ? opened : most;
}

uint32_t cw_document_recorded(const struct cw_document *document)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < document->n_reports; i++)
        n += !(document->reports[i]->view->header->flags & CW_HEADER_OUTSIDE);
    return n;
}

bool cw_document_has_findings(const struct cw_document *document)
{
    for (unsigned i = 0; i < CW_REPORT_SECTIONS; i++)
        if (document->n_paths[i])
            return true;
    return false;
}

bool cw_document_fails(const struct cw_document *document)
{
    for (uint32_t i = 0; i < document->n_reports; i++)
        if (cw_report_fails(document->reports[i]))
            return true;
    return false;
}
