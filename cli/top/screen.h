/* `cwguard top` on a terminal: what is shown where, and what keys do. The terminal itself: cli/top/terminal.h.
 *
 * Single-threaded. */
#ifndef CLI_TOP_SCREEN_H
#define CLI_TOP_SCREEN_H

#include "cli/top/detail.h"
#include "cli/top/model.h"

#include <stdbool.h>
#include <stdint.h>

enum cw_top_list { CW_TOP_PROCESSES, CW_TOP_GROUPS, CW_TOP_LISTS };

struct cw_top_cursor {
    size_t selected; /* row */
};

struct cw_top_screen {
    const struct cw_top_model *model;
    struct cw_top_cursor cursors[CW_TOP_LISTS];
    enum cw_top_list focus;
    enum cw_top_sort sort;
    bool paused, help, open;
    int32_t only_pid; /* code paths of this process alone, 0 of all */
    size_t *groups;   /* those rows of model->groups that are shown */
    size_t n_groups;
    int32_t selected_pid; /* what the cursors stand on, from one look to the next */
    struct cw_top_key selected_key, opened_key;
    struct cw_top_detail detail;
    size_t scroll;
    unsigned shift; /* columns to the left of the screen */
    char clock[16]; /* of the last look */
    char message[256];
};

/* What the caller has to do after a key. */
enum cw_top_wish { CW_TOP_NOTHING, CW_TOP_DRAW, CW_TOP_OPEN, CW_TOP_QUIT };

/* After a look, and after the order has changed: the cursors stay on what they stood on. */
void cw_top_screen_follow(struct cw_top_screen *screen, const struct cw_top_model *model);

/* The code path under the cursor, NULL if there is none; the one with that key likewise. */
const struct cw_top_group *cw_top_screen_selected(const struct cw_top_screen *screen);
const struct cw_top_group *cw_top_screen_find(const struct cw_top_screen *screen, const struct cw_top_key *key);

/* Takes the next key that was typed: *ret_wish says what to do; false when there is none. OPEN: the caller takes a thorough
 * look and calls cw_top_screen_open. */
bool cw_top_screen_key(struct cw_top_screen *screen, enum cw_top_wish *ret_wish);

/* Shows the code path with screen->opened_key; false if it is gone. */
bool cw_top_screen_open(struct cw_top_screen *screen);

void cw_top_screen_draw(const struct cw_top_screen *screen, uint32_t interval_ms);

void cw_top_screen_free(struct cw_top_screen *screen);

#endif
