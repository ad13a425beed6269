#include "cli/top/rows.h"

#include "cli/top/text.h"
#include "core/diagnose.h"

#include <stdio.h>
#include <string.h>

/* --- columns --- */

enum { CELL_BYTES = 1024, NAME_COLUMNS_MIN = 8, NAME_COLUMNS_PIPE = 20, GAP = 2 };

struct column {
    const char *title;
    unsigned width;
    bool left;     /* text: else a number */
    unsigned rank; /* those of the highest rank go first where there is no room */
};

/* One column of each list has no width of its own: it takes what is left. */
static unsigned fit_columns(const struct column *columns, unsigned n, unsigned width, bool shown[])
{
    unsigned worst, used;

    for (unsigned i = 0; i < n; i++)
        shown[i] = true;
    do {
        worst = 0;
        used = 0;
        for (unsigned i = 0; i < n; i++)
            if (shown[i]) {
                used += columns[i].width + GAP;
                worst = columns[i].rank > worst ? columns[i].rank : worst;
            }
        if (!width || used + NAME_COLUMNS_MIN <= width + GAP || !worst)
            break;
        for (unsigned i = 0; i < n; i++)
            shown[i] = shown[i] && columns[i].rank != worst;
    } while (true);
    return !width ? NAME_COLUMNS_PIPE : used < width + GAP ? width + GAP - used : 0;
}

/* Adds a cell, padded to its width; the last one of a row is not. */
static void add_cell(char to[CW_TOP_ROW_BYTES], const struct column *column, const char *text, unsigned width,
                     bool last)
{
    size_t n = strlen(to);
    char cut[CELL_BYTES];
    unsigned used = cw_top_fit(cut, sizeof cut, text, width), pad = used < width ? width - used : 0;

    snprintf(to + n, CW_TOP_ROW_BYTES - n, "%*s%s%*s", column->left ? 0 : (int)pad, "", cut,
             column->left && !last ? (int)pad : 0, "");
    n = strlen(to);
    if (!last)
        snprintf(to + n, CW_TOP_ROW_BYTES - n, "%*s", GAP, "");
}

static void make_row(char to[CW_TOP_ROW_BYTES], const struct column *columns, unsigned n, unsigned width,
                     char cells[][CELL_BYTES])
{
    bool shown[16];
    unsigned rest = fit_columns(columns, n, width, shown), end = n - 1;

    while (end && !shown[end])
        end--;
    to[0] = 0;
    for (unsigned i = 0; i < n; i++) {
        const char *text = cells ? cells[i] : columns[i].title;
        bool last = i == end;
        unsigned room = columns[i].width ? columns[i].width : rest;
        if (last && !width && columns[i].left) /* the end of a line in a pipe has all the room that it wants */
            room = CELL_BYTES;
        if (shown[i])
            add_cell(to, &columns[i], text, room, last);
    }
}

/* --- the two lists --- */

enum { PID, PROGRAM, ESTABLISHED, CLOSE_WAIT, OTHER, LEAKED, UP, PROCESS_COLUMNS };

static const struct column process_columns[PROCESS_COLUMNS] = {
    [PID] = {"PID", 7, false, 0},
    [PROGRAM] = {"PROGRAM", 0, true, 0},
    [ESTABLISHED] = {"ESTAB", 6, false, 1},
    [CLOSE_WAIT] = {"CLOSE_WAIT", 10, false, 0},
    [OTHER] = {"OTHER", 6, false, 2},
    [LEAKED] = {"LEAKED", 6, false, 0},
    [UP] = {"UP", 9, false, 3},
};

enum { COUNT, RATE, OLDEST, KIND, DIAGNOSIS, WHERE, GROUP_COLUMNS };

static const struct column group_columns[GROUP_COLUMNS] = {
    [COUNT] = {"COUNT", 6, false, 0}, [RATE] = {"/MIN", 5, false, 1},           [OLDEST] = {"OLDEST", 9, false, 2},
    [KIND] = {"KIND", 5, true, 3},    [DIAGNOSIS] = {"DIAGNOSIS", 16, true, 0}, [WHERE] = {"WHERE", 0, true, 0},
};

