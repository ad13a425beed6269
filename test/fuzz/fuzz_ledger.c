/* Fuzz target: any bytes as a ledger file, alone or beside another one of the same machine, through the loader, what is taken
 * over from an earlier ledger, the judgement and both reports.
 *
 * What must hold: no crash, no read outside, no endless loop, a message when the file is refused, never more than
 * LIMIT_BYTES of memory. libFuzzer and the sanitizers see to the first three (`make fuzz`). */
#define _GNU_SOURCE
#include "cli/ledger/adopt.h"
#include "cli/ledger/load.h"
#include "core/document.h"
#include "core/emit.h"
#include "core/frames.h"
#include "core/truth.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A sparse file may say that much is in use where nothing is: still this is what reading it takes at most. */
#define LIMIT_BYTES (64u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int drop(void *ctx, const void *bytes, size_t n)
{
    *(size_t *)ctx += bytes ? n : 0;
    return 0;
}

static void require(int condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "fuzz_ledger: %s\n", what);
    abort();
}

static void *allocate(size_t n)
{
    void *memory = calloc(1, n ? n : 1);

    require(memory != NULL, "no memory");
    return memory;
}

static uint64_t fnv(void *ctx, const void *bytes, size_t n)
{
    (void)ctx;
    return cw_hash_bytes(CW_HASH_START, bytes, n);
}

/* What the input asks for, besides what its header says. */
struct wish {
    const uint8_t *data;
    size_t size;
};

static uint8_t wish_at(const struct wish *wish, size_t i)
{
    return wish->size ? wish->data[i % wish->size] : 0;
}

static unsigned total_bytes;

static void *lent(size_t n)
{
    total_bytes += (unsigned)n;
    return allocate(n);
}

/* The whole of it, over one ledger or two. */
static void report(struct cw_load *loads, uint32_t n, const struct wish *wish)
{
    struct cw_view *views[2] = {&loads[0].view, &loads[1].view};
    struct cw_options options;
    struct cw_report reports[2];
    const struct cw_report *const pointers[2] = {&reports[0], &reports[1]};
    const struct cw_redact redact = {.what = wish_at(wish, 9000), .hash = fnv};
    struct cw_document document;
    void *scratch[2] = {NULL, NULL};
    size_t written = 0;

    total_bytes = 0;
    cw_options_default(&options);
    cw_options_parse(&options, views[0]->header->options, NULL, NULL);
    for (uint32_t i = 0; i < n; i++) {
        total_bytes += (unsigned)loads[i].memory_bytes;
        if (views[i]->header->truth != CW_TRUTH_KERNEL)
            cw_truth_by_hooks(views[i]);
    }
    size_t share_bytes = cw_document_share_bytes((const struct cw_view *const *)views, n);
    void *share = lent(share_bytes);
    cw_document_share(views, n, share, share_bytes);
    for (uint32_t i = 0; i < n; i++) {
        const struct cw_report_input in = {.now_ms = cw_report_last_activity_ms(views[i]),
                                           .now_real_ns = views[i]->header->start_real_ns,
                                           .grace_ms = views[0]->header->grace_ms % 4000,
                                           .late = (enum cw_late)(views[0]->header->ended % CW_LATE_COUNT),
                                           .redact = &redact,
                                           .options = &options};
        size_t bytes = cw_report_scratch_bytes(views[i]);
        scratch[i] = lent(bytes);
        require(cw_report_build(&reports[i], views[i], &in, scratch[i], bytes) == 0, "the scratch memory is too small");
    }
    size_t document_bytes = cw_document_scratch_bytes(pointers, n);
    void *memory = lent(document_bytes);
    require(cw_document_build(&document, pointers, n, memory, document_bytes) == 0,
            "the document's memory is too small");
    require(total_bytes <= n * LIMIT_BYTES, "too much memory");
    for (unsigned format = 0; format < CW_FORMAT_COUNT; format++) {
        struct cw_out out;
        cw_out_init(&out, drop, &written);
        require(cw_emit(&out, &document, format) == 0, "the emitter failed");
    }
    require(written > 0, "an empty report");
    free(memory);
    free(scratch[0]);
    free(scratch[1]);
    free(share);
}

