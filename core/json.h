/* Writing JSON: commas and indentation follow by themselves, strings are always valid UTF-8. As pure as core/out.h.
 *
 * key NULL stands for an element of an array. */
#ifndef CORE_JSON_H
#define CORE_JSON_H

#include "core/document.h"
#include "core/out.h"

struct cw_json {
    struct cw_out *out;
    bool first; /* of the object or array that is open */
    unsigned depth;
};

/* open is '{' or '['; close '}' or ']'. */
void cw_json_open(struct cw_json *json, const char *key, char open);
void cw_json_close(struct cw_json *json, char close);

/* Writes the key; the caller writes one value. */
struct cw_out *cw_json_key(struct cw_json *json, const char *key);

void cw_json_str(struct cw_json *json, const char *key, const char *value); /* NULL: null */
void cw_json_null(struct cw_json *json, const char *key);
void cw_json_bool(struct cw_json *json, const char *key, bool value);
void cw_json_u64(struct cw_json *json, const char *key, uint64_t value);
void cw_json_u64_if(struct cw_json *json, const char *key, bool known, uint64_t value); /* else null */
void cw_json_i64(struct cw_json *json, const char *key, int64_t value);
void cw_json_hex(struct cw_json *json, const char *key, uint64_t value);   /* "00f3…", 16 digits */
void cw_json_seconds(struct cw_json *json, const char *key, uint64_t ms);  /* 93.25 */
void cw_json_utc(struct cw_json *json, const char *key, uint64_t real_ns); /* 0: null */

/* The member "frames": an array of FRAME. */
void cw_json_frames(struct cw_json *json, const struct cw_report *report, uint32_t stack);

/* A text that may have to be redacted; NULL: null. */
void cw_json_redacted(struct cw_json *json, const char *key, const struct cw_report *report, enum cw_redaction which,
                      const char *value);

/* A GROUP of the report's schema: a code path, with the sockets of all processes that have it. */
void cw_json_path(struct cw_json *json, const struct cw_path *path);

/* A PROCESS. */
void cw_json_process(struct cw_json *json, const char *key, const struct cw_report *report);

/* The member "ended". */
void cw_json_ended(struct cw_json *json, const struct cw_ledger *header);

#endif
