/* The faults, one function each; its name is what a report has to show. */
#include "faults.h"

const struct cause causes[] = {
    {.name = "error-not-closed", .serve = give_up_after_error},
    {.name = "never-accepted.unregistered", .listener = open_listener_nobody_serves},
    {.name = "never-accepted.taken-out", .client = stop_accepting_at_limit},
    {.name = "never-accepted.accept-fails", .listener = open_listener_and_use_up_fds, .client = accept_without_room},
    {.name = "never-accepted.acceptor-busy", .client = accept_and_wait_for_lock, .needs_lock_keeper = true},
    {.name = "held-elsewhere.dup", .serve = close_all_but_the_copy},
    {.name = "held-elsewhere.child", .serve = start_snapshot_child},
    {.name = "left-to-child", .client = leave_to_child},
    {.name = "half-open", .serve = send_on_after_end, .tick = send_to_half_open},
    {.name = "owner-stuck", .serve = answer_after_lock, .needs_lock_keeper = true},
    {.name = "eof-not-closed", .serve = drop_at_end_of_stream},
    {.name = "reading-paused", .serve = pause_after_request},
    {.name = "event-ignored", .client = accept_for_ignoring, .run = loop_ignoring_hangup},
    {.name = "unwatched", .serve = take_out_and_lose},
    {.name = "never-watched", .client = accept_and_refuse},
    {.name = "response-unread", .serve = ask_for_status_only},
    {.name = "response-unread.at-once", .serve = ask_for_status_only},
    {.name = "idle-pooled", .serve = ask_by_pool},
    {.name = "owner-gone", .client = give_to_own_thread},
    {.name = "abandoned", .client = client_for_answering_once, .serve = answer_once_and_forget},
    {.name = "untracked", .client = accept_unseen},
};
const size_t n_causes = sizeof causes / sizeof causes[0];
