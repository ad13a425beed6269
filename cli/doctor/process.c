/* Checks of a running process: may it be looked at, is the library in it, what restricts it? */
#include "cli/doctor/doctor.h"

#include "cli/ledger/find.h"
#include "cli/process/sock_dump.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DETAIL(...) snprintf(detail, CW_DETAIL_BYTES, __VA_ARGS__)

static enum cw_answer ill_if(bool ill)
{
    return ill ? CW_ANSWER_ILL : CW_ANSWER_WELL;
}

enum cw_answer cw_doctor_other_user(const struct cw_patient *patient, char *detail)
{
    bool other = patient->real_uid != getuid();

    if (!patient->pid || (patient->refused && !other))
        return CW_ANSWER_NONE;
    if (patient->refused)
        DETAIL("its user id is %u, yours is %u", (unsigned)patient->real_uid, (unsigned)getuid());
    return ill_if(patient->refused);
}

enum cw_answer cw_doctor_not_dumpable(const struct cw_patient *patient, char *detail)
{
    (void)detail;
    if (!patient->pid || (patient->refused && patient->real_uid != getuid()))
        return CW_ANSWER_NONE;
    return ill_if(patient->refused);
}

/* --- the library in it --- */

enum cw_answer cw_doctor_preload_ignored(const struct cw_patient *patient, char *detail)
{
    char path[PATH_MAX + 64];

    if (!patient->pid || patient->refused || !patient->preload[0])
        return CW_ANSWER_NONE;
    if (patient->loaded)
        return CW_ANSWER_WELL;
    snprintf(path, sizeof path, "/proc/%d/root%s", (int)patient->pid, patient->preload);
    if (patient->preload[0] != '/')
        DETAIL("%s is no absolute path", patient->preload);
    else if (access(path, R_OK) < 0)
        DETAIL("%s cannot be read in its file system: %s", patient->preload, strerror(errno));
    else
        DETAIL("%s", patient->preload);
    return CW_ANSWER_ILL;
}

enum cw_answer cw_doctor_not_loaded(const struct cw_patient *patient, char *detail)
{
    (void)detail;
    /* Where it cannot be, a line above has said why; where it should be, another one. */
    if (!patient->pid || patient->refused || !patient->elf.interp[0] || (patient->preload[0] && !patient->loaded))
        return CW_ANSWER_NONE;
    return ill_if(!patient->loaded);
}

static unsigned count_tcp(pid_t pid)
{
    struct cw_proc_socket *open = NULL;
    struct cw_sock_dump dump = {0};
    size_t n = 0;
    unsigned count = 0;

    if (cw_proc_sockets(pid, &open, &n) == 0 && cw_sock_dump(&dump, pid, CW_SOCK_STATES_ANY) == 0)
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < dump.count; k++)
                count += open[i].inode == dump.socks[k].inode;
    cw_sock_dump_free(&dump);
    free(open);
    return count;
}

enum cw_answer cw_doctor_no_ledger(const struct cw_patient *patient, char *detail)
{
    struct cw_found found;
    unsigned sockets;
    int error;

    if (!patient->pid || !patient->loaded)
        return CW_ANSWER_NONE;
    error = cw_find_mapped(&patient->proc, &found);
    if (!error) {
        close(found.fd);
        return CW_ANSWER_WELL;
    }
    sockets = error == -ENOENT ? count_tcp(patient->pid) : 0;
    if (!sockets)
        return CW_ANSWER_NONE; /* it is made with the first one */
    DETAIL("it has %u", sockets);
    return CW_ANSWER_ILL;
}

/* --- restrictions --- */

enum cw_answer cw_doctor_seccomp(const struct cw_patient *patient, char *detail)
{
    long mode, filters, ours = cw_doctor_status(getpid(), "\nSeccomp_filters:");

    if (!patient->pid) {
        if (!patient->elf.elf)
            return CW_ANSWER_NONE;
        if (!cw_patient_needs(patient, "libseccomp.so*"))
            return CW_ANSWER_WELL;
        DETAIL("it is linked with libseccomp");
        return CW_ANSWER_ILL;
    }
    mode = cw_doctor_status(patient->pid, "\nSeccomp:");
    filters = cw_doctor_status(patient->pid, "\nSeccomp_filters:");
    if (mode < 0)
        return CW_ANSWER_NONE;
    /* Those that we are under ourselves come with the machine, and are the same for what is started here. */
    if (mode == 0 || (mode == 2 && filters >= 0 && ours >= 0 && filters <= ours))
        return CW_ANSWER_WELL;
    if (mode == 1)
        DETAIL("in strict mode");
    else if (filters > 0)
        DETAIL("%ld filter%s", filters, filters == 1 ? "" : "s");
    return CW_ANSWER_ILL;
}
