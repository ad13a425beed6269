/* The environment in which a program loads libcwguard.so: LD_PRELOAD and CWGUARD_OPTIONS on top of what is there.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_RUN_PRELOAD_ENV_H
#define CLI_RUN_PRELOAD_ENV_H

#include "core/options.h"

#include <stdbool.h>
#include <stddef.h>

/* Whether an option has another value than its default. */
bool cw_preload_env_differs(const struct cw_options *options, const struct cw_option *option);

/* Writes the options that differ from their defaults as CWGUARD_OPTIONS takes them, `run` first: a ledger keeps the
 * first kilobyte of it. Returns 0, or -1 with the reason in `why`: a value holds both kinds of quotes, or it is too
 * long. */
int cw_preload_env_options(char *text, size_t text_bytes, const struct cw_options *options, char *why,
                           size_t why_bytes);

/* A copy of an environment with the library in LD_PRELOAD and CWGUARD_OPTIONS=options. What LD_PRELOAD held stays,
 * behind the library; before it come the sanitizers' runtimes that were there, or else `runtime` ("" if the program
 * needs none). library NULL: LD_PRELOAD stays as it is. NULL with the reason in `why`: no memory, or a path that
 * LD_PRELOAD cannot hold. It is never freed. */
char **cw_preload_env(char *const *environment, const char *library, const char *runtime, const char *options,
                      char *why, size_t why_bytes);

/* Whether a library of this name (its last part counts) is a sanitizer's runtime, which insists on being the first. */
bool cw_preload_env_is_runtime(const char *name);

#endif
