#include "core/json.h"

#include "core/names.h"

static void newline(struct cw_json *json)
{
    cw_out_char(json->out, '\n');
    for (unsigned i = 0; i < json->depth; i++)
        cw_out_char(json->out, ' ');
}

struct cw_out *cw_json_key(struct cw_json *json, const char *key)
{
    if (!json->first)
        cw_out_char(json->out, ',');
    if (json->depth)
        newline(json);
    json->first = false;
    if (key) {
        cw_out_json_str(json->out, key);
        cw_out_str(json->out, ": ");
    }
    return json->out;
}

void cw_json_open(struct cw_json *json, const char *key, char open)
{
    cw_out_char(cw_json_key(json, key), open);
    json->first = true;
    json->depth++;
}

void cw_json_close(struct cw_json *json, char close)
{
    json->depth--;
    if (!json->first)
        newline(json);
    json->first = false;
    cw_out_char(json->out, close);
}

void cw_json_str(struct cw_json *json, const char *key, const char *value)
{
    cw_out_json_str(cw_json_key(json, key), value);
}

void cw_json_null(struct cw_json *json, const char *key)
{
    cw_out_str(cw_json_key(json, key), "null");
}

void cw_json_bool(struct cw_json *json, const char *key, bool value)
{
    cw_out_str(cw_json_key(json, key), value ? "true" : "false");
}

void cw_json_u64(struct cw_json *json, const char *key, uint64_t value)
{
    cw_out_u64(cw_json_key(json, key), value);
}

void cw_json_u64_if(struct cw_json *json, const char *key, bool known, uint64_t value)
{
    if (known)
        cw_json_u64(json, key, value);
    else
        cw_json_null(json, key);
}

void cw_json_i64(struct cw_json *json, const char *key, int64_t value)
{
    cw_out_i64(cw_json_key(json, key), value);
}

void cw_json_hex(struct cw_json *json, const char *key, uint64_t value)
{
    struct cw_out *out = cw_json_key(json, key);

    cw_out_char(out, '"');
    for (int shift = 60; shift >= 0; shift -= 4)
        cw_out_char(out, "0123456789abcdef"[(value >> shift) & 15]);
    cw_out_char(out, '"');
}

void cw_json_seconds(struct cw_json *json, const char *key, uint64_t ms)
{
    struct cw_out *out = cw_json_key(json, key);

    cw_out_u64(out, ms / 1000);
    if (ms % 1000) {
        cw_out_char(out, '.');
        cw_out_char(out, (char)('0' + ms / 100 % 10));
        cw_out_char(out, (char)('0' + ms / 10 % 10));
        cw_out_char(out, (char)('0' + ms % 10));
    }
}

void cw_json_utc(struct cw_json *json, const char *key, uint64_t real_ns)
{
    struct cw_out *out = cw_json_key(json, key);

    if (!real_ns) {
        cw_out_str(out, "null");
        return;
    }
    cw_out_char(out, '"');
    cw_out_utc(out, real_ns);
    cw_out_char(out, '"');
}
