#include "cli/process/outside.h"

#include "cli/clock.h"
#include "cli/process/kernel.h"
#include "cli/process/proc_rights.h"
#include "cli/process/tasks.h"

#include "include/cwguard_version.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

enum {
    SLOTS_MAX = 4 << 20,    /* higher fds are left out */
    SPARE_CONNS = 16384,    /* for what waits in accept queues, besides what has an fd */
    CONNS_MAX = 192 * 1024, /* 48 MiB */
    THREADS_MAX = 65535,    /* an index has 16 bits */
    SETS_MAX = 65535,       /* likewise */
    LISTENERS_MAX = 4096,
    MODULES_ROOM = 1024,
    STRINGS_ROOM_BYTES = 256 * 1024,
};

/* What is found before there is a ledger to put it into. */
struct found {
    const struct cw_proc *proc;
    struct cw_proc_socket *sockets; /* by inode */
    size_t socket_count;
    int *set_fds; /* epoll sets */
    size_t set_count, set_room;
    int fd_max;
    struct cw_task *tasks;
    size_t task_count;
    struct cw_sock *listening; /* of everybody in its network namespace */
    size_t listening_count;
};

static void free_found(struct found *found)
{
    free(found->sockets);
    free(found->set_fds);
    free(found->tasks);
    free(found->listening);
}

/* --- looking --- */

static int add_set(struct found *found, int fd)
{
    if (found->set_count == found->set_room) {
        found->set_room = found->set_room ? 2 * found->set_room : 16;
        int *more = realloc(found->set_fds, found->set_room * sizeof *more);
        if (!more)
            return -ENOMEM;
        found->set_fds = more;
    }
    found->set_fds[found->set_count++] = fd;
    return 0;
}

static int find_sets(struct found *found)
{
    char path[64], target[64];
    const struct dirent *entry;
    int error = 0;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)found->proc->pid);
    dir = opendir(path);
    if (!dir)
        return errno == ENOENT ? -ESRCH : -errno;
    while (!error && (entry = readdir(dir))) {
        int fd = atoi(entry->d_name);
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
        if (n <= 0 || *entry->d_name == '.')
            continue;
        target[n] = 0;
        if (fd > found->fd_max)
            found->fd_max = fd;
        if (!strcmp(target, "anon_inode:[eventpoll]"))
            error = add_set(found, fd);
    }
    closedir(dir);
    return error;
}

static void explain_refusal(const struct cw_proc *proc, int error, char *why, size_t why_bytes)
{
    char right[256];

    if (error != -EACCES && error != -EPERM) {
        snprintf(why, why_bytes, "%s", error == -ESRCH ? "it has just ended" : strerror(-error));
        return;
    }
    cw_proc_rights(proc, right, sizeof right);
    snprintf(why, why_bytes, "/proc/%d/fd may not be read: %s", (int)proc->pid, right);
}

static int look(struct found *found, char *why, size_t why_bytes)
{
    int error = cw_proc_sockets(found->proc->pid, &found->sockets, &found->socket_count);

    if (!error)
        error = find_sets(found);
    if (!error)
        error = cw_tasks_read(found->proc, &found->tasks, &found->task_count);
    if (error) {
        explain_refusal(found->proc, error, why, why_bytes);
        return -1;
    }
    error = cw_kernel_list(found->proc->pid, 1u << TCP_LISTEN, &found->listening, &found->listening_count);
    if (error) {
        snprintf(why, why_bytes, "the kernel does not list the sockets of pid %d (%s)%s", (int)found->proc->pid,
                 strerror(-error),
                 error == -EPERM || error == -EACCES
                     ? ": it lives in another network namespace, which takes CAP_SYS_ADMIN: run as root"
                     : "");
        return -1;
    }
    return 0;
}

/* --- the header --- */

