/* Writes a ledger that is as much work for a reader as a file can be: everything in use, each record different.
 *
 *     hostile OUT [KEY=NUMBER...]
 *
 *     kind=0       what the connections in CLOSE_WAIT are: 0 of an epoll set that nobody waits on, 1 used and left, 2 accepted
 *                  and not touched, with forks since, 3 waiting to be accepted, 4 closed late, 5 of a thread that is stuck,
 *                  6 read to the end, 7 polled, 8 failed
 *     conns=100000 threads=65534 sets=65534 forks=1000 listeners=64 modules=1000
 *     stacks=1000  different ones, each connection takes the next three; depth=64 frames
 *     names=100    bytes of a module's path; ids=0: with a build-id
 *     outside=0    1: as of a process without a recorder
 *     lines=0      1: the modules are this program, so that frames have names and lines */
#include "include/cwguard_ledger.h"

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { NOW_MS = 100000000, CLOSE_WAIT = 8, CLOSE = 7, LISTEN = 10, PORT = 80 };

static uint32_t kind, conns = 100000, threads = 65534, sets = 65534, forks = 1000, listeners = 64, modules = 1000,
                      stacks = 1000, depth = 64, names = 100, ids, outside, lines;
static const struct {
    const char *name;
    uint32_t *value;
} keys[] = {{"kind", &kind},   {"conns", &conns},         {"threads", &threads}, {"sets", &sets},
            {"forks", &forks}, {"listeners", &listeners}, {"modules", &modules}, {"stacks", &stacks},
            {"depth", &depth}, {"names", &names},         {"ids", &ids},         {"outside", &outside},
            {"lines", &lines}};

static struct cw_ledger header = {.magic = CW_LEDGER_MAGIC,
                                  .version = CW_LEDGER_VERSION,
                                  .header_bytes = CW_LEDGER_HEADER_BYTES,
                                  .pid = 4242,
                                  .flags = CW_HEADER_READY,
                                  .start_ticks = 1,
                                  .ended = CW_ENDED_SIGNAL,
                                  .end_status = 15,
                                  .end_ms = NOW_MS,
                                  .truth = CW_TRUTH_KERNEL,
                                  .truth_ms = NOW_MS,
                                  .exe = "/nonexistent/server",
                                  .command = "server\0"};

static void *section(unsigned id, uint64_t stride, uint32_t used, uint64_t *at)
{
    void *memory = calloc(used + 1, stride);

    if (!memory)
        err(1, "calloc");
    header.sections[id] =
        (struct cw_section){.offset = *at, .stride = (uint32_t)stride, .capacity = used, .used = used};
    *at += (used * stride + 4095) & ~UINT64_C(4095);
    return memory;
}

static uint32_t stack_of(uint64_t n)
{
    return stacks ? 1 + (uint32_t)(n % stacks) * (depth + 1) : 0;
}

