#include "cli/process/proc_rights.h"

#include <linux/capability.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What /proc/PID/status says. */
struct identity {
    unsigned uid[4], gid[4]; /* real, effective, saved, of file accesses */
    unsigned long long permitted, effective;
};

static bool read_identity(struct identity *ret, const char *pid)
{
    char path[64], text[8192];
    const char *uid, *gid, *permitted, *effective;

    snprintf(path, sizeof path, "/proc/%s/status", pid);
    if (cw_proc_read_small(path, text, sizeof text) <= 0)
        return false;
    uid = strstr(text, "\nUid:");
    gid = strstr(text, "\nGid:");
    permitted = strstr(text, "\nCapPrm:");
    effective = strstr(text, "\nCapEff:");
    return uid && gid && permitted && effective &&
           sscanf(uid + 5, "%u %u %u %u", &ret->uid[0], &ret->uid[1], &ret->uid[2], &ret->uid[3]) == 4 &&
           sscanf(gid + 5, "%u %u %u %u", &ret->gid[0], &ret->gid[1], &ret->gid[2], &ret->gid[3]) == 4 &&
           sscanf(permitted + 8, "%llx", &ret->permitted) == 1 && sscanf(effective + 8, "%llx", &ret->effective) == 1;
}

/* "33 (www-data)" */
static const char *user_name(unsigned uid, char to[64])
{
    const struct passwd *user = getpwuid((uid_t)uid);

    if (user)
        snprintf(to, 64, "%u (%.32s)", uid, user->pw_name);
    else
        snprintf(to, 64, "%u", uid);
    return to;
}

/* All of its ids are ours. */
static bool all_are(const unsigned id[4], unsigned ours)
{
    return id[0] == ours && id[1] == ours && id[2] == ours;
}

static bool same_namespace(pid_t pid, const char *kind)
{
    char path[64];
    struct stat ours, theirs;

    snprintf(path, sizeof path, "/proc/self/ns/%s", kind);
    if (stat(path, &ours) < 0)
        return true;
    snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, kind);
    /* Who may not look into it is not told. */
    return stat(path, &theirs) < 0 || ours.st_ino == theirs.st_ino;
}

/* Its files in /proc belong to root then, but for those that tell nothing. */
static bool is_dumpable(pid_t pid, unsigned uid)
{
    char path[64];
    struct stat status;

    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    return stat(path, &status) < 0 || status.st_uid == (uid_t)uid;
}

void cw_proc_rights(const struct cw_proc *proc, char *to, size_t n)
{
    char pid[16], theirs[64], ours[64];
    struct identity self, it;

    snprintf(pid, sizeof pid, "%d", (int)proc->pid);
    if (!read_identity(&self, "self") || !read_identity(&it, pid)) {
        snprintf(to, n, "run as its user, or as root (CAP_SYS_PTRACE)");
        return;
    }
    if (self.effective >> CAP_SYS_PTRACE & 1)
        snprintf(to, n, "this process has CAP_SYS_PTRACE, but %s: run outside the container, as root",
                 same_namespace(proc->pid, "user")
                     ? "that one is of another user namespace, or a security module (AppArmor, SELinux) forbids it"
                     : "that one is of another user namespace");
    else if (!all_are(it.uid, self.uid[3]))
        snprintf(to, n, "it belongs to user %s, this is user %s: run as that user, or as root (CAP_SYS_PTRACE)",
                 user_name(it.uid[1], theirs), user_name(self.uid[3], ours));
    else if (!all_are(it.gid, self.gid[3]))
        snprintf(to, n,
                 "it has group %u, this process %u: run with that group (sg, newgrp), or as root "
                 "(CAP_SYS_PTRACE)",
                 it.gid[1], self.gid[3]);
    else if (it.permitted & ~self.effective)
        snprintf(to, n, "it holds capabilities that this process has not: run as root (CAP_SYS_PTRACE)");
    else if (!is_dumpable(proc->pid, it.uid[1]))
        snprintf(to, n,
                 "it is not dumpable (it has changed its user id, its file cannot be read, or it has asked for "
                 "that with prctl): run as root (CAP_SYS_PTRACE)");
    else
        snprintf(to, n, "run as root (CAP_SYS_PTRACE)");
}
