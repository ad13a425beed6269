#define _GNU_SOURCE
#include "test/support/ledger_harness.h"

#include "preload/ledger_parts.h"
#include "preload/objects.h"
#include "preload/probe.h"

#include <dirent.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

union cw_process_page cw_process_page __attribute__((aligned(4096)));
struct cw_static cw_static = {.process = &cw_process_page.process};
__thread struct cw_tls cw_tls;

static char dir[64];

uint32_t cw_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    uint64_t ns = (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec - CW_P->t0_ns;
    uint32_t ms = (uint32_t)(ns / 1000000);
    return ms ? ms : 1;
}

void harness_reset(void)
{
    memset(&cw_process_page, 0, sizeof cw_process_page);
    cw_options_default(&cw_static.options);
    cw_static.may = CW_MAY_ALL;
    cw_static.seccomp = 0;
    cw_objects_init(false);
}

const char *harness_dir(void)
{
    snprintf(dir, sizeof dir, "/dev/shm/cwguard-test-XXXXXX");
    if (!mkdtemp(dir))
        abort();
    snprintf(cw_static.options.ledger_dir, sizeof cw_static.options.ledger_dir, "%s", dir);
    return dir;
}

void harness_remove_dir(void)
{
    char path[400];
    DIR *entries = dir[0] ? opendir(dir) : NULL;
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        if (entry->d_name[0] != '.' && unlink(path) != 0)
            rmdir(path);
    }
    if (entries)
        closedir(entries);
    rmdir(dir);
    dir[0] = 0;
}

int harness_create(void)
{
    int failed = cw_ledger_create();
    if (failed)
        return failed;
    CW_P->pid = getpid();
    CW_P->t0_ns = CW_P->view.header->start_mono_ns - UINT64_C(600000000000); /* as if begun ten minutes ago */
    CW_P->view.header->start_mono_ns = CW_P->t0_ns;
    CW_P->live = 1;
    return 0;
}

uintptr_t harness_code(const char *name)
{
    uintptr_t address = (uintptr_t)dlsym(RTLD_DEFAULT, name);
    if (!address)
        abort();
    return address + 4;
}

static uint32_t add_string(const char *text)
{
    uint32_t *used = &CW_P->view.header->sections[CW_SECTION_STRINGS].used, id = *used;
    uint32_t n = (uint32_t)strlen(text) + 1;
    if (cw_ledger_reserve(CW_SECTION_STRINGS, id, n))
        return 0;
    memcpy(CW_P->view.strings + id, text, n);
    *used += n;
    return id;
}

static uint32_t add_module(uintptr_t pc)
{
    struct cw_object object;
    uint32_t *used = &CW_P->view.header->sections[CW_SECTION_MODULES].used, index = *used;
    if (!cw_objects_find(pc, &object) || cw_ledger_reserve(CW_SECTION_MODULES, index, 1))
        return 0;
    CW_P->view.modules[index] = (struct cw_module){
        .load = object.load,
        .start = object.start,
        .end = object.end,
        .path = add_string(object.name),
        .kind = CW_MODULE_OTHER,
        .flags = 1,
    };
    *used = index + 1;
    return index;
}

static uint32_t add_stack(uint32_t module, uintptr_t pc)
{
    uint32_t *used = &CW_P->view.header->sections[CW_SECTION_STACKS].used, id = *used;
    if (!module || cw_ledger_reserve(CW_SECTION_STACKS, id, 2))
        return 0;
    CW_P->view.stacks[id] = CW_STACK_WORD(pc, 1, 0);
    CW_P->view.stacks[id + 1] = CW_FRAME(module, pc - CW_P->view.modules[module].load);
    *used = id + 2;
    return id;
}

void harness_leak(uint32_t n)
{
    struct cw_ledger *header = CW_P->view.header;
    uintptr_t allocated = harness_code(HARNESS_ALLOCATES), seen = harness_code(HARNESS_READS);
    uint32_t module = add_module(allocated);
    uint32_t open_stack = add_stack(module, allocated), eof_stack = add_stack(module, seen);
    uint32_t now_ms = cw_now_ms();

    header->ended = CW_ENDED_EXIT;
    header->truth = CW_TRUTH_KERNEL;
    header->truth_ms = now_ms;
    for (uint32_t i = 1; i <= n; i++) {
        if (cw_ledger_reserve(CW_SECTION_CONNS, i, 1))
            return;
        struct cw_conn *conn = &CW_P->view.conns[i];
        *conn = (struct cw_conn){
            .flags = CW_CONN_IN_USE | CW_CONN_CONNECTED | CW_CONN_EOF_SEEN | CW_CONN_EOF_CONSUMED | CW_CONN_LEAKED,
            .origin = CW_ORIGIN_ACCEPT,
            .open_call = CW_CALL_accept4,
            .open_stack = open_stack,
            .eof_stack = eof_stack,
            .eof_call = CW_CALL_recv,
            .open_ms = now_ms - 200000,
            .eof_ms = now_ms - 100000,
            .fin_ms = now_ms - 100000,
            .family = AF_INET,
            .protocol = IPPROTO_TCP,
            .local = {127, 0, 0, 1},
            .peer = {127, 0, (uint8_t)(i >> 8), (uint8_t)i},
            .local_port = 8080,
            .peer_port = 40000,
            .fd = (int32_t)i + 10,
            .refs = 1,
            .k_state = TCP_CLOSE_WAIT,
            .k_ms = now_ms,
            .k_last_ack_recv = 100000,
            .k_last_data_sent = 150000,
        };
        header->sections[CW_SECTION_CONNS].used = i + 1;
    }
}

int harness_in_child(void (*fn)(void *), void *arg)
{
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        fn(arg);
        fflush(NULL);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        return -1;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void harness_check(int ok, const char *file, int line, const char *what)
{
    if (ok)
        return;
    dprintf(2, "%s:%d: not so: %s\n", file, line, what);
    _exit(98);
}

unsigned harness_count_fds(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 4096; fd++) {
        struct stat st;
        n += fstat(fd, &st) == 0;
    }
    return n;
}
