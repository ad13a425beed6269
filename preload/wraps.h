/* The bodies of the rows CW_WRAP: each calls the real function once and the recorder around it. */
#ifndef PRELOAD_WRAPS_H
#define PRELOAD_WRAPS_H

#include "preload/close.h"
#include "preload/hooks.h"
#include "preload/record.h"
#include "preload/stack.h"

#include <errno.h>

/* Parameters with the caller's site in front: CW_WITH_SITE((int fd)) is (const struct cw_site *site, int fd). */
#define CW_STRIP(...) __VA_ARGS__
#define CW_WITH_SITE(parameters) (const struct cw_site *site, CW_STRIP parameters)

#define CW_HOOK(need, type, name, parameters, arguments, after)
#define CW_WRAP(need, type, name, parameters, arguments) type cw_wrap_##name CW_WITH_SITE(parameters);
#define CW_HAND(need, name)
#define CW_ALIAS(alias, name)
#include "preload/hooks.inc"
#undef CW_HOOK
#undef CW_WRAP
#undef CW_HAND
#undef CW_ALIAS

long cw_wrap_syscall(const struct cw_site *site, long nr, long a, long b, long c, long d, long e, long f);

#endif
