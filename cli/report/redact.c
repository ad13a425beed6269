#define _GNU_SOURCE /* strchrnul */
#include "cli/report/redact.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* SipHash-2-4: keyed, so that nobody finds an address by hashing all of them. */
struct key {
    unsigned char bytes[crypto_shorthash_KEYBYTES];
};

static const char *const names[CW_REDACT_COUNT] = {
#define CW_X(id, name) [CW_REDACT_##id] = name,
    CW_REDACTIONS(CW_X)
#undef CW_X
};

static uint64_t hash(void *ctx, const void *bytes, size_t n)
{
    const struct key *key = ctx;
    uint64_t ret;

    _Static_assert(sizeof ret == crypto_shorthash_BYTES, "one word");
    crypto_shorthash((unsigned char *)&ret, bytes, n, key->bytes);
    return ret;
}

static void explain_names(const char *wrong, size_t wrong_bytes, char *why, size_t why_bytes)
{
    size_t used = (size_t)snprintf(why, why_bytes, "'%.*s' cannot be redacted; what can:", (int)wrong_bytes, wrong);

    for (unsigned i = 0; i < CW_REDACT_COUNT && used < why_bytes; i++)
        used += (size_t)snprintf(why + used, why_bytes - used, " %s,", names[i]);
    if (used < why_bytes)
        snprintf(why + used, why_bytes - used, " or all of it: all");
}

/* The bits that one name of the list stands for, 0 for a wrong one. */
static unsigned bits_of(const char *name, size_t bytes)
{
    if (bytes == 3 && !memcmp(name, "all", 3))
        return (1u << CW_REDACT_COUNT) - 1;
    for (unsigned i = 0; i < CW_REDACT_COUNT; i++)
        if (bytes == strlen(names[i]) && !memcmp(name, names[i], bytes))
            return 1u << i;
    return 0;
}

static int random_key(struct key *key)
{
    size_t done = 0;

    while (done < sizeof key->bytes) {
        ssize_t got = getrandom(key->bytes + done, sizeof key->bytes - done, 0);
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got > 0)
            done += (size_t)got;
    }
    return 0;
}

int cw_redact_begin(struct cw_redact *ret, const char *list, char *why, size_t why_bytes)
{
    unsigned what = 0;
    struct key *key;
    int error;

    for (const char *name = list; name;) {
        const char *end = strchrnul(name, ',');
        unsigned bits = bits_of(name, (size_t)(end - name));
        if (!bits) {
            explain_names(name, (size_t)(end - name), why, why_bytes);
            return -1;
        }
        what |= bits;
        name = *end ? end + 1 : NULL;
    }
    key = malloc(sizeof *key);
    error = key ? random_key(key) : -ENOMEM;
    if (error) {
        snprintf(why, why_bytes, "no random key could be had: %s", strerror(-error));
        free(key);
        return -1;
    }
    *ret = (struct cw_redact){.what = what, .ctx = key, .hash = hash};
    return 0;
}

void cw_redact_end(struct cw_redact *redact)
{
    if (redact->ctx)
        sodium_memzero(redact->ctx, sizeof(struct key));
    free(redact->ctx);
    *redact = (struct cw_redact){0};
}
