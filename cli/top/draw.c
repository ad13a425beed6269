/* What `cwguard top` puts on the screen. */
#include "cli/top/rows.h"
#include "cli/top/screen.h"
#include "cli/top/text.h"

#include <curses.h>
#include <stdio.h>
#include <string.h>

enum { LINES_MIN = 6, COLUMNS_MIN = 20 };

/* For the page that `?` opens: what is typed, what it does. */
static const struct {
    const char *keys, *what;
} help[] = {
    {"Up Down k j", "move; PgUp, PgDn, Home, End and g, G too"},
    {"Tab", "from the processes to the code paths and back"},
    {"Enter", "on a code path: stacks, evidence, sockets"},
    {"", "on a process: its code paths alone, or all again"},
    {"s", "order: by count, by rate, by age"},
    {"p Space", "pause, and go on"},
    {"r", "in an opened code path: look again, thoroughly"},
    {"Left Right", "in an opened code path: see long lines"},
    {"Esc q", "back; q from the lists quits"},
    {"?", "this page"},
};
enum { HELP_ROWS = sizeof help / sizeof *help };

static const char columns_help[] =
    "/MIN: sockets that became a leak in the last minute. KIND: leak, error (failed, not closed), note, late.";

/* One row, cut to the screen, over whatever stood there. */
static void put(int y, attr_t how, const char *text)
{
    char row[CW_TOP_ROW_BYTES];

    if (y < 0 || y >= LINES)
        return;
    cw_top_fit(row, sizeof row, text, (unsigned)COLS);
    wattrset(stdscr, (int)how);
    mvaddstr(y, 0, row);
    if (how & A_REVERSE) /* the bar goes over the whole width */
        mvchgat(y, 0, -1, how, (short)PAIR_NUMBER(how), NULL);
    wattrset(stdscr, (int)A_NORMAL);
}

/* --- the lists --- */

static attr_t colour_of(enum cw_top_kind kind)
{
    if (!has_colors() || COLOR_PAIRS < 3)
        return A_NORMAL;
    return kind == CW_TOP_LEAK || kind == CW_TOP_ERROR ? (attr_t)COLOR_PAIR(1) : (attr_t)COLOR_PAIR(2);
}

/* The first row to show, so that the cursor is among them. */
static size_t first_row(const struct cw_top_cursor *cursor, unsigned room)
{
    return room && cursor->selected >= room ? cursor->selected - room + 1 : 0;
}

static void put_processes(const struct cw_top_screen *screen, int y, unsigned room)
{
    const struct cw_top_cursor *cursor = &screen->cursors[CW_TOP_PROCESSES];
    size_t first = first_row(cursor, room);
    char row[CW_TOP_ROW_BYTES];

    cw_top_row_process(row, NULL, (unsigned)COLS);
    put(y, A_BOLD | A_UNDERLINE, row);
    for (unsigned i = 0; i < room && first + i < screen->model->n_processes; i++) {
        bool selected = screen->focus == CW_TOP_PROCESSES && first + i == cursor->selected;
        cw_top_row_process(row, &screen->model->processes[first + i], (unsigned)COLS);
        put(y + 1 + (int)i, selected ? A_REVERSE : A_NORMAL, row);
    }
}

static void put_groups(const struct cw_top_screen *screen, int y, unsigned room)
{
    const struct cw_top_cursor *cursor = &screen->cursors[CW_TOP_GROUPS];
    size_t first = first_row(cursor, room);
    char row[CW_TOP_ROW_BYTES];

    cw_top_row_group(row, NULL, (unsigned)COLS);
    put(y, A_BOLD | A_UNDERLINE, row);
    for (unsigned i = 0; i < room && first + i < screen->n_groups; i++) {
        const struct cw_top_group *group = &screen->model->groups[screen->groups[first + i]];
        bool selected = screen->focus == CW_TOP_GROUPS && first + i == cursor->selected;
        cw_top_row_group(row, group, (unsigned)COLS);
        put(y + 1 + (int)i, colour_of((enum cw_top_kind)group->key.kind) | (selected ? A_REVERSE : 0), row);
    }
    if (!screen->n_groups && room)
        put(y + 1, A_NORMAL,
            screen->model->n_processes
                ? "  none: no socket is in CLOSE_WAIT for longer than the grace period"
                : "  waiting for a process that runs under libcwguard.so (cwguard run -- ./server)");
}

