#include "cli/top/screen.h"

#include <curses.h>
#include <limits.h>
#include <stdlib.h>

/* --- what the cursors stand on --- */

static size_t rows_of(const struct cw_top_screen *screen, enum cw_top_list list)
{
    return list == CW_TOP_PROCESSES ? screen->model->n_processes : screen->n_groups;
}

static bool is_of(const struct cw_path *path, int32_t pid)
{
    bool of = !pid;

    for (uint32_t i = 0; i < path->n_parts && !of; i++)
        of = path->parts[i].report->view->header->pid == pid;
    return of;
}

const struct cw_top_group *cw_top_screen_selected(const struct cw_top_screen *screen)
{
    size_t row = screen->cursors[CW_TOP_GROUPS].selected;
    return row < screen->n_groups ? &screen->model->groups[screen->groups[row]] : NULL;
}

const struct cw_top_group *cw_top_screen_find(const struct cw_top_screen *screen, const struct cw_top_key *key)
{
    for (size_t i = 0; i < screen->model->n_groups; i++)
        if (cw_top_same(&screen->model->groups[i].key, key))
            return &screen->model->groups[i];
    return NULL;
}

static void remember(struct cw_top_screen *screen)
{
    size_t row = screen->cursors[CW_TOP_PROCESSES].selected;
    const struct cw_top_group *group = cw_top_screen_selected(screen);

    screen->selected_pid = row < screen->model->n_processes ? screen->model->processes[row].pid : 0;
    screen->selected_key = group ? group->key : (struct cw_top_key){0};
}

/* Which code paths are shown, and where what was selected stands now. */
static void choose_groups(struct cw_top_screen *screen)
{
    const struct cw_top_model *model = screen->model;
    size_t *rows = realloc(screen->groups, (model->n_groups + 1) * sizeof *rows);

    screen->n_groups = 0;
    if (!rows)
        return;
    screen->groups = rows;
    for (size_t i = 0; i < model->n_groups; i++) {
        if (!is_of(model->groups[i].path, screen->only_pid))
            continue;
        if (cw_top_same(&model->groups[i].key, &screen->selected_key))
            screen->cursors[CW_TOP_GROUPS].selected = screen->n_groups;
        rows[screen->n_groups++] = i;
    }
}

void cw_top_screen_follow(struct cw_top_screen *screen, const struct cw_top_model *model)
{
    bool there = false;

    screen->model = model;
    for (size_t i = 0; i < model->n_processes; i++) {
        if (model->processes[i].pid == screen->selected_pid)
            screen->cursors[CW_TOP_PROCESSES].selected = i;
        there |= model->processes[i].pid == screen->only_pid;
    }
    if (!there)
        screen->only_pid = 0;
    choose_groups(screen);
    for (unsigned list = 0; list < CW_TOP_LISTS; list++) {
        struct cw_top_cursor *cursor = &screen->cursors[list];
        size_t rows = rows_of(screen, (enum cw_top_list)list);
        if (cursor->selected >= rows)
            cursor->selected = rows ? rows - 1 : 0;
    }
    remember(screen);
    if (screen->open) {
        const struct cw_top_group *group = cw_top_screen_find(screen, &screen->opened_key);
        cw_top_detail_follow(&screen->detail, group ? group->path : NULL);
    }
}

bool cw_top_screen_open(struct cw_top_screen *screen)
{
    const struct cw_top_group *group = cw_top_screen_find(screen, &screen->opened_key);

    if (!group)
        return false;
    cw_top_detail_open(&screen->detail, group->path);
    if (!screen->open)
        screen->scroll = screen->shift = 0;
    screen->open = true;
    return true;
}

void cw_top_screen_free(struct cw_top_screen *screen)
{
    cw_top_detail_free(&screen->detail);
    free(screen->groups);
    screen->groups = NULL;
}

/* --- keys --- */

static unsigned page(void)
{
    return LINES > 3 ? (unsigned)LINES - 2 : 1;
}

/* Moves a row number by `by`, within rows. */
static size_t moved(size_t row, long by, size_t rows)
{
    if (by < 0)
        return (size_t)-by > row ? 0 : row - (size_t)-by;
    return row + (size_t)by < rows ? row + (size_t)by : rows ? rows - 1 : 0;
}

