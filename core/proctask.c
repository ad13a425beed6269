/* /proc/PID/task/TID/stat and syscall. */
#include "core/proctask.h"

#include "core/atomic.h"
#include "core/syscalls.h"

#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>

struct cursor {
    const char *at, *end;
    bool bad;
};

static void skip_spaces(struct cursor *cursor)
{
    while (cursor->at < cursor->end && (*cursor->at == ' ' || *cursor->at == '\n'))
        cursor->at++;
}

static bool at_end(struct cursor *cursor)
{
    skip_spaces(cursor);
    return cursor->at == cursor->end;
}

/* What stands up to the next space. */
static size_t word(struct cursor *cursor, const char **ret_word)
{
    skip_spaces(cursor);
    *ret_word = cursor->at;
    while (cursor->at < cursor->end && *cursor->at != ' ' && *cursor->at != '\n')
        cursor->at++;
    size_t n = (size_t)(cursor->at - *ret_word);
    cursor->bad |= n == 0;
    return n;
}

static unsigned digit_of(char c)
{
    return c >= '0' && c <= '9' ? (unsigned)(c - '0') : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10) : 99;
}

/* A number: "0x" opens one in hex, "-" a negative one, which is returned as its two's complement. */
static uint64_t number(struct cursor *cursor)
{
    const char *at;
    size_t n = word(cursor, &at), i = 0;
    bool negative = n && at[0] == '-', hex = n > 2 && at[0] == '0' && at[1] == 'x';
    unsigned base = hex ? 16 : 10;
    uint64_t value = 0;

    i = hex ? 2 : negative ? 1 : 0;
    cursor->bad |= i == n || n > 22;
    for (; i < n && !cursor->bad; i++) {
        unsigned digit = digit_of(at[i]);
        cursor->bad |= digit >= base;
        value = value * base + digit;
    }
    return negative ? -value : value;
}

bool cw_proctask_stat(const char *text, size_t n, struct cw_task_stat *ret)
{
    /* The name in parentheses may itself hold any character: the last one closes it. */
    struct cursor cursor = {.at = text + n, .end = text + n};
    const char *state;

    while (cursor.at > text && cursor.at[-1] != ')')
        cursor.at--;
    memset(ret, 0, sizeof *ret);
    if (word(&cursor, &state) != 1)
        return false;
    ret->state = *state;
    for (unsigned field = 4; field < 22; field++)
        number(&cursor);
    ret->start_ticks = number(&cursor);
    for (unsigned field = 23; field < 28; field++)
        number(&cursor);
    ret->start_stack = number(&cursor);
    return !cursor.bad;
}

bool cw_proctask_is_another(const struct cw_ledger *header, const struct cw_thread *thread, uint64_t start_ticks,
                            uint64_t suspended_ns)
{
    /* USER_HZ, the same on every x86-64 kernel; one tick, and one of the coarse clock, may be lost in rounding. */
    const uint64_t tick_ns = 10000000, slack_ns = 30000000;
    if (!header->start_ticks || start_ticks < header->start_ticks || start_ticks > UINT64_MAX / tick_ns)
        return false;
    /* At the earliest: part of the suspension may have come only after it began. */
    uint64_t began_ns = start_ticks * tick_ns;
    began_ns -= suspended_ns < began_ns ? suspended_ns : began_ns;
    return began_ns > header->start_mono_ns + (uint64_t)CW_GET(thread->first_ms) * 1000000 + slack_ns;
}

bool cw_proctask_syscall(const char *text, size_t n, struct cw_task_call *ret)
{
    static const char running[] = "running";
    struct cursor cursor = {.at = text, .end = text + n}, first;
    const char *opens;

    memset(ret, 0, sizeof *ret);
    ret->nr = CW_SYSCALL_NONE;
    first = cursor;
    if (word(&first, &opens) == sizeof running - 1 && !memcmp(opens, running, sizeof running - 1))
        return at_end(&first);
    int64_t nr = (int64_t)number(&cursor);
    if (nr < -1 || nr > INT16_MAX)
        return false;
    ret->nr = (int)nr; /* -1: it sleeps, but in no system call (a page fault) */
    for (unsigned i = 0; i < 6 && nr >= 0; i++)
        ret->args[i] = number(&cursor);
    ret->sp = number(&cursor);
    ret->pc = number(&cursor);
    return !cursor.bad && at_end(&cursor);
}

int32_t cw_proctask_fd(const struct cw_task_call *call)
{
    return call->nr >= 0 && cw_syscall_takes_fd(call->nr) ? (int32_t)call->args[0] : 0;
}

uint64_t cw_proctask_mutex(const struct cw_task_call *call)
{
    /* glibc's nptl/lowlevellock.c: a thread that finds the lock taken sets it to 2 and waits for it to change. */
    if (call->nr != SYS_futex || ((int)call->args[1] & FUTEX_CMD_MASK) != FUTEX_WAIT || (uint32_t)call->args[2] != 2)
        return 0;
    return call->args[0];
}