static void put_lists(const struct cw_top_screen *screen)
{
    unsigned room = (unsigned)LINES - 5, processes = room / 3 ? room / 3 : 1;
    char row[CW_TOP_ROW_BYTES];

    /* What the code paths do not need is for the processes. */
    if (screen->n_groups + processes < room)
        processes = room - (screen->n_groups ? (unsigned)screen->n_groups : 1);
    if (screen->model->n_processes < processes)
        processes = screen->model->n_processes ? (unsigned)screen->model->n_processes : 1;
    cw_top_row_totals(row, screen->model);
    put(1, A_NORMAL, row);
    put_processes(screen, 2, processes);
    put_groups(screen, 3 + (int)processes, room - processes);
}

/* --- the other pages --- */

static void put_help(void)
{
    char row[CW_TOP_ROW_BYTES];
    int y = 1;

    for (unsigned i = 0; i < HELP_ROWS; i++) {
        snprintf(row, sizeof row, "  %-12s %s", help[i].keys, help[i].what);
        put(y++, A_NORMAL, row);
    }
    put(++y, A_NORMAL, columns_help);
}

/* What stands from column `from` on. */
static const char *shifted(const char *text, unsigned from)
{
    while (from && *text) {
        do
            text++;
        while (((unsigned char)*text & 0xC0) == 0x80);
        from--;
    }
    return text;
}

static void put_detail(const struct cw_top_screen *screen)
{
    size_t lines = cw_top_detail_lines(&screen->detail);

    for (size_t i = 0; i + 2 < (size_t)LINES && screen->scroll + i < lines; i++)
        put(1 + (int)i, screen->scroll + i ? A_NORMAL : A_BOLD,
            shifted(cw_top_detail_line(&screen->detail, screen->scroll + i), screen->shift));
}

/* --- */

static void put_title(const struct cw_top_screen *screen, uint32_t interval_ms)
{
    char row[CW_TOP_ROW_BYTES], of[48] = "", every[32];

    snprintf(every, sizeof every, "every %g s", interval_ms / 1000.0);
    if (screen->only_pid)
        snprintf(of, sizeof of, "  code paths of pid %d", (int)screen->only_pid);
    snprintf(row, sizeof row, "cwguard top  %s  %s  by %s%s", screen->clock, screen->paused ? "PAUSED" : every,
             cw_top_sort_name(screen->sort), of);
    put(0, A_REVERSE, row);
}

static void put_footer(const struct cw_top_screen *screen)
{
    const char *keys = screen->help   ? "any key: back"
                       : screen->open ? "q back  Up/Down scroll  r look again  p pause  ? help"
                                      : "q quit  Tab list  Enter open  s sort  p pause  ? help";

    put(LINES - 1, A_REVERSE, screen->message[0] ? screen->message : keys);
}

void cw_top_screen_draw(const struct cw_top_screen *screen, uint32_t interval_ms)
{
    char row[CW_TOP_ROW_BYTES];

    erase();
    if (LINES < LINES_MIN || COLS < COLUMNS_MIN) {
        cw_top_row_totals(row, screen->model);
        put(0, A_NORMAL, row);
        refresh();
        return;
    }
    put_title(screen, interval_ms);
    if (screen->help)
        put_help();
    else if (screen->open)
        put_detail(screen);
    else
        put_lists(screen);
    put_footer(screen);
    refresh();
}
