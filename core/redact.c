#include "core/redact.h"

#include <string.h>

bool cw_redacts(const struct cw_redact *redact, enum cw_redaction which)
{
    return redact && redact->hash && (redact->what & 1u << which);
}

static void out_hash(struct cw_out *out, const struct cw_redact *redact, enum cw_redaction which, const void *bytes,
                     size_t n)
{
#define CW_X(id, name) [CW_REDACT_##id] = name,
    static const char *const names[] = {CW_REDACTIONS(CW_X)};
#undef CW_X
    uint64_t hash = redact->hash(redact->ctx, bytes, n);

    cw_out_str(out, names[which]);
    cw_out_char(out, '-');
    for (int shift = 60; shift >= 0; shift -= 4)
        cw_out_char(out, "0123456789abcdef"[(hash >> shift) & 15]);
}

void cw_redact_text(struct cw_out *out, const struct cw_redact *redact, enum cw_redaction which, const char *text)
{
    if (cw_redacts(redact, which))
        out_hash(out, redact, which, text, strlen(text));
    else
        cw_out_safe(out, text);
}

void cw_redact_address(struct cw_out *out, const struct cw_redact *redact, enum cw_redaction which, uint8_t family,
                       const uint8_t address[16], uint16_t port)
{
    enum { FAMILY_INET = 2 };

    if (!cw_redacts(redact, which)) {
        cw_out_address(out, family, address, port);
        return;
    }
    /* The same host by IPv4 and by an IPv4-mapped address has one name. */
    static const uint8_t mapped[12] = {[10] = 0xFF, [11] = 0xFF};
    bool is_mapped = family != FAMILY_INET && !memcmp(address, mapped, sizeof(mapped));
    out_hash(out, redact, which, is_mapped ? address + 12 : address, is_mapped || family == FAMILY_INET ? 4 : 16);
    cw_out_char(out, ':');
    if (port)
        cw_out_u64(out, port);
    else
        cw_out_char(out, '*');
}
