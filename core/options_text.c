/* Options as text: one value, a range, the list for help=1, docs/options.md. */
#include "core/options.h"

#include <string.h>

static uint64_t load(const struct cw_options *options, const struct cw_option *row)
{
    const char *field = (const char *)options + row->offset;
    uint64_t value = 0;
    uint32_t word = 0;
    bool truth = false;

    if (row->type == CW_OPTION_BYTES) {
        memcpy(&value, field, sizeof(value));
        return value;
    }
    if (row->type == CW_OPTION_BOOL) {
        memcpy(&truth, field, sizeof(truth));
        return truth;
    }
    memcpy(&word, field, sizeof(word));
    return word;
}

static void out_number(struct cw_out *out, enum cw_option_type type, uint64_t value)
{
    const char *unit = "";

    if (type == CW_OPTION_MS) {
        unit = "ms";
        if (value % 1000 == 0) {
            bool hours = value && value % 3600000 == 0, minutes = value && value % 60000 == 0;
            unit = hours ? "h" : minutes ? "m" : "s";
            value /= hours ? 3600000 : minutes ? 60000 : 1000;
        }
    } else if (type == CW_OPTION_BYTES && value) {
        for (const char *next = "K\0M\0G"; value % 1024 == 0 && *unit != 'G'; next += 2) {
            value /= 1024;
            unit = next;
        }
    }
    cw_out_u64(out, value);
    cw_out_str(out, unit);
}

static void out_string(struct cw_out *out, const char *s)
{
    const char *quote = !*s || strpbrk(s, ": \t\n\r'\"") ? (strchr(s, '\'') ? "\"" : "'") : "";

    cw_out_str(out, quote);
    cw_out_safe(out, s);
    cw_out_str(out, quote);
}

void cw_option_value(struct cw_out *out, const struct cw_options *options, const struct cw_option *option)
{
    uint64_t value = option->type == CW_OPTION_STRING ? 0 : load(options, option);

    if (option->type == CW_OPTION_STRING)
        out_string(out, (const char *)options + option->offset);
    else if (option->type == CW_OPTION_ENUM)
        cw_out_str(out, option->choices[value]);
    else
        out_number(out, option->type, value);
}

void cw_option_range(struct cw_out *out, const struct cw_option *option)
{
    switch (option->type) {
    case CW_OPTION_STRING:
        cw_out_str(out, "text of at most ");
        cw_out_u64(out, option->high);
        cw_out_str(out, " bytes");
        return;
    case CW_OPTION_BOOL:
        cw_out_str(out, "0 or 1");
        return;
    case CW_OPTION_ENUM:
        for (size_t i = 0; option->choices[i]; i++) {
            cw_out_str(out, !i ? "" : option->choices[i + 1] ? ", " : " or ");
            cw_out_str(out, option->choices[i]);
        }
        return;
    case CW_OPTION_MS:
    case CW_OPTION_BYTES:
    case CW_OPTION_UINT:
        out_number(out, option->type, option->low);
        cw_out_str(out, " to ");
        out_number(out, option->type, option->high);
        cw_out_str(out, option->type == CW_OPTION_MS      ? " (30, 30s, 500ms, 2m)"
                        : option->type == CW_OPTION_BYTES ? " (64K, 256M, 1G)"
                                                          : "");
        return;
    }
}

void cw_options_help(struct cw_out *out, const struct cw_options *options)
{
    cw_out_str(out, "Options of cwguard, as in CWGUARD_OPTIONS=\"grace=10s:format=json\":\n");
    for (size_t i = 0; i < cw_options_count; i++) {
        const struct cw_option *row = &cw_options_table[i];
        cw_out_str(out, "  ");
        cw_out_str(out, row->name);
        cw_out_char(out, '=');
        cw_option_value(out, options, row);
        cw_out_str(out, "\n      ");
        cw_out_str(out, row->sentence);
        cw_out_str(out, "\n      ");
        cw_option_range(out, row);
        cw_out_char(out, '\n');
    }
}

void cw_options_markdown(struct cw_out *out)
{
    struct cw_options options;

    cw_options_default(&options);
    cw_out_str(out,
               "# Options\n\n"
               "<!-- Generated from core/options.inc by `cwguard help options --markdown`; do not edit. -->\n\n"
               "The library reads them once, at the start of the program, from the environment:\n\n"
               "    CWGUARD_OPTIONS=\"key=value:key=value\"\n\n"
               "Pairs are separated by ':' or white space; a value in single or double quotes may hold both. A name\n"
               "that does not exist or a value out of range gives one warning line, and the rest still applies. Under\n"
               "AT_SECURE (setuid programs) the variable is ignored. `cwguard report` takes some of them as flags,\n"
               "with hyphens: `exit_grace=5s` is `--exit-grace=5s`; `cwguard report --help` lists these.\n\n"
               "| option | default | values | what it does |\n"
               "|---|---|---|---|\n");
    for (size_t i = 0; i < cw_options_count; i++) {
        const struct cw_option *row = &cw_options_table[i];
        cw_out_str(out, "| `");
        cw_out_str(out, row->name);
        cw_out_str(out, "` | `");
        cw_option_value(out, &options, row);
        cw_out_str(out, "` | ");
        cw_option_range(out, row);
        cw_out_str(out, " | ");
        cw_out_str(out, row->sentence);
        cw_out_str(out, " |\n");
    }
    cw_out_str(out,
               "\n## At the end of the process\n\n"
               "The report is made after the program's own atexit handlers and static destructors, but before the\n"
               "destructors of other libraries: connections that those close at exit are looked at just before.\n");
}