/* The clock of the records begins with the process, so that what happened in its life has come after its beginning. */
static void fill_times(struct cw_ledger *header)
{
    uint64_t mono_ns = cw_clock_ns(CLOCK_MONOTONIC_COARSE), real_ns = cw_clock_ns(CLOCK_REALTIME_COARSE);
    uint64_t boot_ns = cw_clock_ns(CLOCK_BOOTTIME), age_ns = 0;
    long per_second = sysconf(_SC_CLK_TCK);

    if (per_second > 0) {
        uint64_t start_ns = header->start_ticks * (UINT64_C(1000000000) / (uint64_t)per_second);
        age_ns = boot_ns > start_ns ? boot_ns - start_ns : 0;
    }
    if (age_ns > mono_ns)
        age_ns = mono_ns; /* the machine was asleep meanwhile: one clock counts that, the other does not */
    header->start_mono_ns = mono_ns - age_ns;
    header->start_real_ns = real_ns - age_ns;
    header->process_start_mono_ns = header->start_mono_ns;
}

/* argv: of one that is too long, the words that fit whole. */
static void fill_command(struct cw_ledger *header, pid_t pid)
{
    char path[64], text[sizeof header->command - 1];
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    ssize_t n = cw_proc_read_small(path, text, sizeof text);

    if (n <= 0)
        return; /* the name of the program then stands in its place */
    size_t used = (size_t)n;
    if (used == sizeof text - 1 && text[used - 1])
        while (used && text[used - 1])
            used--;
    memcpy(header->command, text, used ? used : (size_t)n);
}

static void fill_exe(struct cw_ledger *header, pid_t pid)
{
    static const char deleted[] = " (deleted)";
    char path[64];
    struct stat status;

    snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
    ssize_t n = readlink(path, header->exe, sizeof header->exe - 1);
    header->exe[n > 0 ? n : 0] = 0;
    if (n > (ssize_t)strlen(deleted) && !strcmp(header->exe + n - strlen(deleted), deleted))
        header->exe[n - (ssize_t)strlen(deleted)] = 0;
    if (stat(path, &status) == 0) {
        header->exe_dev = status.st_dev;
        header->exe_ino = status.st_ino;
    }
}

static void fill_header(struct cw_ledger *header, const struct cw_proc *proc)
{
    struct utsname names;

    memcpy(header->magic, CW_LEDGER_MAGIC, sizeof header->magic);
    header->version = CW_LEDGER_VERSION;
    header->header_bytes = CW_LEDGER_HEADER_BYTES;
    header->flags = CW_HEADER_READY | CW_HEADER_OUTSIDE;
    header->pid = proc->inner_pid;
    header->ppid = proc->ppid > 0 ? cw_proc_inner_pid(proc->ppid) : 0;
    header->uid = proc->uid;
    header->pid_ns = proc->pid_ns;
    header->start_ticks = proc->start_ticks;
    header->ended = CW_ENDED_RUNNING;
    header->truth = CW_TRUTH_NONE;
    fill_times(header);
    fill_exe(header, proc->pid);
    fill_command(header, proc->pid);
    if (uname(&names) == 0) {
        snprintf(header->host, sizeof header->host, "%.*s", (int)sizeof header->host - 1, names.nodename);
        snprintf(header->kernel, sizeof header->kernel, "%.*s", (int)sizeof header->kernel - 1, names.release);
    }
    snprintf(header->tool_version, sizeof header->tool_version, "%s", CW_VERSION);
}

/* --- the records --- */

static int by_inode(const void *key, const void *member)
{
    const struct cw_sock *sock = key;
    const struct cw_proc_socket *socket = member;
    return (sock->inode > socket->inode) - (sock->inode < socket->inode);
}

