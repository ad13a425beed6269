/* Whose ledger it is: pid, names and times, with the few system calls that any filter has already let pass at start. */
#define _GNU_SOURCE
#include "include/cwguard_version.h"
#include "preload/clock.h"
#include "preload/ledger_parts.h"
#include "preload/probe.h"
#include "preload/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/utsname.h>

/* Given by the build; a build without it says so. */
#define MS_NS UINT64_C(1000000)
#define SECOND_NS UINT64_C(1000000000)

extern char **environ;
extern char *program_invocation_name;

static char options_text[sizeof((struct cw_ledger *)0)->options];

/* Copies as much as fits; cut at an option's end where it does not. */
static void keep_options(const char *text)
{
    size_t n = strlen(text);
    if (n >= sizeof options_text) {
        n = sizeof options_text - 1;
        while (n && text[n] != ':')
            n--;
    }
    memcpy(options_text, text, n);
    options_text[n] = 0;
}

void cw_identity_init(void)
{
    static const char name[] = "CWGUARD_OPTIONS=";
    options_text[0] = 0;
    if (getauxval(AT_SECURE))
        return;
    for (char **entry = environ; entry && *entry; entry++)
        if (!strncmp(*entry, name, sizeof name - 1))
            keep_options(*entry + sizeof name - 1);
}

uint64_t cw_identity_ticks(const char *stat_text)
{
    /* The command's name, in parentheses, may hold spaces and parentheses: what counts begins after the last ')'. */
    const char *at = strrchr(stat_text, ')');
    if (!at)
        return 0;
    for (int field = 2; field < 22; field++) {
        at = strchr(at, ' ');
        if (!at)
            return 0;
        at++;
    }
    uint64_t ticks = 0;
    while (*at >= '0' && *at <= '9')
        ticks = ticks * 10 + (uint64_t)(*at++ - '0');
    return ticks;
}

void cw_identity_of_self(struct cw_identity *ret_identity)
{
    char text[1024];
    struct stat st;

    *ret_identity = (struct cw_identity){.pid = (int32_t)cw_sys(SYS_getpid)};
    if (cw_sys(SYS_newfstatat, AT_FDCWD, "/proc/self/ns/pid", &st, 0) == 0)
        ret_identity->pid_ns = st.st_ino;
    if (cw_file_read("/proc/self/stat", text, sizeof text) > 0)
        ret_identity->start_ticks = cw_identity_ticks(text);
}

static void fill_times(struct cw_ledger *header)
{
    /* The coarse clock lags behind by up to a tick; both must name the same moment. */
    header->start_mono_ns = cw_clock_ns(CLOCK_MONOTONIC_COARSE);
    header->start_real_ns = cw_clock_ns(CLOCK_REALTIME_COARSE);
    header->process_start_mono_ns = header->start_mono_ns;
    unsigned long per_second = getauxval(AT_CLKTCK);
    if (header->start_ticks && per_second) {
        /* Start times count from boot, suspend included. */
        uint64_t boot_ns = cw_clock_ns(CLOCK_BOOTTIME);
        uint64_t age_ns = boot_ns - header->start_ticks * (SECOND_NS / per_second);
        if (age_ns <= header->start_mono_ns)
            header->process_start_mono_ns = header->start_mono_ns - age_ns;
    }
}

static void copy_text(char *to, size_t size, const char *from)
{
    size_t n = 0;
    for (; n + 1 < size && from[n]; n++)
        to[n] = from[n];
    to[n] = 0;
}

static void fill_exe(struct cw_ledger *header)
{
    long n = -ENOENT;
    if (cw_static.may & CW_MAY_READLINK)
        n = cw_sys(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", header->exe, sizeof header->exe - 1);
    if (n <= 0 || n >= (long)sizeof header->exe) {
        unsigned long name = getauxval(AT_EXECFN);
        copy_text(header->exe, sizeof header->exe, name ? (const char *)name : "");
    } else {
        header->exe[n] = 0;
    }
    struct stat st;
    if (cw_sys(SYS_newfstatat, AT_FDCWD, "/proc/self/exe", &st, 0) == 0) {
        header->exe_dev = st.st_dev;
        header->exe_ino = st.st_ino;
    }
}

/* argv as the kernel has it now; of one that is too long, the words that fit whole. */
static void fill_command(struct cw_ledger *header)
{
    const size_t size = sizeof header->command;
    char text[sizeof header->command];
    ssize_t n = cw_file_read("/proc/thread-self/cmdline", text, size);
    if (n <= 0) {
        copy_text(header->command, size - 1, program_invocation_name ? program_invocation_name : "");
        return;
    }
    size_t used = (size_t)n;
    if (text[used - 1] && used < size - 1)
        text[used++] = 0; /* rewritten by setproctitle */
    if (used > size - 2 || text[used - 1]) {
        size_t whole = used < size - 2 ? used : size - 2;
        while (whole && text[whole - 1])
            whole--;
        used = whole ? whole : size - 2;
    }
    memcpy(header->command, text, used);
    memset(header->command + used, 0, size - used);
}

static void fill_host(struct cw_ledger *header)
{
    struct utsname names;
    if ((cw_static.may & CW_MAY_FILES) && cw_sys(SYS_uname, &names) == 0) {
        copy_text(header->host, sizeof header->host, names.nodename);
        copy_text(header->kernel, sizeof header->kernel, names.release);
        return;
    }
    cw_file_read("/proc/sys/kernel/hostname", header->host, sizeof header->host);
    cw_file_read("/proc/sys/kernel/osrelease", header->kernel, sizeof header->kernel);
    header->host[strcspn(header->host, "\n")] = 0;
    header->kernel[strcspn(header->kernel, "\n")] = 0;
}

void cw_identity_fill(struct cw_ledger *header, const struct cw_identity *self)
{
    header->pid = self->pid;
    bool asked = cw_static.may & CW_MAY_FILES;
    header->ppid = asked ? (int32_t)cw_sys(SYS_getppid) : 0;
    header->uid = asked ? (uint32_t)cw_sys(SYS_getuid) : (uint32_t)getauxval(AT_UID);
    header->pid_ns = self->pid_ns;
    header->start_ticks = self->start_ticks;
    header->grace_ms = cw_static.options.grace_ms;
    header->exit_grace_ms = cw_static.options.exit_grace_ms;
    fill_times(header);
    fill_exe(header);
    fill_command(header);
    fill_host(header);
    copy_text(header->tool_version, sizeof header->tool_version, CW_VERSION);
    memcpy(header->options, options_text, sizeof header->options);
}