/* How far a key moves; 0 for one that does not. */
static long steps_of(int key)
{
    switch (key) {
    case KEY_UP:
    case 'k':
        return -1;
    case KEY_DOWN:
    case 'j':
        return 1;
    case KEY_PPAGE:
        return -(long)page();
    case KEY_NPAGE:
        return (long)page();
    case KEY_HOME:
    case 'g':
        return -LONG_MAX / 2;
    case KEY_END:
    case 'G':
        return LONG_MAX / 2;
    default:
        return 0;
    }
}

static enum cw_top_wish key_in_detail(struct cw_top_screen *screen, int key)
{
    size_t lines = cw_top_detail_lines(&screen->detail);
    long steps = steps_of(key);

    if (steps) {
        screen->scroll = moved(screen->scroll, steps, lines > page() ? lines - page() + 1 : 1);
        return CW_TOP_DRAW;
    }
    switch (key) {
    case 27:
    case 'q':
    case KEY_BACKSPACE:
        screen->open = false;
        return CW_TOP_DRAW;
    case KEY_LEFT:
        screen->shift = screen->shift > 16 ? screen->shift - 16 : 0;
        return CW_TOP_DRAW;
    case KEY_RIGHT:
        screen->shift += screen->shift < 1024 ? 16 : 0;
        return CW_TOP_DRAW;
    case 'r':
    case '\r':
    case KEY_ENTER:
        return screen->paused ? CW_TOP_NOTHING : CW_TOP_OPEN;
    default:
        return CW_TOP_NOTHING;
    }
}

/* The code paths of all processes again. */
static enum cw_top_wish show_all(struct cw_top_screen *screen)
{
    screen->only_pid = 0;
    cw_top_screen_follow(screen, screen->model);
    return CW_TOP_DRAW;
}

static enum cw_top_wish enter(struct cw_top_screen *screen)
{
    const struct cw_top_group *group = cw_top_screen_selected(screen);

    if (screen->focus == CW_TOP_PROCESSES) {
        screen->only_pid = screen->only_pid ? 0 : screen->selected_pid;
        cw_top_screen_follow(screen, screen->model);
        return CW_TOP_DRAW;
    }
    if (!group)
        return CW_TOP_NOTHING;
    screen->opened_key = group->key;
    return CW_TOP_OPEN;
}

static enum cw_top_wish key_in_lists(struct cw_top_screen *screen, int key)
{
    struct cw_top_cursor *cursor = &screen->cursors[screen->focus];
    long steps = steps_of(key);

    if (steps) {
        cursor->selected = moved(cursor->selected, steps, rows_of(screen, screen->focus));
        remember(screen);
        return CW_TOP_DRAW;
    }
    switch (key) {
    case 27:
    case KEY_BACKSPACE:
        return screen->only_pid ? show_all(screen) : CW_TOP_NOTHING;
    case 'q':
        return CW_TOP_QUIT;
    case '\t':
    case KEY_BTAB:
        screen->focus = screen->focus == CW_TOP_PROCESSES ? CW_TOP_GROUPS : CW_TOP_PROCESSES;
        return CW_TOP_DRAW;
    case 's':
        screen->sort = (enum cw_top_sort)((screen->sort + 1) % CW_TOP_SORT_COUNT);
        return CW_TOP_DRAW;
    case '\r':
    case '\n':
    case KEY_ENTER:
        return enter(screen);
    default:
        return CW_TOP_NOTHING;
    }
}

bool cw_top_screen_key(struct cw_top_screen *screen, enum cw_top_wish *ret_wish)
{
    int key = getch();

    if (key == ERR)
        return false;
    *ret_wish = CW_TOP_DRAW;
    screen->message[0] = 0;
    if (key == KEY_RESIZE)
        return true;
    if (screen->help)
        screen->help = false;
    else if (key == '?' || key == 'h')
        screen->help = true;
    else if (key == 'p' || key == ' ')
        screen->paused = !screen->paused;
    else
        *ret_wish = screen->open ? key_in_detail(screen, key) : key_in_lists(screen, key);
    return true;
}
