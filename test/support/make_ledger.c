/* Writes ledgers for tests of the tool, as the recorder would, of itself or of any ELF file.
 *
 *     make_ledger file OUT [OPTION=VALUE...]   a ledger of a process that has ended
 *     make_ledger live DIR [OPTION=VALUE...]   makes real sockets, keeps some in CLOSE_WAIT, writes DIR/…cwg, prints
 *                                              "ready PID PATH" and lives until its stdin ends
 *
 *     sockets=3    connections in CLOSE_WAIT (live: real ones)
 *     unseen=0     live: that many more that the ledger does not know
 *     paths=1      over so many call paths
 *     module=FILE  file: stacks lie all over the code of this ELF file instead of in our own functions
 *     frame=FILE:HEX  file: the one frame of the end-of-stream stack; HEX is a return address in FILE (empty: JIT code)
 *     label=TEXT   of the connections
 *     host=TEXT command=WORD,WORD…  of the process
 *     pid= start= ns= ended=running|exit|signal truth=none|sweep|kernel flags=N options=TEXT version=N */
#define _GNU_SOURCE
#include "include/cwguard_ledger.h"

#include <elf.h>
#include <err.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

static const struct {
    uint32_t stride, capacity;
} shape[CW_SECTION_COUNT] = {
    [CW_SECTION_SLOTS] = {8, 65536},
    [CW_SECTION_CONNS] = {sizeof(struct cw_conn), 65536},
    [CW_SECTION_THREADS] = {sizeof(struct cw_thread), 64},
    [CW_SECTION_SETS] = {sizeof(struct cw_set), 64},
    [CW_SECTION_FORKS] = {sizeof(struct cw_fork), 64},
    [CW_SECTION_STACK_INDEX] = {4, 1024},
    [CW_SECTION_STACKS] = {8, 131072},
    [CW_SECTION_MODULES] = {sizeof(struct cw_module), 64},
    [CW_SECTION_STRINGS] = {1, 65536},
};

static struct {
    struct cw_ledger header;
    void *memory[CW_SECTION_COUNT];
    uint32_t sockets, unseen, paths;
    const char *module_file, *frame_file, *label;
    uint64_t frame_address;
} L = {.sockets = 3, .paths = 1};

#define CONNS ((struct cw_conn *)L.memory[CW_SECTION_CONNS])
#define MODULES ((struct cw_module *)L.memory[CW_SECTION_MODULES])
#define STACKS ((uint64_t *)L.memory[CW_SECTION_STACKS])
#define SLOTS ((uint64_t *)L.memory[CW_SECTION_SLOTS])
#define USED(id) L.header.sections[CW_SECTION_##id].used

static uint32_t take(enum cw_section_id id, uint32_t n)
{
    struct cw_section *section = &L.header.sections[id];
    uint32_t first = section->used;
    if (section->capacity - first < n)
        errx(1, "section %d is full", (int)id);
    section->used += n;
    return first;
}

static uint32_t add_string(const char *s)
{
    uint32_t id = take(CW_SECTION_STRINGS, (uint32_t)strlen(s) + 1);
    strcpy((char *)L.memory[CW_SECTION_STRINGS] + id, s);
    return id;
}

static uint32_t add_stack(const uint64_t *frames, unsigned n)
{
    uint32_t id = take(CW_SECTION_STACKS, n + 1);
    STACKS[id] = CW_STACK_WORD(0, n, 0);
    memcpy(&STACKS[id + 1], frames, n * sizeof *frames);
    return id;
}

/* --- modules --- */

static void read_build_id(struct cw_module *module, const char *notes, size_t n)
{
    while (n >= sizeof(ElfW(Nhdr))) {
        ElfW(Nhdr) note;
        memcpy(&note, notes, sizeof note);
        size_t name = (note.n_namesz + 3u) & ~3u, size = sizeof note + name + ((note.n_descsz + 3u) & ~3u);
        if (size > n)
            return;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_descsz <= sizeof module->build_id) {
            memcpy(module->build_id, notes + sizeof note + name, note.n_descsz);
            module->build_id_len = (uint8_t)note.n_descsz;
            return;
        }
        notes += size;
        n -= size;
    }
}

