#define _GNU_SOURCE
#include "cli/run/preload_env.h"
#include "core/frames.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- CWGUARD_OPTIONS --- */

static const char *string_of(const struct cw_options *options, const struct cw_option *option)
{
    return (const char *)options + option->offset;
}

static void value_text(struct cw_line *line, const struct cw_options *options, const struct cw_option *option)
{
    struct cw_out out;

    cw_out_line(&out, line);
    cw_option_value(&out, options, option);
    cw_out_flush(&out);
}

bool cw_preload_env_differs(const struct cw_options *options, const struct cw_option *option)
{
    struct cw_options defaults;
    struct cw_line here, there;

    if (option->type == CW_OPTION_STRING)
        return strcmp(string_of(options, option), option->text) != 0;
    cw_options_default(&defaults);
    value_text(&here, options, option);
    value_text(&there, &defaults, option);
    return strcmp(here.text, there.text) != 0;
}

static int write_pair(FILE *to, const struct cw_options *options, const struct cw_option *option, char *why,
                      size_t why_bytes)
{
    struct cw_line line;

    if (option->type != CW_OPTION_STRING) {
        value_text(&line, options, option);
        fprintf(to, "%s=%s:", option->name, line.text);
        return 0;
    }
    const char *value = string_of(options, option), *quote = strchr(value, '"') ? "'" : "\"";
    if (strchr(value, '"') && strchr(value, '\'')) {
        snprintf(why, why_bytes, "option %s: its value may not hold both kinds of quotes", option->name);
        return -1;
    }
    if (!strpbrk(value, ": \t\r\n'\""))
        quote = "";
    fprintf(to, "%s=%s%s%s:", option->name, quote, value, quote);
    return 0;
}

int cw_preload_env_options(char *text, size_t text_bytes, const struct cw_options *options, char *why, size_t why_bytes)
{
    FILE *to = fmemopen(text, text_bytes, "w");
    int result = 0;

    if (!to) {
        snprintf(why, why_bytes, "not enough memory");
        return -1;
    }
    for (int others = 0; others < 2; others++)
        for (size_t i = 0; i < cw_options_count && result == 0; i++) {
            const struct cw_option *option = &cw_options_table[i];
            if ((strcmp(option->name, "run") != 0) == others && cw_preload_env_differs(options, option))
                result = write_pair(to, options, option, why, why_bytes);
        }
    long length = ftell(to);
    bool fits = fclose(to) == 0 && length >= 0 && (size_t)length < text_bytes;
    if (result < 0)
        return -1;
    if (!fits) {
        snprintf(why, why_bytes, "the options are too long for CWGUARD_OPTIONS");
        return -1;
    }
    text[length > 0 ? length - 1 : 0] = 0; /* without the last colon */
    return 0;
}

/* --- LD_PRELOAD --- */

bool cw_preload_env_is_runtime(const char *name)
{
    static const char *const runtimes[] = {"libasan.so",       "libtsan.so",        "liblsan.so",
                                           "libhwasan.so",     "libclang_rt.asan",  "libclang_rt.tsan",
                                           "libclang_rt.lsan", "libclang_rt.hwasan"};

    for (size_t i = 0; i < sizeof runtimes / sizeof *runtimes; i++)
        if (!strncmp(cw_basename(name), runtimes[i], strlen(runtimes[i])))
            return true;
    return false;
}

/* The entries of what was there that are runtimes, or those that are not; each with a colon behind it. Returns how
 * many. */
static unsigned add_entries(FILE *to, const char *was, bool runtimes)
{
    static const char separators[] = ": "; /* as the loader has them */
    unsigned added = 0;

    for (const char *at = was; *(at += strspn(at, separators)); at += strcspn(at, separators)) {
        char *entry = strndup(at, strcspn(at, separators));
        /* A second libcwguard.so, of a run within a run, would record everything twice. */
        if (entry && cw_preload_env_is_runtime(entry) == runtimes && strcmp(cw_basename(entry), "libcwguard.so") != 0) {
            fprintf(to, "%s:", entry);
            added++;
        }
        free(entry);
    }
    return added;
}

/* "LD_PRELOAD=…", or NULL. */
static char *preload_entry(const char *was, const char *library, const char *runtime)
{
    char *entry = NULL;
    size_t n = 0;
    FILE *to = open_memstream(&entry, &n);

    if (!to)
        return NULL;
    fputs("LD_PRELOAD=", to);
    if (add_entries(to, was, true) == 0 && *runtime)
        fprintf(to, "%s:", runtime);
    fprintf(to, "%s:", library);
    add_entries(to, was, false);
    if (fclose(to) != 0)
        return NULL;
    entry[n - 1] = 0; /* the last colon */
    return entry;
}

/* --- both --- */

static const char *value_in(const char *entry, const char *name)
{
    size_t n = strlen(name);
    return !strncmp(entry, name, n) && entry[n] == '=' ? entry + n + 1 : NULL;
}

char **cw_preload_env(char *const *environment, const char *library, const char *runtime, const char *options,
                      char *why, size_t why_bytes)
{
    const char *was = "";
    size_t count = 0, used = 0;

    if (library && strpbrk(library, ": ")) {
        snprintf(why, why_bytes,
                 "%s: LD_PRELOAD takes no path with a colon or a space in it: copy the library elsewhere "
                 "and give --library=FILE",
                 library);
        return NULL;
    }
    for (; environment[count]; count++)
        if (value_in(environment[count], "LD_PRELOAD"))
            was = value_in(environment[count], "LD_PRELOAD");
    char **made = calloc(count + 3, sizeof *made);
    char *preload = library ? preload_entry(was, library, runtime) : NULL, *given = NULL;
    if (!made || (library && !preload) || asprintf(&given, "CWGUARD_OPTIONS=%s", options) < 0) {
        snprintf(why, why_bytes, "not enough memory");
        free(made);
        free(preload);
        return NULL;
    }
    for (size_t i = 0; i < count; i++)
        if (!(library && value_in(environment[i], "LD_PRELOAD")) && !value_in(environment[i], "CWGUARD_OPTIONS"))
            made[used++] = environment[i];
    if (library)
        made[used++] = preload;
    made[used] = given;
    return made;
}
