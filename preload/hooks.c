/* Finding the real functions. */
#define _GNU_SOURCE
#include "preload/hooks.h"

#include <stddef.h>

struct cw_real cw_real;

struct row {
    const char *name;
    size_t offset;
    bool required;
};

enum { NEED_MUST = 1, NEED_MAY = 0 };

static const struct row rows[] = {
#define CW_ROW(need, name) {#name, offsetof(struct cw_real, name), NEED_##need},
#define CW_HOOK(need, type, name, parameters, arguments, after) CW_ROW(need, name)
#define CW_WRAP(need, type, name, parameters, arguments) CW_ROW(need, name)
#define CW_HAND(need, name) CW_ROW(need, name)
#define CW_ALIAS(alias, name)
#include "preload/hooks.inc"
#undef CW_HOOK
#undef CW_WRAP
#undef CW_HAND
#undef CW_ALIAS
#undef CW_ROW
};

/* dlsym of a name that exists neither mallocs nor locks anything of the program's (glibc); of one that does not exist it
 * mallocs an error text, and an allocator's own start may then come back here through read or close: those rows are found
 * first. Two threads may both do this; they store the same values. */
const char *cw_hooks_resolve(void)
{
    const char *missing = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        void **place = (void **)(void *)((char *)&cw_real + rows[i].offset);
        if (__atomic_load_n(place, __ATOMIC_RELAXED))
            continue;
        void *found = dlsym(RTLD_NEXT, rows[i].name);
        if (!found && rows[i].required)
            missing = rows[i].name;
        __atomic_store_n(place, found, __ATOMIC_RELAXED);
    }
    return missing;
}