static int add_loaded(struct dl_phdr_info *info, size_t size, void *ctx)
{
    static char self[4096];
    uint32_t index = take(CW_SECTION_MODULES, 1);
    struct cw_module *module = &MODULES[index];
    const char *path = info->dlpi_name;

    (void)size;
    (void)ctx;
    *module = (struct cw_module){.load = info->dlpi_addr, .start = UINT64_MAX, .flags = 1};
    if (index == 1 && readlink("/proc/self/exe", self, sizeof self - 1) > 0) {
        path = self;
        module->kind = CW_MODULE_MAIN;
    } else if (strstr(path, "/libc.so")) {
        module->kind = CW_MODULE_LIBC;
    } else if (strstr(path, "vdso")) {
        module->kind = CW_MODULE_VDSO;
    }
    module->path = add_string(path);
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uint64_t at = info->dlpi_addr + segment->p_vaddr;
        if (segment->p_type == PT_NOTE)
            read_build_id(module, (const char *)at, segment->p_memsz);
        if (segment->p_type != PT_LOAD)
            continue;
        module->start = at < module->start ? at : module->start;
        module->end = at + segment->p_memsz > module->end ? at + segment->p_memsz : module->end;
    }
    return 0;
}

static uint64_t frame_of(const void *address)
{
    uint64_t at = (uint64_t)(uintptr_t)address;
    for (uint32_t i = 1; i < USED(MODULES); i++)
        if (at >= MODULES[i].start && at < MODULES[i].end)
            return CW_FRAME(i, at - MODULES[i].load);
    return CW_FRAME(0, at);
}

/* An ELF file that is not loaded here, at load address 0; its code lies in [*ret_low, *ret_high). */
static uint32_t add_file(const char *path, uint64_t *ret_low, uint64_t *ret_high)
{
    uint32_t index = take(CW_SECTION_MODULES, 1);
    struct cw_module *module = &MODULES[index];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;

    if (fd < 0 || fstat(fd, &status) < 0)
        err(1, "%s", path);
    const char *bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        err(1, "%s", path);
    const ElfW(Ehdr) *elf = (const void *)bytes;
    const ElfW(Phdr) *segments = (const void *)(bytes + elf->e_phoff);
    *module = (struct cw_module){.flags = 1, .end = UINT64_C(1) << 40, .path = add_string(path)};
    for (unsigned i = 0; i < elf->e_phnum; i++) {
        if (segments[i].p_type == PT_NOTE && !module->build_id_len)
            read_build_id(module, bytes + segments[i].p_offset, segments[i].p_filesz);
        if (segments[i].p_type == PT_LOAD && (segments[i].p_flags & PF_X) &&
            segments[i].p_filesz > *ret_high - *ret_low) {
            *ret_low = segments[i].p_vaddr;
            *ret_high = segments[i].p_vaddr + segments[i].p_filesz;
        }
    }
    munmap((void *)(uintptr_t)bytes, (size_t)status.st_size);
    close(fd);
    return index;
}

/* --- call paths through our own functions: the tests know these names ---
 * The asm comments keep calls from becoming jumps and functions from being folded into one. */

NOINLINE static uint32_t stack_here(unsigned skip)
{
    void *addresses[CW_STACK_MAX_FRAMES + 2];
    uint64_t frames[CW_STACK_MAX_FRAMES];
    unsigned n = 0;
    int depth = backtrace(addresses, (int)(CW_STACK_MAX_FRAMES + 2));

    for (int i = (int)skip; i < depth && n < CW_STACK_MAX_FRAMES; i++)
        frames[n++] = frame_of(addresses[i]);
    return add_stack(frames, n);
}

NOINLINE static uint32_t fake_accept(void)
{
    uint32_t id = stack_here(2); /* stack_here and this one stand for the shim */
    __asm__ volatile("");
    return id;
}

NOINLINE static uint32_t accept_client(void)
{
    uint32_t id = fake_accept(); /* LINE accept_client */
    __asm__ volatile("# accept_client");
    return id;
}

NOINLINE static uint32_t on_readable(void)
{
    uint32_t id = fake_accept(); /* LINE on_readable */
    __asm__ volatile("# on_readable");
    return id;
}

