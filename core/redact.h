/* Redaction: what a report must not tell is replaced by a keyed hash, the same for the same text within one report.
 *
 * Whoever writes an address, a command line, a host or a label into a report writes it through these functions. The hash
 * function is the caller's (the tool has a library for it and a random key that it forgets); the recorder has none and never
 * redacts. Pure. */
#ifndef CORE_REDACT_H
#define CORE_REDACT_H

#include "core/out.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What can be redacted: constant, name as in --redact=NAME,… */
#define CW_REDACTIONS(X) X(PEER, "peer") X(LOCAL, "local") X(COMMAND, "command") X(HOST, "host") X(LABEL, "label")

enum cw_redaction {
#define CW_X(id, name) CW_REDACT_##id,
    CW_REDACTIONS(CW_X)
#undef CW_X
        CW_REDACT_COUNT
};

struct cw_redact {
    unsigned what; /* 1u << enum cw_redaction */
    void *ctx;
    uint64_t (*hash)(void *ctx, const void *bytes, size_t n);
};

/* The text, with control characters escaped, or "host-3f9a01c2bd54e6f7". redact NULL: nothing is redacted. */
void cw_redact_text(struct cw_out *out, const struct cw_redact *redact, enum cw_redaction which, const char *text);

/* An address as ss writes it, or "peer-3f9a01c2bd54e6f7:443": the port is kept. */
void cw_redact_address(struct cw_out *out, const struct cw_redact *redact, enum cw_redaction which, uint8_t family,
                       const uint8_t address[16], uint16_t port);

bool cw_redacts(const struct cw_redact *redact, enum cw_redaction which);

#endif
