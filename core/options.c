#include "core/options.h"

#include <string.h>

static const char *const choices_late[] = {
#define CW_X(id, name, function) name,
    CW_CHOICES_LATE(CW_X) NULL};
static const char *const choices_unwinder[] = {CW_CHOICES_UNWINDER(CW_X) NULL};
static const char *const choices_format[] = {CW_CHOICES_FORMAT(CW_X) NULL};
#undef CW_X

/* The rows name their list of choices by its macro; here it becomes the array of that list. */
#undef CW_CHOICES_LATE
#undef CW_CHOICES_UNWINDER
#undef CW_CHOICES_FORMAT
#define CW_CHOICES_LATE choices_late
#define CW_CHOICES_UNWINDER choices_unwinder
#define CW_CHOICES_FORMAT choices_format

#define AT(name) offsetof(struct cw_options, name)
#define ROW_MS(name, dflt, low, high, sentence)                                                                        \
    {#name, CW_OPTION_MS, AT(name##_ms), dflt, low, high, "", NULL, sentence},
#define ROW_BYTES(name, dflt, low, high, sentence)                                                                     \
    {#name, CW_OPTION_BYTES, AT(name##_bytes), dflt, low, high, "", NULL, sentence},
#define ROW_UINT(name, dflt, low, high, sentence)                                                                      \
    {#name, CW_OPTION_UINT, AT(name), dflt, low, high, "", NULL, sentence},
#define ROW_BOOL(name, dflt, low, high, sentence)                                                                      \
    {#name, CW_OPTION_BOOL, AT(name), dflt, low, high, "", NULL, sentence},
#define ROW_STRING(name, dflt, low, high, sentence)                                                                    \
    {#name, CW_OPTION_STRING, AT(name), 0, low, high, dflt, NULL, sentence},
#define ROW_ENUM(name, dflt, list, high, sentence) {#name, CW_OPTION_ENUM, AT(name), dflt, 0, high, "", list, sentence},

const struct cw_option cw_options_table[] = {
#define CW_OPTION(type, name, dflt, low, high, sentence) ROW_##type(name, dflt, low, high, sentence)
#include "core/options.inc"
};
const size_t cw_options_count = sizeof(cw_options_table) / sizeof(cw_options_table[0]);

static void store(struct cw_options *options, const struct cw_option *row, uint64_t value)
{
    char *field = (char *)options + row->offset;
    uint32_t word = (uint32_t)value;
    bool truth = value != 0;

    if (row->type == CW_OPTION_BYTES)
        memcpy(field, &value, sizeof(value));
    else if (row->type == CW_OPTION_BOOL)
        memcpy(field, &truth, sizeof(truth));
    else
        memcpy(field, &word, sizeof(word));
}

void cw_options_default(struct cw_options *options)
{
    memset(options, 0, sizeof(*options));
    for (size_t i = 0; i < cw_options_count; i++) {
        const struct cw_option *row = &cw_options_table[i];
        if (row->type == CW_OPTION_STRING)
            memcpy((char *)options + row->offset, row->text, strlen(row->text) + 1);
        else
            store(options, row, row->value);
    }
}

/* --- values --- */

/* A piece of the text being parsed: not terminated. */
struct span {
    const char *at;
    size_t n;
};

static bool span_is(struct span s, const char *text)
{
    return strlen(text) == s.n && !memcmp(s.at, text, s.n);
}

struct unit {
    const char *name;
    uint64_t factor;
};
static const struct unit units_ms[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {NULL, 0}};
static const struct unit units_bytes[] = {{"", 1},        {"K", 1 << 10}, {"k", 1 << 10}, {"M", 1 << 20},
                                          {"m", 1 << 20}, {"G", 1 << 30}, {"g", 1 << 30}, {NULL, 0}};
static const struct unit units_none[] = {{"", 1}, {NULL, 0}};

static int parse_number(struct span s, const struct unit *unit, uint64_t *ret)
{
    uint64_t number = 0;
    size_t i = 0;

    for (; i < s.n && s.at[i] >= '0' && s.at[i] <= '9'; i++)
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(s.at[i] - '0'), &number))
            return -1;
    if (!i)
        return -1;
    for (; unit->name; unit++)
        if (span_is((struct span){s.at + i, s.n - i}, unit->name))
            return __builtin_mul_overflow(number, unit->factor, ret) ? -1 : 0;
    return -1;
}

static int parse_choice(struct span s, const char *const *choices, uint64_t *ret)
{
    for (uint64_t i = 0; choices[i]; i++)
        if (span_is(s, choices[i])) {
            *ret = i;
            return 0;
        }
    return -1;
}

static int parse_value(struct cw_options *options, const struct cw_option *row, struct span s)
{
    static const char *const no_yes[] = {"0", "1", "no", "yes", "false", "true", "off", "on", NULL};
    uint64_t value = 0;
    int result = -1;

    switch (row->type) {
    case CW_OPTION_STRING:
        if (s.n > row->high)
            return -1;
        char *field = (char *)options + row->offset;
        memcpy(field, s.at, s.n);
        memset(field + s.n, 0, (size_t)row->high + 1 - s.n);
        return 0;
    case CW_OPTION_ENUM:
        result = parse_choice(s, row->choices, &value);
        break;
    case CW_OPTION_BOOL:
        result = parse_choice(s, no_yes, &value);
        value &= 1;
        break;
    case CW_OPTION_MS:
        result = parse_number(s, units_ms, &value);
        break;
    case CW_OPTION_BYTES:
        result = parse_number(s, units_bytes, &value);
        break;
    case CW_OPTION_UINT:
        result = parse_number(s, units_none, &value);
        break;
    }
    if (result || (row->type != CW_OPTION_ENUM && (value < row->low || value > row->high)))
        return -1;
    store(options, row, value);
    return 0;
}

/* --- warnings --- */

static void out_span(struct cw_out *out, struct span s)
{
    char copy[81];
    size_t n = s.n < sizeof(copy) ? s.n : sizeof(copy) - 1;

    memcpy(copy, s.at, n);
    copy[n] = 0;
    cw_out_char(out, '\'');
    cw_out_safe(out, copy);
    cw_out_str(out, n < s.n ? "…'" : "'");
}

static int refuse(cw_options_warn warn, void *ctx, const struct cw_options *options, const struct cw_option *row,
                  struct span name, struct span value, const char *what)
{
    struct cw_line line;
    struct cw_out out;

    if (!warn)
        return -1;
    cw_out_line(&out, &line);
    if (row) {
        cw_out_str(&out, "option ");
        cw_out_str(&out, row->name);
        cw_out_str(&out, ": ");
        out_span(&out, value);
        cw_out_str(&out, " is refused, it stays ");
        cw_option_value(&out, options, row);
        cw_out_str(&out, "; valid: ");
        cw_option_range(&out, row);
    } else {
        cw_out_str(&out, what);
        out_span(&out, name);
        cw_out_str(&out, "; the options are");
        for (size_t i = 0; i < cw_options_count; i++) {
            cw_out_str(&out, i ? ", " : " ");
            cw_out_str(&out, cw_options_table[i].name);
        }
    }
    cw_out_flush(&out);
    warn(ctx, line.text);
    return -1;
}

/* --- pairs --- */

static const struct cw_option *find(struct span name)
{
    for (size_t i = 0; i < cw_options_count; i++) {
        const char *known = cw_options_table[i].name;
        size_t k = 0;
        while (k < name.n && known[k] && (known[k] == name.at[k] || (known[k] == '_' && name.at[k] == '-')))
            k++;
        if (k == name.n && !known[k])
            return &cw_options_table[i];
    }
    return NULL;
}

static int set(struct cw_options *options, struct span name, struct span value, cw_options_warn warn, void *ctx)
{
    const struct cw_option *row = find(name);

    if (!row)
        return refuse(warn, ctx, options, NULL, name, value, "unknown option ");
    if (parse_value(options, row, value))
        return refuse(warn, ctx, options, row, name, value, "");
    return 0;
}

int cw_options_set(struct cw_options *options, const char *name, const char *value, cw_options_warn warn, void *ctx)
{
    return set(options, (struct span){name, strlen(name)}, (struct span){value, strlen(value)}, warn, ctx);
}

static bool separates(char c)
{
    return c == ':' || c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The value that begins at p; returns where the text goes on, or NULL when a quote is not closed. */
static const char *take_value(const char *p, struct span *ret)
{
    if (*p == '\'' || *p == '"') {
        const char *end = strchr(p + 1, *p);
        if (!end)
            return NULL;
        *ret = (struct span){p + 1, (size_t)(end - p - 1)};
        return end + 1;
    }
    const char *end = p;
    while (*end && !separates(*end))
        end++;
    *ret = (struct span){p, (size_t)(end - p)};
    return end;
}

int cw_options_parse(struct cw_options *options, const char *text, cw_options_warn warn, void *ctx)
{
    const char *p = text ? text : "";
    int refused = 0;

    for (;;) {
        while (separates(*p))
            p++;
        if (!*p)
            return refused;
        struct span name = {p, 0}, value = {p, 0};
        while (*p && *p != '=' && !separates(*p))
            p++;
        name.n = (size_t)(p - name.at);
        if (*p != '=') {
            refuse(warn, ctx, options, NULL, name, value, "NAME=VALUE expected instead of ");
            refused++;
            continue;
        }
        const char *next = take_value(p + 1, &value);
        if (!next) {
            refuse(warn, ctx, options, NULL, name, value, "no closing quote after ");
            return refused + 1;
        }
        p = next;
        refused += set(options, name, value, warn, ctx) ? 1 : 0;
    }
}