/* A server that is killed at once leaves nothing that has leaked: as it would be a minute later. */
static void ripen(struct cw_load *load, const struct wish *wish)
{
    static const uint8_t states[] = {8, 8, 8, 7, 1}; /* CLOSE_WAIT, CLOSE, ESTABLISHED */
    uint32_t now_ms = cw_report_last_activity_ms(&load->view) + 60000;

    load->view.header->truth = CW_TRUTH_KERNEL;
    load->view.header->truth_ms = now_ms;
    for (uint32_t i = 1; i < load->view.n_conns; i++) {
        struct cw_conn *conn = &load->view.conns[i];
        if (!(conn->flags & CW_CONN_IN_USE) || (conn->flags & CW_CONN_LISTENER))
            continue;
        conn->k_state = states[wish_at(wish, 8300 + i) % sizeof states];
        conn->k_ms = now_ms;
        conn->k_last_ack_recv = conn->k_last_data_sent = 50000;
    }
}

/* Another process of the same machine: much the same, for sockets that both have are what is to be found. */
static void make_other(struct cw_load *load, const struct wish *wish)
{
    static const uint32_t flips[] = {0, CW_CONN_LATE, CW_CONN_GONE, CW_CONN_LISTENER, CW_CONN_IN_USE, CW_CONN_EOF_SEEN};

    load->view.header->pid += wish_at(wish, 5) % 2;
    load->view.header->start_mono_ns -= wish_at(wish, 6) * UINT64_C(1000000);
    for (uint32_t i = 1; i < load->view.n_conns; i++) {
        uint8_t byte = wish_at(wish, 8192 + i);
        load->view.conns[i].flags ^= flips[byte % (sizeof flips / sizeof *flips)];
        if (byte & 64)
            load->view.conns[i].inode = byte & 128 ? 0 : 1 + byte % 8;
        if (byte & 32)
            load->view.conns[i].origin = byte & 128 ? CW_ORIGIN_QUEUED : CW_ORIGIN_FORKED;
    }
}

/* Sockets that were there when the program began. */
static void forget(struct cw_load *load, const struct wish *wish)
{
    for (uint32_t i = 1; i < load->view.n_conns; i++) {
        if (wish_at(wish, 8200 + i) % 4)
            continue;
        load->view.conns[i].origin = CW_ORIGIN_INHERITED;
        load->view.conns[i].open_stack = 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    const struct wish wish = {data, size};
    struct cw_load loads[2] = {{.remark = ""}, {.remark = ""}};
    char why[256] = "";
    uint32_t n = 1;

    if (fd < 0)
        fd = memfd_create("ledger", MFD_CLOEXEC);
    require(fd >= 0 && ftruncate(fd, 0) == 0, "no memfd");
    for (size_t done = 0; done < size;) {
        ssize_t some = pwrite(fd, data + done, size - done, (off_t)done);
        require(some > 0, "the memfd is full");
        done += (size_t)some;
    }
    if (cw_load_ledger(&loads[0], fd, size % 2 == 0, why, sizeof why) < 0) {
        require(why[0] != 0, "refused without a reason");
        return 0;
    }
    if (wish_at(&wish, 8191) & 1)
        loads[0].view.header->flags ^= CW_HEADER_OUTSIDE;
    if (!(wish_at(&wish, 8190) & 1))
        ripen(&loads[0], &wish);
    if (size % 3) {
        require(cw_load_ledger(&loads[1], fd, false, why, sizeof why) == 0, "refused the second time");
        if (!(wish_at(&wish, 8190) & 1))
            ripen(&loads[1], &wish);
        make_other(&loads[1], &wish);
        if (size % 3 == 1) {
            forget(&loads[0], &wish);
            if (cw_adopt_wanted(&loads[0]))
                cw_adopt_from(&loads[0], &loads[1]);
        }
        n = 2;
    }
    report(loads, n, &wish);
    cw_load_free(&loads[0]);
    cw_load_free(&loads[1]);
    return 0;
}