/* Its listeners: what waits for them, and in which sets they are, is entered by the check that follows. */
static void enter_listeners(struct cw_load *load, const struct found *found)
{
    struct cw_view *view = &load->view;
    struct cw_section *slots = &view->header->sections[CW_SECTION_SLOTS];

    slots->used = view->n_slots;
    for (size_t i = 0; i < found->listening_count && view->header->listeners < LISTENERS_MAX; i++) {
        const struct cw_sock *sock = &found->listening[i];
        const struct cw_proc_socket *socket =
            sock->inode && found->socket_count
                ? bsearch(sock, found->sockets, found->socket_count, sizeof *socket, by_inode)
                : NULL;
        while (socket && socket > found->sockets && socket[-1].inode == socket->inode)
            socket--; /* the lowest of its fds */
        if (!socket || (uint32_t)socket->fd >= view->n_slots || view->slots[socket->fd])
            continue;
        uint32_t index = cw_load_new_conn(load);
        if (!index)
            return;
        struct cw_conn *conn = &view->conns[index];
        conn->flags = CW_CONN_IN_USE | CW_CONN_LISTENER;
        conn->origin = CW_ORIGIN_UNTRACKED;
        conn->open_call = CW_CALL_listen;
        conn->fd = socket->fd;
        conn->epoll_fd = -1;
        conn->refs = 1;
        conn->family = sock->family;
        conn->protocol = sock->protocol;
        conn->local_port = sock->local_port;
        conn->inode = sock->inode;
        memcpy(conn->local, sock->local, sizeof conn->local);
        view->slots[socket->fd] = CW_SLOT_MAKE(CW_SLOT_CONN, 1, index);
        view->header->listeners++;
    }
}

static void enter_sets(struct cw_load *load, const struct found *found)
{
    struct cw_view *view = &load->view;
    uint32_t index = 1;

    for (size_t i = 0; i < found->set_count && index < view->n_sets; i++, index++) {
        int fd = found->set_fds[i];
        view->sets[index] = (struct cw_set){.flags = 1, .fd = fd, .refs = 1};
        if ((uint32_t)fd < view->n_slots)
            view->slots[fd] = CW_SLOT_MAKE(CW_SLOT_SET, 1, index);
    }
    view->header->sections[CW_SECTION_SETS].used = index;
}

static void enter_threads(struct cw_load *load, const struct found *found)
{
    struct cw_view *view = &load->view;
    uint32_t index = 1, now_ms = (uint32_t)((cw_clock_ns(CLOCK_MONOTONIC) - view->header->start_mono_ns) / 1000000);

    for (size_t i = 0; i < found->task_count && index < view->n_threads; i++, index++) {
        struct cw_thread *thread = &view->threads[index];
        thread->tid = found->tasks[i].inner_tid;
        thread->first_ms = now_ms ? now_ms : 1;
        cw_proc_thread_name(found->proc->pid, found->tasks[i].tid, thread->name);
    }
    view->header->sections[CW_SECTION_THREADS].used = index;
    if (index <= found->task_count)
        snprintf(load->remark, sizeof load->remark, "only %u of its %zu threads are looked at", index - 1,
                 found->task_count);
}

static uint32_t at_most(size_t n, uint32_t most)
{
    return n < most ? (uint32_t)n : most;
}

int cw_outside_load(struct cw_load *ret, const struct cw_proc *proc, char *why, size_t why_bytes)
{
    struct found found = {.proc = proc};
    int result = look(&found, why, why_bytes);

    if (result == 0) {
        const uint32_t room[CW_SECTION_COUNT] = {
            [CW_SECTION_SLOTS] = at_most((size_t)found.fd_max + 1, SLOTS_MAX),
            [CW_SECTION_CONNS] = at_most(found.socket_count + SPARE_CONNS, CONNS_MAX),
            [CW_SECTION_THREADS] = at_most(found.task_count, THREADS_MAX),
            [CW_SECTION_SETS] = at_most(found.set_count, SETS_MAX),
            [CW_SECTION_STACKS] = CW_LOAD_SPARE_STACKS * (CW_STACK_MAX_FRAMES + 1) + 1,
            [CW_SECTION_MODULES] = MODULES_ROOM,
            [CW_SECTION_STRINGS] = STRINGS_ROOM_BYTES,
        };
        result = cw_load_empty(ret, room);
        if (result < 0)
            snprintf(why, why_bytes, "not enough memory to look at pid %d: raise the limit (ulimit -v)",
                     (int)proc->pid);
    }
    if (result == 0) {
        fill_header(ret->view.header, proc);
        enter_listeners(ret, &found);
        enter_sets(ret, &found);
        enter_threads(ret, &found);
    }
    free_found(&found);
    return result;
}