/* A number, or a dash for one that is not known. */
static void number_cell(char cell[CELL_BYTES], bool known, uint64_t number)
{
    if (known)
        snprintf(cell, CELL_BYTES, "%llu", (unsigned long long)number);
    else
        strcpy(cell, "-");
}

void cw_top_row_process(char to[CW_TOP_ROW_BYTES], const struct cw_top_process *process, unsigned width)
{
    char cells[PROCESS_COLUMNS][CELL_BYTES];

    if (!process) {
        make_row(to, process_columns, PROCESS_COLUMNS, width, NULL);
        return;
    }
    snprintf(cells[PID], CELL_BYTES, "%d", (int)process->pid);
    snprintf(cells[PROGRAM], CELL_BYTES, "%s%s", process->name, process->outside ? " (outside)" : "");
    number_cell(cells[ESTABLISHED], process->states.known, process->states.established);
    number_cell(cells[CLOSE_WAIT], process->states.known || !process->unknown, process->states.close_wait);
    number_cell(cells[OTHER], process->states.known, process->states.other);
    number_cell(cells[LEAKED], !process->unknown, process->leaked);
    cw_top_age(process->up_ms, cells[UP], CELL_BYTES);
    make_row(to, process_columns, PROCESS_COLUMNS, width, cells);
}

void cw_top_row_group(char to[CW_TOP_ROW_BYTES], const struct cw_top_group *group, unsigned width)
{
    char cells[GROUP_COLUMNS][CELL_BYTES];
    const struct cw_part *part;
    const char *label;
    size_t n;

    if (!group) {
        make_row(to, group_columns, GROUP_COLUMNS, width, NULL);
        return;
    }
    part = &group->path->parts[0];
    label = cw_view_string(part->report->view, part->group->label);
    number_cell(cells[COUNT], true, group->count);
    number_cell(cells[RATE], true, group->per_minute);
    cw_top_age(group->oldest_ms, cells[OLDEST], CELL_BYTES);
    strcpy(cells[KIND], cw_top_kind_name((enum cw_top_kind)group->key.kind));
    strcpy(cells[DIAGNOSIS], cw_diagnoses[group->key.diagnosis].id);
    cw_top_place(group->path, cells[WHERE], CELL_BYTES);
    n = strlen(cells[WHERE]);
    if (*label) {
        n += (size_t)snprintf(cells[WHERE] + n, CELL_BYTES - n, ", %s", label);
        n = n < CELL_BYTES ? n : CELL_BYTES - 1;
    }
    if (group->path->n_parts > 1)
        snprintf(cells[WHERE] + n, CELL_BYTES - n, ", %u processes", (unsigned)group->path->n_parts);
    make_row(to, group_columns, GROUP_COLUMNS, width, cells);
}

/* --- totals --- */

static void add_count(char to[CW_TOP_ROW_BYTES], size_t number, const char *noun, const char *nouns)
{
    size_t n = strlen(to);
    snprintf(to + n, CW_TOP_ROW_BYTES - n, "%s%zu %s", n ? ", " : "", number, number == 1 ? noun : nouns);
}

void cw_top_row_totals(char to[CW_TOP_ROW_BYTES], const struct cw_top_model *model)
{
    const struct cw_top_states *states = &model->states;
    size_t paths = 0;

    for (size_t i = 0; i < model->n_groups; i++)
        paths += model->groups[i].key.kind == CW_TOP_LEAK;
    to[0] = 0;
    add_count(to, model->n_processes, "process", "processes");
    if (states->known)
        add_count(to, (size_t)states->established + states->close_wait + states->other, "connection", "connections");
    add_count(to, model->close_wait, "in CLOSE_WAIT", "in CLOSE_WAIT");
    add_count(to, model->leaked, "leaked", "leaked");
    if (paths)
        snprintf(to + strlen(to), CW_TOP_ROW_BYTES - strlen(to), " by %zu code path%s", paths, paths == 1 ? "" : "s");
}
