/* Options: what CWGUARD_OPTIONS="key=value:key=value" says, read into one plain struct.
 *
 * The rows of core/options.inc are the only list of options. The parser has the manners of the sanitizers' flags:
 * pairs are separated by ':' or white space, a value may stand in single or double quotes and then hold both, and a
 * wrong pair is one warning line while the rest still applies. Pure: any thread, a signal handler, a forked child. */
#ifndef CORE_OPTIONS_H
#define CORE_OPTIONS_H

#include "core/emitters.inc"
#include "core/out.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CW_CHOICES_LATE(X) X(NOTE, "note", ) X(FAIL, "fail", ) X(OFF, "off", )
#define CW_CHOICES_UNWINDER(X) X(LIBUNWIND, "libunwind", ) X(LIBGCC, "libgcc", ) X(CALLER, "caller", )
#define CW_CHOICES_FORMAT CW_EMITTERS

#define CW_X(id, name, function) CW_LATE_##id,
enum cw_late { CW_CHOICES_LATE(CW_X) CW_LATE_COUNT };
#undef CW_X
#define CW_X(id, name, function) CW_UNWINDER_##id,
enum cw_unwinder { CW_CHOICES_UNWINDER(CW_X) CW_UNWINDER_COUNT };
#undef CW_X
#define CW_X(id, name, function) CW_FORMAT_##id,
enum cw_format { CW_CHOICES_FORMAT(CW_X) CW_FORMAT_COUNT };
#undef CW_X

/* Durations end in _ms, sizes in _bytes; ENUM fields hold the constants above. See core/options.inc. */
struct cw_options {
#define CW_FIELD_MS(name, high) uint32_t name##_ms;
#define CW_FIELD_BYTES(name, high) uint64_t name##_bytes;
#define CW_FIELD_UINT(name, high) uint32_t name;
#define CW_FIELD_BOOL(name, high) bool name;
#define CW_FIELD_STRING(name, high) char name[(high) + 1];
#define CW_FIELD_ENUM(name, high) uint32_t name;
#define CW_OPTION(type, name, value, low, high, sentence) CW_FIELD_##type(name, high)
#include "core/options.inc"
#undef CW_FIELD_MS
#undef CW_FIELD_BYTES
#undef CW_FIELD_UINT
#undef CW_FIELD_BOOL
#undef CW_FIELD_STRING
#undef CW_FIELD_ENUM
};

enum cw_option_type { CW_OPTION_MS, CW_OPTION_BYTES, CW_OPTION_UINT, CW_OPTION_BOOL, CW_OPTION_STRING, CW_OPTION_ENUM };

/* One option as data, for whoever lists or sets them by name (the tool's flags, the JSON report). */
struct cw_option {
    const char *name;
    enum cw_option_type type;
    size_t offset;              /* of the field in struct cw_options */
    uint64_t value, low, high;  /* the default and its range; not for STRING's default */
    const char *text;           /* STRING: the default */
    const char *const *choices; /* ENUM: NULL-terminated, by constant */
    const char *sentence;
};
extern const struct cw_option cw_options_table[];
extern const size_t cw_options_count;

void cw_options_default(struct cw_options *options);

/* Receives one warning line, without a newline. */
typedef void (*cw_options_warn)(void *ctx, const char *line);

/* Applies `text` on top of what is in *options. Returns how many pairs were refused; each gave one call of warn (may be
 * NULL). text NULL is an empty one. */
int cw_options_parse(struct cw_options *options, const char *text, cw_options_warn warn, void *ctx);

/* Sets one option by name (hyphens count as underscores): 0, or -1 after one call of warn with nothing changed. */
int cw_options_set(struct cw_options *options, const char *name, const char *value, cw_options_warn warn, void *ctx);

/* The value as it would be written in CWGUARD_OPTIONS: "30s", "256M", "note". */
void cw_option_value(struct cw_out *out, const struct cw_options *options, const struct cw_option *option);

/* What it may be: "0s to 24h (30, 30s, 500ms, 2m)", "note, fail or off". */
void cw_option_range(struct cw_out *out, const struct cw_option *option);

/* The list with ranges and current values (`help=1`), and docs/options.md with the defaults. */
void cw_options_help(struct cw_out *out, const struct cw_options *options);
void cw_options_markdown(struct cw_out *out);

/* Whether text is matched by pattern as a whole: * any run, ? any byte, [a-z] and [!a-z] sets, \ takes the next
 * literally. '*' and '?' match '/' too. */
bool cw_glob_match(const char *pattern, const char *text);

/* Whether option `programs` lets a program with this path be recorded. */
bool cw_options_program_matches(const struct cw_options *options, const char *exe);

#endif