static void make_conn(struct cw_conn *conn, uint32_t i)
{
    const uint32_t old_ms = NOW_MS - 50000000;

    *conn = (struct cw_conn){.flags = CW_CONN_IN_USE | CW_CONN_CONNECTED,
                             .origin = CW_ORIGIN_ACCEPT,
                             .open_call = CW_CALL_accept4,
                             .open_ms = old_ms - 1000,
                             .open_stack = stack_of(3ull * i),
                             .open_thread = 1 + i % threads,
                             .family = 2,
                             .peer = {10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i},
                             .local = {127, 0, 0, 1},
                             .local_port = PORT,
                             .peer_port = (uint16_t)(1 + i % 65535),
                             .fd = (int32_t)i,
                             .inode = i,
                             .k_ms = NOW_MS,
                             .k_state = CLOSE_WAIT,
                             .k_flags = CW_K_QUEUES,
                             .k_recv_q = i,
                             .k_last_ack_recv = 49000000 - i,
                             .k_last_data_sent = 49000000 - i,
                             .fin_ms = old_ms + i,
                             .refs = 2,
                             .label = 0};
    if (kind == 0) {
        conn->flags |= CW_CONN_WATCHED | CW_CONN_WAS_WATCHED;
        conn->epoll_set = (uint16_t)(1 + i % sets);
        conn->epoll_mask = EPOLLIN;
        conn->ctl_ms = old_ms;
    }
    if (kind == 1 || kind == 5 || kind == 6 || kind == 8) {
        conn->in_first_ms = conn->in_last_ms = conn->out_last_ms = conn->out_first_ms = old_ms - 500;
        conn->in_first_res = conn->in_last_res = 1;
        conn->touch_stack = stack_of(3ull * i + 1);
        conn->touch_thread = 1 + i % threads;
        conn->in_call = CW_CALL_read;
        conn->k_live = kind == 5;
    }
    if (kind == 3) {
        conn->origin = CW_ORIGIN_QUEUED;
        conn->fd = -1;
        conn->inode = 0;
    }
    if (kind == 4) {
        conn->flags |= CW_CONN_LATE;
        conn->close_ms = NOW_MS - 1000;
        conn->close_call = CW_CALL_close;
        conn->close_stack = stack_of(3ull * i + 2);
    }
    if (kind == 6) {
        conn->flags |= CW_CONN_EOF_SEEN | CW_CONN_EOF_CONSUMED;
        conn->eof_ms = old_ms + 2000;
        conn->eof_stack = stack_of(3ull * i + 1);
        conn->eof_call = CW_CALL_recv;
    }
    if (kind == 7) {
        conn->flags |= CW_CONN_POLLED;
        conn->polled_ms = old_ms;
        conn->poll_mask = 1;
        conn->event_ms = old_ms;
        conn->event_stack = stack_of(3ull * i + 1);
        conn->event_call = CW_CALL_poll;
        conn->ctl_thread = 1 + i % threads;
    }
    if (kind == 8)
        conn->k_state = CLOSE;
}

static void make_listener(struct cw_conn *conn, uint32_t i)
{
    *conn = (struct cw_conn){.flags = CW_CONN_IN_USE | CW_CONN_LISTENER | CW_CONN_WATCHED | CW_CONN_WAS_WATCHED,
                             .family = 2,
                             .local = {127, 0, 0, 1},
                             .local_port = PORT,
                             .fd = (int32_t)i,
                             .inode = i,
                             .k_ms = NOW_MS,
                             .k_state = LISTEN,
                             .k_flags = CW_K_QUEUES,
                             .k_recv_q = 7,
                             .k_send_q = 128,
                             .epoll_set = (uint16_t)(1 + i % sets),
                             .epoll_mask = EPOLLIN,
                             .open_stack = stack_of(i),
                             .touch_thread = 1 + i % threads};
}

static void make_stacks(uint64_t *words)
{
    for (uint32_t s = 0; s < stacks; s++) {
        uint64_t *at = &words[1 + s * (depth + 1)];
        at[0] = CW_STACK_WORD(s, depth, 0);
        for (uint32_t k = 0; k < depth; k++)
            at[1 + k] = CW_FRAME(1 + (s + k) % modules, 0x1000 + 16ull * (s * depth + k) % (lines ? 0x2000 : 1u << 30));
    }
}

static void put(int fd, const void *memory, unsigned id)
{
    const struct cw_section *at = &header.sections[id];
    size_t n = (size_t)at->used * at->stride;

    for (size_t done = 0; done < n;) {
        ssize_t some = pwrite(fd, (const char *)memory + done, n - done, (off_t)(at->offset + done));
        if (some <= 0)
            err(1, "pwrite");
        done += (size_t)some;
    }
}