static inline __attribute__((always_inline)) uint32_t dispatch_inlined(bool readable)
{
    uint32_t id = readable ? on_readable() : accept_client(); /* LINE dispatch_inlined */
    __asm__ volatile("# dispatch_inlined");
    return id;
}

NOINLINE static uint32_t event_loop(bool readable)
{
    uint32_t id = dispatch_inlined(readable); /* LINE event_loop */
    __asm__ volatile("# event_loop");
    return id;
}

/* Another path of many: the real stack with three more frames below it, each somewhere in our own functions. */
static uint32_t vary_stack(uint32_t id, uint32_t path)
{
    unsigned n = CW_STACK_FRAMES(STACKS[id]);
    uint64_t frames[CW_STACK_MAX_FRAMES + 3];

    memcpy(frames, &STACKS[id + 1], n * sizeof *frames);
    for (unsigned i = 0; i < 3; i++, path /= 10)
        frames[n + i] = frames[i] + path % 10 * 8;
    return add_stack(frames, n + 3);
}

static uint32_t stack_in_file(uint32_t module, uint64_t low, uint64_t high, uint32_t path)
{
    uint64_t frames[10], step = (high - low) / (10 * (uint64_t)L.paths + 1);
    for (unsigned i = 0; i < 10; i++)
        frames[i] = CW_FRAME(module, low + step * (path * 10 + i) + 5);
    return add_stack(frames, 10);
}

/* --- connections --- */

static struct cw_conn *add_conn(int fd, uint32_t open_stack, uint32_t eof_stack)
{
    uint32_t index = take(CW_SECTION_CONNS, 1);
    struct cw_conn *conn = &CONNS[index];

    *conn = (struct cw_conn){.flags = CW_CONN_IN_USE | CW_CONN_CONNECTED | CW_CONN_EOF_SEEN | CW_CONN_EOF_CONSUMED,
                             .origin = CW_ORIGIN_ACCEPT,
                             .open_call = CW_CALL_accept4,
                             .eof_call = CW_CALL_recv,
                             .in_call = CW_CALL_recv,
                             .fd = fd,
                             .refs = 1,
                             .epoll_fd = -1,
                             .open_ms = 1000,
                             .in_last_ms = 7000,
                             .in_first_ms = 2000,
                             .eof_ms = 7000,
                             .fin_ms = 7000,
                             .open_stack = open_stack,
                             .eof_stack = eof_stack,
                             .touch_stack = eof_stack,
                             .family = AF_INET,
                             .protocol = IPPROTO_TCP};
    if ((uint32_t)fd < shape[CW_SECTION_SLOTS].capacity) {
        SLOTS[fd] = CW_SLOT_MAKE(CW_SLOT_CONN, 1, index);
        if (USED(SLOTS) <= (uint32_t)fd)
            USED(SLOTS) = (uint32_t)fd + 1;
    }
    L.header.counters[0]++;
    L.header.counters[1]++;
    return conn;
}

static void add_made_up(uint32_t open_stack, uint32_t eof_stack)
{
    uint64_t low = 0, high = 0, frame;
    uint32_t *stacks = calloc(L.paths, sizeof *stacks), module;
    uint32_t label = L.label ? add_string(L.label) : 0;

    if (L.frame_file) {
        module = *L.frame_file ? add_file(L.frame_file, &low, &high) : 0;
        frame = CW_FRAME(module, L.frame_address);
        eof_stack = add_stack(&frame, 1);
    }
    low = high = 0;
    module = L.module_file ? add_file(L.module_file, &low, &high) : 0;
    for (uint32_t i = 0; i < L.paths; i++)
        stacks[i] = module         ? stack_in_file(module, low, high, i)
                    : L.paths == 1 ? open_stack
                                   : vary_stack(open_stack, i);
    for (uint32_t i = 0; i < L.sockets; i++) {
        struct cw_conn *conn = add_conn((int)(10 + i), stacks[i % L.paths], eof_stack);
        const uint8_t local[] = {10, 0, 0, 1}, peer[] = {10, 0, (uint8_t)(2 + i / 200), (uint8_t)(i % 200)};
        memcpy(conn->local, local, 4);
        memcpy(conn->peer, peer, 4);
        conn->local_port = 8080;
        conn->peer_port = (uint16_t)(20000 + i);
        conn->inode = 100000 + i;
        conn->label = label;
        conn->k_ms = 90000;
        conn->k_state = TCP_CLOSE_WAIT;
        conn->k_flags = CW_K_QUEUES;
        conn->k_last_ack_recv = 83000;
        conn->k_last_data_sent = 84000;
    }
    free(stacks);
}

