/* Checks of the machine, as the program or process sees it: room for the ledger, limits, what the kernel lets others
 * look at. */
#define _GNU_SOURCE /* prlimit */
#include "cli/doctor/doctor.h"

#include "cli/ledger/ledger_row.h"
#include "cli/process/sock_dump.h"
#include "core/names.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#define DETAIL(...) snprintf(detail, CW_DETAIL_BYTES, __VA_ARGS__)

/* What a server with ten thousand connections needs, stacks included. */
#define ENOUGH_BYTES (UINT64_C(16) << 20)
#define ENOUGH_FILE_BYTES (UINT64_C(64) << 20)
#define ENOUGH_ADDRESS_BYTES (UINT64_C(512) << 20)

static enum cw_answer ill_if(bool ill)
{
    return ill ? CW_ANSWER_ILL : CW_ANSWER_WELL;
}

/* --- room for the ledger --- */

/* The directory above, or the one that option ledger_dir names; in its file system. */
static void ledger_place(const struct cw_patient *patient, char *ret, size_t ret_bytes)
{
    char root[32] = "";

    if (patient->pid)
        snprintf(root, sizeof root, "/proc/%d/root", (int)patient->pid);
    snprintf(ret, ret_bytes, "%s%s", root, patient->ledger_dir[0] ? patient->ledger_dir : "/dev/shm");
}

/* What is wrong with the place, NULL if nothing. */
static const char *place_fault(const struct cw_patient *patient, const char *place, uid_t uid)
{
    char own[PATH_MAX + 64];
    struct statfs fs;
    struct stat status;
    bool may_exist = patient->ledger_dir[0] == 0;

    if (statfs(place, &fs) < 0)
        return strerror(errno);
    if (fs.f_type != TMPFS_MAGIC)
        return "it is not a tmpfs";
    if (fs.f_flags & ST_RDONLY)
        return "it is read-only";
    if (may_exist)
        snprintf(own, sizeof own, "%s/cwguard-%u", place, (unsigned)uid);
    else
        snprintf(own, sizeof own, "%s", place);
    if (lstat(own, &status) == 0) {
        if (!S_ISDIR(status.st_mode) || status.st_uid != uid)
            return may_exist ? "cwguard-UID in it is not this user's directory" : "it is not this user's";
        return (status.st_mode & 0777) != 0700 ? "the directory for ledgers has not mode 0700" : NULL;
    }
    /* It is made when it is needed. */
    if (stat(place, &status) < 0 || (uid != 0 && !(status.st_mode & (status.st_uid == uid ? S_IWUSR : S_IWOTH))))
        return "this user may not write to it";
    return NULL;
}

enum cw_answer cw_doctor_shm(const struct cw_patient *patient, char *detail)
{
    char place[PATH_MAX];
    const char *fault;

    if (patient->refused)
        return CW_ANSWER_NONE;
    ledger_place(patient, place, sizeof place);
    fault = place_fault(patient, place, patient->pid ? patient->real_uid : geteuid());
    DETAIL("%s%s%s", place, fault ? ": " : "", fault ? fault : "");
    return ill_if(fault != NULL);
}

enum cw_answer cw_doctor_shm_space(const struct cw_patient *patient, char *detail)
{
    char place[PATH_MAX], words[32];
    struct statfs fs;
    uint64_t free_bytes;

    ledger_place(patient, place, sizeof place);
    if (patient->refused || statfs(place, &fs) < 0 || fs.f_type != TMPFS_MAGIC || !fs.f_blocks)
        return CW_ANSWER_NONE;
    free_bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
    cw_bytes_in_words(words, sizeof words, free_bytes);
    DETAIL("%s free in %s", words, place);
    return ill_if(free_bytes < ENOUGH_BYTES);
}

/* --- limits --- */

static bool is_low(pid_t pid, enum __rlimit_resource resource, uint64_t enough_bytes, const char *name, char *detail)
{
    struct rlimit limit;
    char words[32];
    size_t used = strlen(detail);

    if (prlimit(pid, resource, NULL, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= enough_bytes)
        return false;
    cw_bytes_in_words(words, sizeof words, limit.rlim_cur);
    snprintf(detail + used, CW_DETAIL_BYTES - used, "%s%s %s", used ? ", " : "", name, words);
    return true;
}

enum cw_answer cw_doctor_limits(const struct cw_patient *patient, char *detail)
{
    bool file, address;

    if (patient->refused)
        return CW_ANSWER_NONE;
    file = is_low(patient->pid, RLIMIT_FSIZE, ENOUGH_FILE_BYTES, "file size", detail);
    address = is_low(patient->pid, RLIMIT_AS, ENOUGH_ADDRESS_BYTES, "address space", detail);
    return ill_if(file || address);
}

/* --- looking from outside --- */

static bool may_trace_all(void)
{
    char text[8192];
    const char *line;

    return cw_proc_read_small("/proc/self/status", text, sizeof text) > 0 &&
           (line = strstr(text, "\nCapEff:")) != NULL && (strtoull(line + 8, NULL, 16) >> CAP_SYS_PTRACE & 1);
}

enum cw_answer cw_doctor_ptrace_scope(const struct cw_patient *patient, char *detail)
{
    char text[16];
    int scope = 0;

    if (patient->refused)
        return CW_ANSWER_NONE;
    if (cw_proc_read_small("/proc/sys/kernel/yama/ptrace_scope", text, sizeof text) > 0)
        scope = atoi(text);
    if (scope)
        DETAIL("kernel.yama.ptrace_scope=%d", scope);
    return ill_if(scope > 2 || (scope > 0 && !may_trace_all()));
}

enum cw_answer cw_doctor_netlink(const struct cw_patient *patient, char *detail)
{
    struct cw_sock_dump dump = {0};
    int error;

    if (patient->refused)
        return CW_ANSWER_NONE;
    error = cw_sock_dump(&dump, patient->pid ? patient->pid : getpid(), CW_SOCK_STATES_REPORTED);
    if (!error)
        error = dump.refused;
    cw_sock_dump_free(&dump);
    if (error)
        DETAIL("%s", strerror(-error));
    return ill_if(error != 0);
}
