/* Where the recorder's own rendering goes. See self_output.h. */
#define _GNU_SOURCE
#include "preload/self_output.h"

#include "core/atomic.h"
#include "preload/ledger_parts.h"
#include "preload/probe.h"
#include "preload/spawn.h"
#include "preload/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

#define DEADLINE_NS (5 * UINT64_C(1000000000))

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif

/* A pipe for which poll says POLLOUT takes at least this much without blocking. */
#define PIECE_BYTES 4096u

/* --- names --- */

struct text {
    char *at, *end; /* end: of the last byte before the NUL */
};

static void put_byte(struct text *text, char c)
{
    if (text->at < text->end)
        *text->at++ = (unsigned char)c < 0x20 || c == 0x7f ? '_' : c; /* a program's name may hold anything */
}

static void put_text(struct text *text, const char *s)
{
    while (*s)
        put_byte(text, *s++);
}

static void put_number(struct text *text, unsigned value)
{
    char digits[16], *d = digits + sizeof digits - 1;
    *d = 0;
    do
        *--d = (char)('0' + value % 10);
    while (value /= 10);
    put_text(text, d);
}

/* False if it is too long. */
static bool expand(struct cw_self_output *output, const struct cw_self_output_names *names)
{
    struct text text = {output->path, output->path + sizeof output->path - 32}; /* room for .PID */
    const char *slash = strrchr(names->exe, '/');
    for (const char *p = names->pattern; *p; p++) {
        if (*p != '%' || !p[1]) {
            put_byte(&text, *p);
            continue;
        }
        p++;
        output->exact |= *p == 'p';
        if (*p == 'p')
            put_number(&text, (unsigned)names->pid);
        else if (*p == 'e')
            put_text(&text, slash ? slash + 1 : names->exe);
        else if (*p == 'f')
            put_text(&text, names->format);
        else if (*p == '%')
            put_byte(&text, '%');
        else
            put_byte(&text, '%'), put_byte(&text, *p);
    }
    if (text.at == text.end)
        return false;
    *text.at = 0;
    return true;
}

static void append(char *path, size_t size, const char *words, int pid)
{
    struct text text = {path + strlen(path), path + size - 1};
    put_text(&text, words);
    put_number(&text, (unsigned)pid);
    *text.at = 0;
}

/* --- writing --- */

static int wait_until_writable(const struct cw_self_output *output)
{
    uint64_t now_ns = cw_spawn_now_ns();
    struct pollfd waiting = {.fd = output->fd, .events = POLLOUT};
    if (now_ns >= output->deadline_ns)
        return -ETIMEDOUT;
    long ready = cw_sys(SYS_poll, &waiting, 1L, (output->deadline_ns - now_ns) / 1000000u + 1);
    if (ready == 0)
        return -ETIMEDOUT;
    return ready < 0 && ready != -EINTR ? (int)ready : 0;
}

static int write_bytes(void *ctx, const void *bytes, size_t n)
{
    const struct cw_self_output *output = ctx;
    for (size_t done = 0; done < n;) {
        int failed = output->may_poll ? wait_until_writable(output) : 0;
        if (failed)
            return failed;
        size_t piece = n - done < PIECE_BYTES ? n - done : PIECE_BYTES;
        long put = cw_sys(SYS_write, output->fd, (const char *)bytes + done, piece);
        if (put == -EINTR || (put == -EAGAIN && output->may_poll))
            continue;
        if (put <= 0)
            return put ? (int)put : -EIO;
        done += (size_t)put;
    }
    return 0;
}

static int open_file(struct cw_self_output *output)
{
    struct stat st;
    if (cw_sys(SYS_newfstatat, AT_FDCWD, output->path, &st, 0) == 0 && !S_ISREG(st.st_mode)) {
        /* /dev/stderr, a FIFO: nothing to rename. */
        output->fd = cw_fd_open(AT_FDCWD, output->path, O_WRONLY | O_NONBLOCK | O_NOCTTY, 0);
        return output->fd < 0 ? output->fd : 0;
    }
    memcpy(output->temporary, output->path, sizeof output->path);
    append(output->temporary, sizeof output->temporary, ".tmp.", output->pid);
    output->fd = cw_fd_open(AT_FDCWD, output->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);
    output->is_file = output->fd >= 0;
    return output->fd < 0 ? output->fd : 0;
}

int cw_self_output_begin(struct cw_self_output *output, struct cw_out *out, int out_fd,
                         const struct cw_self_output_names *names, enum cw_self_where where)
{
    bool filtered = CW_GET(cw_static.seccomp);
    /* A process of ours exists only where clone is allowed, and poll was tried along with it. */
    output->may_poll = !filtered && (where == CW_SELF_OWN_PROCESS || (cw_static.may & CW_MAY_POLL));
    output->deadline_ns = filtered ? 0 : cw_spawn_now_ns() + DEADLINE_NS;
    output->pid = names->pid;
    output->fd = out_fd;
    /* Where a filter forbids files, the report on stderr is better than none. */
    if (names->pattern[0] && !filtered && (cw_static.may & CW_MAY_FILES)) {
        if (!expand(output, names))
            return -ENAMETOOLONG;
        int failed = open_file(output);
        if (failed)
            return failed;
    }
    if (output->fd < 0)
        return -EBADF;
    cw_out_init(out, write_bytes, output);
    return 0;
}

/* Never over another process's report, not even one that appears at this moment. */
static int put_in_place(struct cw_self_output *output)
{
    if (!output->exact) {
        long failed = cw_sys(SYS_renameat2, AT_FDCWD, output->temporary, AT_FDCWD, output->path, RENAME_NOREPLACE);
        if (failed != -EEXIST)
            return (int)failed;
        append(output->path, sizeof output->path, ".", output->pid);
    }
    return (int)cw_sys(SYS_renameat, AT_FDCWD, output->temporary, AT_FDCWD, output->path);
}

int cw_self_output_end(struct cw_self_output *output, int failed)
{
    if (!output->is_file)
        return failed;
    cw_sys(SYS_close, output->fd);
    if (!failed)
        failed = put_in_place(output);
    if (failed)
        cw_sys(SYS_unlinkat, AT_FDCWD, output->temporary, 0);
    return failed;
}
