/* Sorting in place: heapsort, because it needs neither memory nor recursion and is never slow. Pure. */
#ifndef CORE_SORT_H
#define CORE_SORT_H

#include <stddef.h>

/* Sorts n elements of `bytes` bytes each; compare is negative, 0 or positive and must be total, for equal elements
 * end up in any order. */
void cw_sort(void *base, size_t n, size_t bytes, int (*compare)(const void *a, const void *b, void *ctx), void *ctx);

#endif