static int make_close_wait(int listener, struct sockaddr_in *peer)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;
    struct tcp_info info;

    if (getsockname(listener, (struct sockaddr *)&address, &length) < 0 ||
        connect(client, (struct sockaddr *)&address, sizeof address) < 0)
        err(1, "connect");
    length = sizeof *peer;
    fd = accept(listener, (struct sockaddr *)peer, &length);
    if (fd < 0)
        err(1, "accept");
    close(client);
    do {
        length = sizeof info;
        getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length);
    } while (info.tcpi_state != TCP_CLOSE_WAIT);
    return fd;
}

static void add_real(uint32_t open_stack, uint32_t eof_stack)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, peer;
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 16) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) < 0)
        err(1, "listen");
    for (uint32_t i = 0; i < L.sockets + L.unseen; i++) {
        int fd = make_close_wait(listener, &peer);
        if (i >= L.sockets)
            continue;
        struct cw_conn *conn = add_conn(fd, open_stack, eof_stack);
        memcpy(conn->local, &address.sin_addr, 4);
        memcpy(conn->peer, &peer.sin_addr, 4);
        conn->local_port = ntohs(address.sin_port);
        conn->peer_port = ntohs(peer.sin_port);
    }
}

/* --- header and file --- */

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static uint64_t own_start_ticks(void)
{
    char text[1024] = "";
    FILE *file = fopen("/proc/self/stat", "re");
    unsigned long long ticks = 0;
    if (!file || !fgets(text, sizeof text, file))
        err(1, "/proc/self/stat");
    fclose(file);
    const char *rest = strrchr(text, ')');
    for (int field = 2; rest && field < 22; field++)
        rest = strchr(rest + 1, ' ');
    if (rest)
        ticks = strtoull(rest, NULL, 10);
    return ticks;
}

static void begin(void)
{
    const uint64_t age_ns = UINT64_C(100000000000);
    struct cw_ledger *h = &L.header;
    struct stat status;
    uint64_t offset = CW_LEDGER_HEADER_BYTES;

    memcpy(h->magic, CW_LEDGER_MAGIC, sizeof h->magic);
    h->version = CW_LEDGER_VERSION;
    h->header_bytes = CW_LEDGER_HEADER_BYTES;
    for (unsigned i = 0; i < CW_SECTION_COUNT; i++) {
        h->sections[i] = (struct cw_section){
            .offset = offset, .stride = shape[i].stride, .capacity = shape[i].capacity, .used = i != CW_SECTION_SLOTS};
        L.memory[i] = calloc(shape[i].capacity, shape[i].stride);
        offset += ((uint64_t)shape[i].capacity * shape[i].stride + 4095) & ~UINT64_C(4095);
    }
    h->total_bytes = offset;
    if (stat("/proc/self/ns/pid", &status) == 0)
        h->pid_ns = status.st_ino;
    h->pid = getpid();
    h->ppid = getppid();
    h->uid = getuid();
    h->start_ticks = own_start_ticks();
    h->start_mono_ns = clock_ns(CLOCK_MONOTONIC_COARSE) - age_ns;
    h->start_real_ns = clock_ns(CLOCK_REALTIME) - age_ns;
    h->process_start_mono_ns = h->start_mono_ns;
    h->flags = CW_HEADER_READY;
    h->truth = CW_TRUTH_SWEEP;
    h->truth_ms = 90000;
    h->grace_ms = 30000;
    h->exit_grace_ms = 2000;
    if (readlink("/proc/self/exe", h->exe, sizeof h->exe - 1) < 0)
        err(1, "/proc/self/exe");
    strcpy(h->command, "./make_ledger");
    gethostname(h->host, sizeof h->host - 1);
    strcpy(h->kernel, "Linux");
    strcpy(h->tool_version, "0.1");
    dl_iterate_phdr(add_loaded, NULL);
}

