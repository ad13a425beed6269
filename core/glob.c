/* Patterns of program names: see core/options.h. */
#include "core/options.h"

#include <string.h>

/* Whether c is in the set that begins behind '[' at p; *ret_next is what follows the set. False and *ret_next NULL when
 * the set is not closed: then '[' is an ordinary byte. */
static bool in_set(const char *p, const char *end, unsigned char c, const char **ret_next)
{
    bool not = p < end && (*p == '!' || *p == '^'), found = false;
    const char *first = p + not ;

    *ret_next = NULL;
    for (p = first; p < end; p++) {
        if (*p == ']' && p > first) {
            *ret_next = p + 1;
            return found != not ;
        }
        unsigned char low = (unsigned char)*p, high = low;
        if (end - p > 2 && p[1] == '-' && p[2] != ']') {
            high = (unsigned char)p[2];
            p += 2;
        }
        found |= c >= low && c <= high;
    }
    return false;
}

/* One pattern element other than '*' against one byte: what follows the element, or NULL if it does not match. */
static const char *match_one(const char *p, const char *end, char c)
{
    const char *next;

    if (*p == '?')
        return p + 1;
    if (*p == '[') {
        bool in = in_set(p + 1, end, (unsigned char)c, &next);
        if (next)
            return in ? next : NULL;
    }
    if (*p == '\\' && end - p > 1)
        p++;
    return *p == c ? p + 1 : NULL;
}

/* Only the last '*' ever needs to take more, so the time is at most pattern times text. */
static bool match(const char *p, const char *end, const char *text)
{
    const char *star = NULL, *taken = NULL;

    while (*text) {
        if (p < end && *p == '*') {
            star = ++p;
            taken = text;
            continue;
        }
        const char *next = p < end ? match_one(p, end, *text) : NULL;
        if (next) {
            p = next;
            text++;
        } else if (star) {
            p = star;
            text = ++taken;
        } else {
            return false;
        }
    }
    while (p < end && *p == '*')
        p++;
    return p == end;
}

bool cw_glob_match(const char *pattern, const char *text)
{
    return match(pattern, pattern + strlen(pattern), text);
}

bool cw_options_program_matches(const struct cw_options *options, const char *exe)
{
    const char *slash = strrchr(exe, '/'), *base = slash ? slash + 1 : exe;
    bool any = false;

    for (const char *p = options->programs; *p;) {
        const char *comma = strchr(p, ','), *end = comma ? comma : p + strlen(p), *next = comma ? comma + 1 : end;
        while (p < end && *p == ' ')
            p++;
        while (end > p && end[-1] == ' ')
            end--;
        if (end > p) {
            any = true;
            if (match(p, end, memchr(p, '/', (size_t)(end - p)) ? exe : base))
                return true;
        }
        p = next;
    }
    return !any;
}
