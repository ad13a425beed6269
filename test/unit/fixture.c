#include "test/unit/fixture.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

enum { STRINGS_BYTES = 65536, STACKS_WORDS = 262144 };

static void *zeroed(size_t n, size_t bytes)
{
    void *memory = calloc(n, bytes);
    if (!memory)
        abort();
    return memory;
}

static unsigned resolve(void *ctx, const struct cw_view *view, uint64_t frame, struct cw_symbol *ret, unsigned max)
{
    const struct fixture *fixture = ctx;
    unsigned n = 0;

    (void)view;
    for (unsigned i = 0; i < fixture->n_symbols && n < max; i++)
        if (fixture->symbols[i].frame == frame)
            ret[n++] = (struct cw_symbol){.function = fixture->symbols[i].function,
                                          .file = fixture->symbols[i].file,
                                          .line = fixture->symbols[i].line,
                                          .inlined = fixture->symbols[i].inlined,
                                          .kind = CW_FRAME_NATIVE};
    return n;
}

struct fixture *fixture_new(uint32_t conns)
{
    struct fixture *fixture = zeroed(1, sizeof(*fixture));
    struct cw_ledger *header = &fixture->header;

    fixture->view = (struct cw_view){.header = header,
                                     .slots = zeroed(conns + 16, sizeof(uint64_t)),
                                     .conns = zeroed(conns + 1, sizeof(struct cw_conn)),
                                     .threads = zeroed(FIXTURE_THREADS, sizeof(struct cw_thread)),
                                     .sets = zeroed(FIXTURE_SETS, sizeof(struct cw_set)),
                                     .forks = zeroed(FIXTURE_FORKS, sizeof(struct cw_fork)),
                                     .stacks = zeroed(STACKS_WORDS, sizeof(uint64_t)),
                                     .modules = zeroed(FIXTURE_MODULES, sizeof(struct cw_module)),
                                     .strings = zeroed(STRINGS_BYTES, 1),
                                     .n_slots = conns + 16,
                                     .n_conns = conns + 1,
                                     .n_threads = FIXTURE_THREADS,
                                     .n_sets = FIXTURE_SETS,
                                     .n_forks = FIXTURE_FORKS,
                                     .n_stacks = STACKS_WORDS,
                                     .n_modules = FIXTURE_MODULES,
                                     .n_strings = STRINGS_BYTES};
    fixture->resolver = (struct cw_resolver){fixture, resolve};
    fixture->n_strings = fixture->n_stacks = fixture->n_threads = fixture->n_sets = 1;
    fixture->n_modules = fixture->n_conns = 1;

    memcpy(header->magic, CW_LEDGER_MAGIC, sizeof(header->magic));
    header->version = CW_LEDGER_VERSION;
    header->sections[CW_SECTION_CONNS].used = header->sections[CW_SECTION_THREADS].used = 1;
    header->sections[CW_SECTION_FORKS].capacity = FIXTURE_FORKS;
    header->pid = 4242;
    header->ppid = 1;
    header->start_real_ns = UINT64_C(1795317036) * 1000000000; /* 2026-11-22T03:10:36Z */
    header->start_mono_ns = header->process_start_mono_ns = UINT64_C(5000000000);
    header->ended = CW_ENDED_SIGNAL;
    header->end_status = 15;
    header->truth = CW_TRUTH_KERNEL;
    strcpy(header->exe, "/srv/app/server");
    memcpy(header->command, "./server\0--port\0008080\0", 22);
    strcpy(header->host, "web7");
    strcpy(header->kernel, "6.1.0");
    strcpy(header->tool_version, "0.1");
    return fixture;
}

void fixture_free(struct fixture *fixture)
{
    free(fixture->view.slots);
    free(fixture->view.conns);
    free(fixture->view.threads);
    free(fixture->view.sets);
    free(fixture->view.forks);
    free(fixture->view.stacks);
    free(fixture->view.modules);
    free(fixture->view.strings);
    free(fixture);
}

uint32_t fixture_string(struct fixture *fixture, const char *s)
{
    uint32_t id = fixture->n_strings;
    size_t bytes = strlen(s) + 1;

    if (id + bytes > fixture->view.n_strings)
        abort();
    memcpy(fixture->view.strings + id, s, bytes);
    fixture->n_strings += (uint32_t)bytes;
    return id;
}

uint32_t fixture_module(struct fixture *fixture, const char *path, enum cw_module_kind kind)
{
    uint32_t index = fixture->n_modules++;

    if (index >= fixture->view.n_modules)
        abort();
    struct cw_module *module = &fixture->view.modules[index];
    *module =
        (struct cw_module){.load = UINT64_C(0x400000) * index, .kind = (uint8_t)kind, .flags = 1, .build_id_len = 20};
    module->path = fixture_string(fixture, path);
    memset(module->build_id, (int)(0xA0 + index), sizeof(module->build_id));
    return index;
}

uint32_t fixture_stack(struct fixture *fixture, const uint64_t *frames, unsigned n, unsigned flags)
{
    uint32_t id = fixture->n_stacks;

    if (id + n >= fixture->view.n_stacks)
        abort();
    fixture->view.stacks[id] = CW_STACK_WORD(id * 2654435761u, n, flags);
    memcpy(&fixture->view.stacks[id + 1], frames, n * sizeof(*frames));
    fixture->n_stacks += n + 1;
    return id;
}

