#include "core/live_text.h"

#include "core/evidence.h"
#include "core/frames.h"

/* "accept_client (server+0x1a2f)": the top frame worth showing. */
static void out_top_frame(struct cw_out *out, const struct cw_live_leak *leak, uint32_t stack)
{
    unsigned n = stack ? cw_frames_shown(leak->view, leak->resolver, stack, leak->symbols, leak->frames) : 0;
    if (n == 0) {
        cw_out_str(out, "an unknown place");
        return;
    }
    bool named =
        cw_frame_symbols(leak->view, leak->resolver, leak->frames[0], leak->symbols) && leak->symbols[0].function;
    if (named) {
        cw_out_safe(out, leak->symbols[0].function);
        cw_out_str(out, " (");
    }
    cw_frame_place(out, leak->view, leak->frames[0]);
    if (named)
        cw_out_char(out, ')');
}

void cw_live_text(struct cw_out *out, const struct cw_live_leak *leak)
{
    cw_out_count(out, leak->count);
    cw_out_str(out, leak->count == 1 ? " socket left in CLOSE_WAIT" : " sockets left in CLOSE_WAIT");
    if (leak->processes > 1) {
        cw_out_str(out, " by ");
        cw_out_count(out, leak->processes);
        cw_out_str(out, " processes");
    }
    cw_out_str(out, " for more than ");
    cw_out_duration(out, leak->grace_ms);
    cw_out_str(out, " [");
    cw_out_str(out, cw_diagnoses[leak->diagnosis].id);
    cw_out_str(out, "], opened at ");
    out_top_frame(out, leak, leak->open_stack);
    if (leak->deciding_stack) {
        cw_out_str(out, ", ");
        cw_evidence_out_decided(out, leak->diagnosis, leak->deciding_call);
        cw_out_char(out, ' ');
        out_top_frame(out, leak, leak->deciding_stack);
    }
    cw_out_str(out, "; full report: cwguard report ");
    cw_out_i64(out, leak->pid);
}

void cw_live_text_closed(struct cw_out *out, uint32_t after_ms, int32_t fd, uint8_t family, const uint8_t peer[16],
                         uint16_t peer_port)
{
    cw_out_str(out, "a socket reported as left in CLOSE_WAIT was closed after all, after ");
    cw_out_duration(out, after_ms);
    cw_out_str(out, ": fd ");
    cw_out_i64(out, fd);
    cw_out_str(out, ", peer ");
    cw_out_address(out, family, peer, peer_port);
}
