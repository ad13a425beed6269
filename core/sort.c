#include "core/sort.h"

static void swap(unsigned char *a, unsigned char *b, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        unsigned char byte = a[i];
        a[i] = b[i];
        b[i] = byte;
    }
}

void cw_sort(void *base, size_t n, size_t bytes, int (*compare)(const void *a, const void *b, void *ctx), void *ctx)
{
    unsigned char *at = base;
    size_t root = n / 2;

    /* First half of the rounds: build the heap; second half: move its top behind it. */
    while (n > 1) {
        if (root) {
            root--;
        } else {
            n--;
            swap(at, at + n * bytes, bytes);
        }
        for (size_t parent = root, child; (child = 2 * parent + 1) < n; parent = child) {
            if (child + 1 < n && compare(at + child * bytes, at + (child + 1) * bytes, ctx) < 0)
                child++;
            if (compare(at + parent * bytes, at + child * bytes, ctx) >= 0)
                break;
            swap(at + parent * bytes, at + child * bytes, bytes);
        }
    }
}
