#include "core/names.h"

#include "include/cwguard_ledger.h"

#include <errno.h>
#include <stddef.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

const char *cw_call_name(unsigned call)
{
    static const char *const names[] = {NULL,
#define CW_X(name) #name,
                                        CW_CALLS(CW_X)
#undef CW_X
    };
    return call < COUNT(names) ? names[call] : NULL;
}

const char *cw_origin_id(unsigned origin)
{
#define CW_X(name, id, words) id,
    static const char *const ids[] = {CW_ORIGINS(CW_X)};
#undef CW_X
    return ids[origin < COUNT(ids) ? origin : CW_ORIGIN_NONE];
}

const char *cw_origin_words(unsigned origin)
{
#define CW_X(name, id, words) words,
    static const char *const all[] = {CW_ORIGINS(CW_X)};
#undef CW_X
    return all[origin < COUNT(all) ? origin : CW_ORIGIN_NONE];
}

/* TCP_* of <netinet/tcp.h> from 1 on. */
const char *cw_tcp_state_name(unsigned state)
{
    static const char *const names[] = {
        NULL,    "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2",    "TIME_WAIT",
        "CLOSE", "CLOSE_WAIT",  "LAST_ACK", "LISTEN",   "CLOSING",   "NEW_SYN_RECV",
    };
    return state < COUNT(names) ? names[state] : NULL;
}

const char *cw_errno_name(int number)
{
#define ROW(name)                                                                                                      \
    {                                                                                                                  \
        name, #name                                                                                                    \
    }
    static const struct {
        int number;
        const char *name;
    } rows[] = {
        ROW(EPERM),        ROW(ENOENT),   ROW(ESRCH),       ROW(EINTR),     ROW(EIO),          ROW(EBADF),
        ROW(EAGAIN),       ROW(ENOMEM),   ROW(EACCES),      ROW(EFAULT),    ROW(EBUSY),        ROW(EINVAL),
        ROW(ENFILE),       ROW(EMFILE),   ROW(ENOSPC),      ROW(EPIPE),     ROW(ENOSYS),       ROW(EPROTO),
        ROW(EOPNOTSUPP),   ROW(ENETDOWN), ROW(ENETUNREACH), ROW(ENETRESET), ROW(ECONNABORTED), ROW(ECONNRESET),
        ROW(ENOBUFS),      ROW(ENOTCONN), ROW(ESHUTDOWN),   ROW(ETIMEDOUT), ROW(ECONNREFUSED), ROW(EHOSTDOWN),
        ROW(EHOSTUNREACH), ROW(EALREADY), ROW(EINPROGRESS), ROW(ECANCELED), ROW(EAFNOSUPPORT), ROW(EPROTONOSUPPORT),
    };
#undef ROW
    for (size_t i = 0; i < COUNT(rows); i++)
        if (rows[i].number == number)
            return rows[i].name;
    return NULL;
}

void cw_out_errno(struct cw_out *out, int number)
{
    if (cw_errno_name(number)) {
        cw_out_str(out, cw_errno_name(number));
        return;
    }
    cw_out_str(out, "errno ");
    cw_out_i64(out, number);
}

void cw_out_signal(struct cw_out *out, int signal)
{
    static const char *const names[] = {
        NULL,   "HUP",  "INT",  "QUIT", "ILL",    "TRAP",   "ABRT",  "BUS",  "FPE",  "KILL", "USR1",
        "SEGV", "USR2", "PIPE", "ALRM", "TERM",   "STKFLT", "CHLD",  "CONT", "STOP", "TSTP", "TTIN",
        "TTOU", "URG",  "XCPU", "XFSZ", "VTALRM", "PROF",   "WINCH", "IO",   "PWR",  "SYS",
    };
    if (signal > 0 && signal < (int)COUNT(names)) {
        cw_out_str(out, "SIG");
        cw_out_str(out, names[signal]);
    } else {
        cw_out_str(out, "signal ");
        cw_out_i64(out, signal);
    }
}

static void two_digits(struct cw_out *out, uint64_t value, char after)
{
    cw_out_char(out, (char)('0' + value / 10 % 10));
    cw_out_char(out, (char)('0' + value % 10));
    cw_out_char(out, after);
}

void cw_out_utc(struct cw_out *out, uint64_t real_ns)
{
    uint64_t s = real_ns / 1000000000, days = s / 86400;
    /* Years are counted from March, so that the leap day comes last; 719468 days lie between 0000-03-01 and 1970. */
    uint64_t era_day = (days + 719468) % 146097, era = (days + 719468) / 146097;
    uint64_t year = (era_day - era_day / 1460 + era_day / 36524 - era_day / 146096) / 365;
    uint64_t day = era_day - (365 * year + year / 4 - year / 100);
    uint64_t month = (5 * day + 2) / 153; /* 0 is March */

    cw_out_u64(out, era * 400 + year + (month >= 10));
    cw_out_char(out, '-');
    two_digits(out, month < 10 ? month + 3 : month - 9, '-');
    two_digits(out, day - (153 * month + 2) / 5 + 1, 'T');
    two_digits(out, s / 3600 % 24, ':');
    two_digits(out, s / 60 % 60, ':');
    two_digits(out, s % 60, 'Z');
}

void cw_out_age(struct cw_out *out, uint64_t ms)
{
    if (ms < 1000 || ms >= 600000) {
        cw_out_duration(out, ms);
        return;
    }
    cw_out_u64(out, ms / 1000);
    cw_out_str(out, " s");
}