uint32_t fixture_thread(struct fixture *fixture, int tid, const char *name)
{
    uint32_t index = fixture->n_threads++;

    if (index >= fixture->view.n_threads)
        abort();
    struct cw_thread *thread = &fixture->view.threads[index];
    thread->generation = 3;
    thread->tid = tid;
    memcpy(thread->name, name, strnlen(name, sizeof(thread->name)));
    fixture->header.sections[CW_SECTION_THREADS].used = fixture->n_threads;
    return index | 3u << 16;
}

uint16_t fixture_set(struct fixture *fixture, int fd)
{
    uint32_t index = fixture->n_sets++;

    if (index >= fixture->view.n_sets)
        abort();
    fixture->view.sets[index] = (struct cw_set){.flags = 1, .fd = fd, .refs = 1};
    fixture->header.sections[CW_SECTION_SETS].used = fixture->n_sets;
    return (uint16_t)index;
}

struct cw_fork *fixture_fork(struct fixture *fixture, uint32_t thread, uint32_t ms)
{
    uint32_t seq = (uint32_t)++fixture->header.counters[CW_COUNTER_forks];
    struct cw_fork *fork = &fixture->view.forks[seq % FIXTURE_FORKS];

    *fork = (struct cw_fork){.seq = seq, .ms = ms, .thread = thread};
    return fork;
}

void fixture_symbol(struct fixture *fixture, uint64_t frame, const char *function, const char *file, uint32_t line)
{
    if (fixture->n_symbols == FIXTURE_SYMBOLS)
        abort();
    for (unsigned i = 0; i < fixture->n_symbols; i++)
        if (fixture->symbols[i].frame == frame)
            fixture->symbols[i].inlined = true;
    fixture->symbols[fixture->n_symbols++] = (struct fixture_symbol){frame, function, file, line, false};
}

struct cw_conn *fixture_conn(struct fixture *fixture, uint32_t open_ms)
{
    uint32_t index = fixture->n_conns++;

    if (index >= fixture->view.n_conns)
        abort();
    struct cw_conn *conn = &fixture->view.conns[index];
    *conn = (struct cw_conn){.flags = CW_CONN_IN_USE | CW_CONN_CONNECTED,
                             .epoll_fd = -1,
                             .peer = {10, 0, 0, 2},
                             .local = {10, 0, 0, 1},
                             .peer_port = (uint16_t)(50000 + index),
                             .local_port = 8080,
                             .family = AF_INET,
                             .protocol = IPPROTO_TCP,
                             .origin = CW_ORIGIN_ACCEPT,
                             .open_call = CW_CALL_accept4,
                             .fd = (int32_t)(15 + index),
                             .open_ms = open_ms,
                             .refs = 1,
                             .inode = 100000 + index};
    fixture->header.sections[CW_SECTION_CONNS].used = fixture->n_conns;
    fixture->header.counters[CW_COUNTER_connections]++;
    fixture->header.counters[CW_COUNTER_accepted]++;
    return conn;
}

struct cw_conn *fixture_listener(struct fixture *fixture, uint32_t open_ms)
{
    struct cw_conn *listener = fixture_conn(fixture, open_ms);

    listener->flags = CW_CONN_IN_USE | CW_CONN_LISTENER;
    listener->origin = CW_ORIGIN_SOCKET;
    listener->open_call = CW_CALL_socket;
    memset(listener->peer, 0, sizeof(listener->peer));
    listener->peer_port = 0;
    listener->k_flags = CW_K_QUEUES;
    listener->k_recv_q = 3;
    listener->k_send_q = 128;
    fixture->header.counters[CW_COUNTER_connections]--;
    fixture->header.counters[CW_COUNTER_accepted]--;
    return listener;
}

void fixture_close_wait(struct cw_conn *conn, uint32_t now_ms, uint32_t fin_age_ms, uint32_t sent_age_ms)
{
    conn->k_ms = now_ms;
    conn->k_state = TCP_CLOSE_WAIT;
    conn->k_flags = CW_K_QUEUES;
    conn->k_recv_q = 1;
    conn->k_last_ack_recv = fin_age_ms;
    conn->k_last_data_sent = sent_age_ms;
}

int fixture_emit(struct cw_out *out, const struct cw_report *const *reports, uint32_t n, enum cw_format format)
{
    size_t bytes = cw_document_scratch_bytes(reports, n);
    void *scratch = zeroed(1, bytes + 1);
    struct cw_document document;

    int result = cw_document_build(&document, reports, n, scratch, bytes);
    if (!result)
        result = cw_emit(out, &document, format);
    free(scratch);
    return result;
}

static int text_write(void *ctx, const void *bytes, size_t n)
{
    struct fixture_text *text = ctx;

    if (text->n + n + 1 > text->room) {
        text->room = (text->n + n + 1) * 2;
        text->text = realloc(text->text, text->room);
        if (!text->text)
            abort();
    }
    memcpy(text->text + text->n, bytes, n);
    text->n += n;
    return 0;
}

void fixture_text_begin(struct fixture_text *text)
{
    text->text = NULL;
    text->n = text->room = 0;
    cw_out_init(&text->out, text_write, text);
}

const char *fixture_text_end(struct fixture_text *text)
{
    cw_out_char(&text->out, '\0');
    cw_out_flush(&text->out);
    return text->text;
}

void fixture_text_free(struct fixture_text *text)
{
    free(text->text);
}
