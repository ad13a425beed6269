/* The ledger of the process that a test runs in, read while the recorder writes it: for programs under the shim that hold
 * what is on record against what they did. */
#ifndef TEST_PRELOAD_OWN_LEDGER_H
#define TEST_PRELOAD_OWN_LEDGER_H

#include "core/atomic.h"
#include "include/cwguard_ledger.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define HELPER __attribute__((noinline, unused)) static

/* Waits for a condition that another thread or process brings about, 20 s at most. */
#define UNTIL(condition)                                                                                               \
    do {                                                                                                               \
        time_t until = time(NULL) + 20;                                                                                \
        while (!(condition) && time(NULL) < until)                                                                     \
            sched_yield();                                                                                             \
        assert_true(condition);                                                                                        \
    } while (0)

struct own_ledger {
    const char *base;
    const struct cw_ledger *header;
    const uint64_t *slots, *stacks;
    const struct cw_conn *conns;
    const struct cw_thread *threads;
    const struct cw_fork *forks;
    const struct cw_module *modules;
};

HELPER const void *ledger_section(const struct own_ledger *ledger, enum cw_section_id id)
{
    return ledger->base + ledger->header->sections[id].offset;
}

HELPER int open_ledger(void)
{
    char dir[64], path[512], pid[32];
    int fd = -1;
    snprintf(dir, sizeof dir, "/dev/shm/cwguard-%u", (unsigned)geteuid());
    snprintf(pid, sizeof pid, ".%d.", (int)getpid());
    DIR *entries = opendir(dir);
    assert_non_null(entries);
    for (struct dirent *entry; fd < 0 && (entry = readdir(entries));) {
        const char *dot = strchr(entry->d_name, '.');
        if (!dot || strncmp(dot, pid, strlen(pid)) != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    closedir(entries);
    assert_true(fd >= 0);
    return fd;
}

/* The calling process must have touched a TCP socket. */
HELPER struct own_ledger map_ledger(void)
{
    struct own_ledger ledger;
    struct stat st;
    int fd = open_ledger();
    assert_int_equal(fstat(fd, &st), 0);
    ledger.base = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    assert_true(ledger.base != MAP_FAILED);
    close(fd);
    ledger.header = (const struct cw_ledger *)(const void *)ledger.base;
    assert_int_equal(ledger.header->version, CW_LEDGER_VERSION);
    assert_int_equal(ledger.header->pid, getpid());
    ledger.slots = ledger_section(&ledger, CW_SECTION_SLOTS);
    ledger.stacks = ledger_section(&ledger, CW_SECTION_STACKS);
    ledger.conns = ledger_section(&ledger, CW_SECTION_CONNS);
    ledger.threads = ledger_section(&ledger, CW_SECTION_THREADS);
    ledger.forks = ledger_section(&ledger, CW_SECTION_FORKS);
    ledger.modules = ledger_section(&ledger, CW_SECTION_MODULES);
    return ledger;
}

HELPER const struct cw_conn *conn_of(const struct own_ledger *ledger, int fd)
{
    uint64_t slot = CW_GET(ledger->slots[fd]);
    assert_int_equal(CW_SLOT_KIND(slot), CW_SLOT_CONN);
    return &ledger->conns[CW_SLOT_INDEX(slot)];
}

/* The record of a thread, of those with this tid the one that came last; NULL while there is none. */
HELPER const struct cw_thread *thread_of(const struct own_ledger *ledger, int tid)
{
    const struct cw_thread *found = NULL;
    uint32_t used = CW_GET(ledger->header->sections[CW_SECTION_THREADS].used);
    for (uint32_t i = 1; i < used; i++)
        if (CW_GET(ledger->threads[i].tid) == tid &&
            (!found || (int32_t)(CW_GET(ledger->threads[i].first_ms) - CW_GET(found->first_ms)) >= 0))
            found = &ledger->threads[i];
    return found;
}

HELPER const struct cw_thread *thread_referred(const struct own_ledger *ledger, uint32_t reference)
{
    const struct cw_thread *thread = &ledger->threads[CW_THREAD_INDEX(reference)];
    assert_int_not_equal(CW_THREAD_INDEX(reference), 0);
    assert_int_equal(CW_GET(thread->generation) & 0xFFFF, CW_THREAD_GEN(reference));
    return thread;
}

/* Whether the stack leads through this function (of less than 1,024 bytes). */
HELPER bool leads_to(const struct own_ledger *ledger, uint32_t stack, void *function)
{
    unsigned frames = stack ? CW_STACK_FRAMES(CW_GET(ledger->stacks[stack])) : 0;
    uint64_t begin = (uint64_t)(uintptr_t)function;
    for (unsigned i = 1; i <= frames; i++) {
        uint64_t frame = CW_GET(ledger->stacks[stack + i]);
        uint64_t load = CW_FRAME_MODULE(frame) ? CW_GET(ledger->modules[CW_FRAME_MODULE(frame)].load) : 0;
        uint64_t at = load + CW_FRAME_OFFSET(frame);
        if (at > begin && at - begin < 1024)
            return true;
    }
    return false;
}

HELPER int own_tid(void)
{
    return (int)syscall(SYS_gettid);
}

/* Now, as records have it. */
HELPER uint32_t now_ms(const struct own_ledger *ledger)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    uint64_t ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec - ledger->header->start_mono_ns;
    return (uint32_t)(ns / 1000000u) ? (uint32_t)(ns / 1000000u) : 1;
}

/* Until the coarse clock has gone on: what follows has another time on record. */
HELPER void next_tick(const struct own_ledger *ledger)
{
    uint32_t before = now_ms(ledger);
    UNTIL(now_ms(ledger) > before);
}

struct pair {
    int listener, near, far;
    struct sockaddr_in at;
};

HELPER struct pair listening(void)
{
    struct pair p = {.near = -1, .far = -1, .at = {.sin_family = AF_INET}};
    p.at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t len = sizeof p.at;
    p.listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(p.listener, (struct sockaddr *)&p.at, sizeof p.at), 0);
    assert_int_equal(listen(p.listener, 8), 0);
    assert_int_equal(getsockname(p.listener, (struct sockaddr *)&p.at, &len), 0);
    return p;
}

HELPER int client_of(const struct pair *p)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&p->at, sizeof p->at), 0);
    return fd;
}

HELPER struct pair connected(void)
{
    struct pair p = listening();
    p.far = client_of(&p);
    p.near = accept(p.listener, NULL, NULL);
    assert_true(p.near >= 0);
    return p;
}

HELPER void close_pair(struct pair *p)
{
    close(p->listener);
    if (p->near >= 0)
        close(p->near);
    if (p->far >= 0)
        close(p->far);
}

#endif
