/* /proc/net/tcp and tcp6, one line at a time. */
#include "core/proctcp.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

struct cursor {
    const char *at, *end;
    bool bad;
};

static void skip_spaces(struct cursor *cursor)
{
    while (cursor->at < cursor->end && *cursor->at == ' ')
        cursor->at++;
}

static void skip_char(struct cursor *cursor, char c)
{
    if (cursor->at < cursor->end && *cursor->at == c)
        cursor->at++;
    else
        cursor->bad = true;
}

/* Digits in this base, at least one and at most max; spaces before them are passed over. */
static uint64_t number(struct cursor *cursor, unsigned base, unsigned max)
{
    uint64_t value = 0;
    unsigned n = 0;
    skip_spaces(cursor);
    for (; cursor->at < cursor->end && n < max; n++, cursor->at++) {
        char c = *cursor->at;
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
                                                : 99;
        if (digit >= base)
            break;
        value = value * base + digit;
    }
    cursor->bad |= n == 0;
    return value;
}

/* The kernel prints each 32-bit word of an address as a number in its own byte order. */
static void address(struct cursor *cursor, unsigned words, uint8_t ret[16], uint16_t *ret_port)
{
    memset(ret, 0, 16);
    skip_spaces(cursor);
    for (unsigned i = 0; i < words; i++) {
        uint32_t word = (uint32_t)number(cursor, 16, 8);
        memcpy(ret + 4 * i, &word, sizeof word);
    }
    skip_char(cursor, ':');
    *ret_port = (uint16_t)number(cursor, 16, 4);
}

bool cw_proctcp_line(const char *line, size_t n, uint8_t family, struct cw_sock *ret)
{
    struct cursor cursor = {.at = line, .end = line + n};
    unsigned words = family == AF_INET6 ? 4 : 1;
    memset(ret, 0, sizeof *ret);
    ret->family = family;
    ret->protocol = IPPROTO_TCP;
    number(&cursor, 10, 10); /* sl */
    skip_char(&cursor, ':');
    address(&cursor, words, ret->local, &ret->local_port);
    address(&cursor, words, ret->peer, &ret->peer_port);
    ret->state = (uint8_t)number(&cursor, 16, 2);
    ret->send_q = (uint32_t)number(&cursor, 16, 8);
    skip_char(&cursor, ':');
    ret->recv_q = (uint32_t)number(&cursor, 16, 8);
    ret->has_queues = true;
    ret->keepalive = number(&cursor, 16, 2) == 2; /* tr: which timer is active; 2 is the socket's own, keep-alive */
    skip_char(&cursor, ':');
    number(&cursor, 16, 16); /* tm->when */
    number(&cursor, 16, 8);  /* retrnsmt */
    number(&cursor, 10, 10); /* uid */
    number(&cursor, 10, 10); /* timeout: unanswered probes */
    ret->inode = (uint32_t)number(&cursor, 10, 20);
    return !cursor.bad;
}
