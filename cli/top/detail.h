/* An opened code path of `cwguard top`, as lines: what it is, both stacks, evidence, what to do, and every socket.
 *
 * Stacks and evidence are those of the moment at which it was opened; count and sockets follow each look. Single-threaded. */
#ifndef CLI_TOP_DETAIL_H
#define CLI_TOP_DETAIL_H

#include "core/document.h"

#include <stddef.h>

struct cw_top_lines {
    char **text;
    size_t n, room;
};

struct cw_top_detail {
    struct cw_top_lines head, facts, sockets;
};

/* All of it anew. Looks symbols up. What there is no memory for is left out. */
void cw_top_detail_open(struct cw_top_detail *detail, const struct cw_path *path);

/* Count and sockets; path NULL: there are none any more. */
void cw_top_detail_follow(struct cw_top_detail *detail, const struct cw_path *path);

size_t cw_top_detail_lines(const struct cw_top_detail *detail);
const char *cw_top_detail_line(const struct cw_top_detail *detail, size_t n);

/* Begins as {0}. */
void cw_top_detail_free(struct cw_top_detail *detail);

#endif
