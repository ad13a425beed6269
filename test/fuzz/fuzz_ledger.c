/* Fuzz target: any bytes as a ledger file, through the loader, the judgement and both reports.
 *
 * What must hold: no crash, no read outside, no endless loop, a message when the file is refused, never more than
 * LIMIT_BYTES of memory. libFuzzer and the sanitizers see to the first three (`make fuzz`). */
#define _GNU_SOURCE
#include "cli/load.h"
#include "core/document.h"
#include "core/emit.h"
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

/* The whole of it, as a copy of a live process or as an ended one. */
static void report(struct cw_load *load, enum cw_late late, uint32_t grace_ms)
{
    struct cw_view *views[1] = {&load->view};
    struct cw_options options;
    struct cw_report report;
    const struct cw_report *const reports[1] = {&report};
    struct cw_document document;
    size_t written = 0;

    cw_options_default(&options);
    cw_options_parse(&options, load->view.header->options, NULL, NULL);
    if (load->view.header->truth != CW_TRUTH_KERNEL)
        cw_truth_by_hooks(&load->view);
    size_t share_bytes = cw_document_share_bytes((const struct cw_view *const *)views, 1);
    void *share = allocate(share_bytes);
    cw_document_share(views, 1, share, share_bytes);
    const struct cw_report_input in = {.now_ms = cw_report_last_activity_ms(&load->view),
                                       .now_real_ns = load->view.header->start_real_ns,
                                       .grace_ms = grace_ms,
                                       .late = late,
                                       .options = &options};
    size_t scratch_bytes = cw_report_scratch_bytes(&load->view);
    void *scratch = allocate(scratch_bytes);
    require(cw_report_build(&report, &load->view, &in, scratch, scratch_bytes) == 0, "the scratch memory is too small");
    size_t document_bytes = cw_document_scratch_bytes(reports, 1);
    void *memory = allocate(document_bytes);
    require(cw_document_build(&document, reports, 1, memory, document_bytes) == 0,
            "the document's memory is too small");
    require(load->memory_bytes + share_bytes + scratch_bytes + document_bytes <= LIMIT_BYTES, "too much memory");
    for (unsigned format = 0; format < CW_FORMAT_COUNT; format++) {
        struct cw_out out;
        cw_out_init(&out, drop, &written);
        require(cw_emit(&out, &document, format) == 0, "the emitter failed");
    }
    require(written > 0, "an empty report");
    free(memory);
    free(scratch);
    free(share);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    struct cw_load load;
    char why[256] = "";

    if (fd < 0)
        fd = memfd_create("ledger", MFD_CLOEXEC);
    require(fd >= 0 && ftruncate(fd, 0) == 0, "no memfd");
    for (size_t done = 0; done < size;) {
        ssize_t n = pwrite(fd, data + done, size - done, (off_t)done);
        require(n > 0, "the memfd is full");
        done += (size_t)n;
    }
    if (cw_load_ledger(&load, fd, size % 2 == 0, why, sizeof why) < 0) {
        require(why[0] != 0, "refused without a reason");
        return 0;
    }
    /* Both from the input, so that it decides. */
    report(&load, (enum cw_late)(load.view.header->ended % CW_LATE_COUNT), load.view.header->grace_ms % 4000);
    cw_load_free(&load);
    return 0;
}