static void write_ledger(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    char page[CW_LEDGER_HEADER_BYTES] = {0};

    memcpy(page, &L.header, sizeof L.header);
    if (fd < 0 || ftruncate(fd, (off_t)L.header.total_bytes) < 0 || pwrite(fd, page, sizeof page, 0) < 0)
        err(1, "%s", path);
    for (unsigned i = 0; i < CW_SECTION_COUNT; i++) {
        const struct cw_section *section = &L.header.sections[i];
        size_t n = (size_t)section->used * section->stride;
        if (n && pwrite(fd, L.memory[i], n, (off_t)section->offset) != (ssize_t)n)
            err(1, "%s", path);
    }
    close(fd);
}

static unsigned word_index(const char *word, const char *list)
{
    const char *at = strstr(list, word);
    unsigned index = 0;
    if (!at)
        errx(1, "'%s' is none of %s", word, list);
    for (; at > list; at--)
        index += at[-1] == '|';
    return index;
}

static void set(const char *pair)
{
    char *value = strchr(pair, '=');
    struct cw_ledger *h = &L.header;

    if (!value++)
        errx(1, "NAME=VALUE expected instead of %s", pair);
#define IS(name) (!strncmp(pair, name "=", sizeof name))
    uint64_t number = strtoull(value, NULL, 10);
    if (IS("sockets"))
        L.sockets = (uint32_t)number;
    else if (IS("unseen"))
        L.unseen = (uint32_t)number;
    else if (IS("paths"))
        L.paths = (uint32_t)number;
    else if (IS("module"))
        L.module_file = value;
    else if (IS("frame")) {
        char *colon = strrchr(value, ':');
        if (!colon)
            errx(1, "frame=FILE:HEX expected");
        L.frame_file = value;
        *colon = 0;
        L.frame_address = strtoull(colon + 1, NULL, 16);
    } else if (IS("pid"))
        h->pid = (int32_t)number;
    else if (IS("start"))
        h->start_ticks = number;
    else if (IS("ns"))
        h->pid_ns = number;
    else if (IS("ended"))
        h->ended = word_index(value, "running|exit|signal");
    else if (IS("truth"))
        h->truth = word_index(value, "none|sweep|kernel");
    else if (IS("flags"))
        h->flags = (uint32_t)number;
    else if (IS("version"))
        h->version = (uint32_t)number;
    else if (IS("label"))
        L.label = value;
    else if (IS("host"))
        snprintf(h->host, sizeof h->host, "%s", value);
    else if (IS("command")) {
        snprintf(h->command, sizeof h->command - 1, "%s", value);
        for (size_t i = 0; i < sizeof h->command; i++)
            h->command[i] = (char)(h->command[i] == ',' ? 0 : h->command[i]);
    } else if (IS("options"))
        snprintf(h->options, sizeof h->options, "%s", value);
    else
        errx(1, "unknown option %s", pair);
#undef IS
}

int main(int argc, char **argv)
{
    char path[4096];
    bool live = argc > 2 && !strcmp(argv[1], "live");
    char byte;

    if (argc < 3 || (!live && strcmp(argv[1], "file") != 0))
        errx(1, "usage: make_ledger file OUT | live DIR [OPTION=VALUE...]");
    begin();
    for (int i = 3; i < argc; i++)
        set(argv[i]);
    uint32_t open_stack = event_loop(false), eof_stack = event_loop(true); /* LINE main */
    if (live) {
        add_real(open_stack, eof_stack);
        snprintf(path, sizeof path, "%s/%llu.%d.%llu.%x.cwg", argv[2], (unsigned long long)L.header.pid_ns,
                 L.header.pid, (unsigned long long)L.header.start_ticks, 0xabcdefu);
    } else {
        add_made_up(open_stack, eof_stack);
        snprintf(path, sizeof path, "%s", argv[2]);
    }
    write_ledger(path);
    if (live) {
        printf("ready %d %s\n", (int)getpid(), path);
        fflush(stdout);
        while (read(0, &byte, 1) > 0)
            ;
    }
    return 0;
}
