#define _GNU_SOURCE /* wcwidth */
#include "cli/top/text.h"

#include "core/frames.h"
#include "core/names.h"
#include "core/work.h"

#include <langinfo.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

/* --- columns --- */

/* One character of text: its bytes, and its columns; *ret_bytes 1 and one column for what is none. */
static unsigned step(const char *text, size_t *ret_bytes, bool *ret_shown)
{
    mbstate_t state = {0};
    wchar_t c;
    size_t n = mbrtowc(&c, text, MB_LEN_MAX, &state);
    int columns = n && n <= MB_LEN_MAX ? wcwidth(c) : -1;

    *ret_shown = columns >= 0;
    *ret_bytes = n && n <= MB_LEN_MAX ? n : 1;
    return columns >= 0 ? (unsigned)columns : 1;
}

unsigned cw_top_columns(const char *text)
{
    unsigned columns = 0;
    size_t bytes;
    bool shown;

    for (; *text; text += bytes)
        columns += step(text, &bytes, &shown);
    return columns;
}

unsigned cw_top_fit(char *to, size_t to_bytes, const char *text, unsigned columns)
{
    const char *more = strcmp(nl_langinfo(CODESET), "UTF-8") != 0 ? "~" : "\xe2\x80\xa6";
    bool cut = cw_top_columns(text) > columns;
    unsigned room = cut && columns ? columns - 1 : columns, used = 0;
    size_t n = 0, bytes;
    bool shown;

    for (; *text; text += bytes) {
        unsigned width = step(text, &bytes, &shown);
        if (used + width > room || n + bytes + strlen(more) >= to_bytes)
            break;
        if (shown)
            memcpy(to + n, text, bytes);
        else
            to[n] = '?';
        n += shown ? bytes : 1;
        used += width;
    }
    if (*text && columns) {
        strcpy(to + n, more);
        n += strlen(more);
        used++;
    }
    to[n] = 0;
    return used;
}

/* --- places --- */

/* libc, the loader and the C++ library: not where a bug is to be looked for. */
static bool is_library(const struct cw_view *view, uint64_t frame)
{
    const struct cw_module *module = cw_view_module(view, CW_FRAME_MODULE(frame));

    return module && (module->kind == CW_MODULE_LIBC || module->kind == CW_MODULE_LOADER ||
                      !strncmp(cw_basename(cw_view_string(view, module->path)), "libstdc++", 9));
}

static void write_symbol(struct cw_out *out, const struct cw_report *report, const struct cw_symbol *symbol,
                         uint64_t frame)
{
    cw_out_str(out, symbol->function);
    cw_out_char(out, ' ');
    if (!symbol->file) {
        cw_frame_place(out, report->view, frame);
        return;
    }
    cw_out_str(out, cw_basename(symbol->file));
    if (symbol->line) {
        cw_out_char(out, ':');
        cw_out_u64(out, symbol->line);
    }
}

/* As the report's line `next` names it: a script's function first, then one that is not a header's of the C++ library. */
static bool write_stack(struct cw_out *out, const struct cw_report *report, uint32_t stack)
{
    struct cw_symbol *symbols = report->work->symbols;
    uint64_t frames[CW_STACK_MAX_FRAMES];
    unsigned n = cw_frames_shown(report->view, report->in.resolver, stack, symbols, frames);

    for (unsigned i = 0; n && i < 2 * n; i++) {
        uint64_t frame = frames[i % n];
        unsigned found =
            is_library(report->view, frame) ? 0 : cw_frame_symbols(report->view, report->in.resolver, frame, symbols);
        for (unsigned k = 0; k < found; k++) {
            const struct cw_symbol *symbol = &symbols[k];
            if (!symbol->function || (symbol->kind != CW_FRAME_NATIVE) != (i < n) ||
                (symbol->file && strstr(symbol->file, "/c++/")))
                continue;
            write_symbol(out, report, symbol, frame);
            return true;
        }
    }
    for (unsigned i = 0; i < n; i++)
        if (!is_library(report->view, frames[i])) {
            cw_frame_place(out, report->view, frames[i]);
            return true;
        }
    return false;
}

void cw_top_place(const struct cw_path *path, char *to, size_t to_bytes)
{
    const struct cw_part *part = &path->parts[0];
    struct cw_line line;
    struct cw_out out;

    cw_out_line(&out, &line);
    if (!write_stack(&out, part->report, part->group->deciding_stack) &&
        !write_stack(&out, part->report, part->group->origin_stack))
        cw_out_str(&out, part->report->view->header->flags & CW_HEADER_OUTSIDE ? "not recorded" : "no stack is known");
    cw_out_flush(&out);
    snprintf(to, to_bytes, "%s", line.text);
}

void cw_top_age(uint64_t ms, char *to, size_t to_bytes)
{
    struct cw_line line;
    struct cw_out out;

    cw_out_line(&out, &line);
    cw_out_age(&out, ms);
    cw_out_flush(&out);
    snprintf(to, to_bytes, "%s", line.text);
}