int main(int argc, char **argv)
{
    static char self[4096];
    struct timespec now;
    uint64_t at = CW_LEDGER_HEADER_BYTES;

    for (int i = 2; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        size_t k = 0;
        while (value && k < sizeof keys / sizeof *keys &&
               (strlen(keys[k].name) != (size_t)(value - argv[i]) ||
                strncmp(keys[k].name, argv[i], strlen(keys[k].name)) != 0))
            k++;
        if (!value || k == sizeof keys / sizeof *keys)
            errx(2, "%s?", argv[i]);
        *keys[k].value = (uint32_t)strtoul(value + 1, NULL, 10);
    }
    int fd = argc > 1 ? open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    if (fd < 0)
        err(1, "%s", argc > 1 ? argv[1] : "hostile OUT");
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    header.start_mono_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec - UINT64_C(1000000) * NOW_MS;
    clock_gettime(CLOCK_REALTIME, &now);
    header.start_real_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec - UINT64_C(1000000) * NOW_MS;
    header.flags |= outside ? (uint32_t)CW_HEADER_OUTSIDE : 0;
    header.counters[CW_COUNTER_forks] = forks;
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        err(1, "/proc/self/exe");
    if (lines)
        names = (uint32_t)strlen(self) + 1;

#define SECTION(id, type, n) type *of_##id = section(CW_SECTION_##id, sizeof(type), n, &at)
    SECTION(SLOTS, uint64_t, conns + 1);
    SECTION(CONNS, struct cw_conn, conns + listeners + 1);
    SECTION(THREADS, struct cw_thread, threads + 1);
    SECTION(SETS, struct cw_set, sets + 1);
    SECTION(FORKS, struct cw_fork, forks + 1);
    SECTION(STACK_INDEX, uint32_t, 0);
    SECTION(STACKS, uint64_t, 1 + stacks * (depth + 1));
    SECTION(MODULES, struct cw_module, modules + 1);
    SECTION(STRINGS, char, 1 + modules * names + 1);
    header.total_bytes = at;

    for (uint32_t i = 1; i <= listeners; i++)
        make_listener(&of_CONNS[i], i);
    for (uint32_t i = 1; i <= conns; i++) {
        make_conn(&of_CONNS[listeners + i], i);
        of_SLOTS[i] = CW_SLOT_MAKE(CW_SLOT_CONN, 0, listeners + i);
    }
    for (uint32_t i = 1; i <= threads; i++) {
        of_THREADS[i] = (struct cw_thread){.tid = (int32_t)(5000 + i),
                                           .first_ms = 1,
                                           .k_ms = NOW_MS,
                                           .k_state = 'S',
                                           .k_syscall = SYS_read,
                                           .k_object = (int32_t)(conns + 10 + i),
                                           .name = "worker",
                                           .k_stack = stack_of(i)};
        if (kind == 5) { /* waits for a lock */
            of_THREADS[i].k_syscall = SYS_futex;
            of_THREADS[i].k_object = 1;
        }
        if (outside && i % 2) { /* waits on a set, which is not that of any socket */
            of_THREADS[i].in_wait = 1;
            of_THREADS[i].waiting_set = (uint16_t)sets;
        }
    }
    for (uint32_t i = 1; i <= sets; i++)
        of_SETS[i] = (struct cw_set){.flags = 1,
                                     .fd = (int32_t)i,
                                     .return_ms = NOW_MS - 50002000,
                                     .refs = 1,
                                     .return_stack = stack_of(i),
                                     .return_thread = 1 + i % threads};
    for (uint32_t i = 1; i <= forks; i++)
        of_FORKS[i % (forks + 1)] = (struct cw_fork){.seq = i, .ms = 1, .thread = threads + 1, .pid = (int32_t)i};
    make_stacks(of_STACKS);
    for (uint32_t i = 1; i <= modules; i++) {
        uint32_t string = 1 + (i - 1) * names;
        of_MODULES[i] = (struct cw_module){.path = string, .build_id_len = ids ? 20 : 0, .flags = 1};
        memcpy(of_MODULES[i].build_id, &i, sizeof i);
        memset(&of_STRINGS[string], 'm', names - 1);
        if (lines)
            memcpy(&of_STRINGS[string], self, names - 1);
        else
            of_STRINGS[string] = '/';
    }
    if (pwrite(fd, &header, sizeof header, 0) != (ssize_t)sizeof header || ftruncate(fd, (off_t)at) < 0)
        err(1, "%s", argv[1]);
#define CW_X(id, type) put(fd, of_##id, CW_SECTION_##id);
    CW_SECTIONS(CW_X)
#undef CW_X
    return 0;
}
