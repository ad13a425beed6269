#include "cli/ledger/ledger_row.h"

#include "cli/ledger/load.h"
#include "core/names.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static uint64_t count_leaked(const struct cw_view *view)
{
    const uint32_t yes = CW_CONN_IN_USE | CW_CONN_LEAKED, no = CW_CONN_LISTENER | CW_CONN_LATE | CW_CONN_GONE;
    uint64_t count = 0;

    for (uint32_t i = 1; i < view->n_conns; i++)
        count += (view->conns[i].flags & (yes | no)) == yes;
    return count;
}

void cw_ledger_row_read(struct cw_ledger_row *ret, const struct cw_found *found)
{
    const struct cw_ledger *header;
    struct cw_load load;
    struct stat status;

    memset(ret, 0, sizeof *ret);
    memcpy(ret->path, found->path, sizeof ret->path);
    ret->pid = found->pid;
    ret->life = cw_ledger_life(found);
    ret->age_ms = cw_ledger_age_ms(found->fd);
    ret->used_bytes = cw_ledger_bytes(found->fd);
    ret->uid = fstat(found->fd, &status) == 0 ? status.st_uid : (uid_t)-1;
    if (cw_load_ledger(&load, found->fd, false, ret->unreadable, sizeof ret->unreadable) < 0)
        return;
    header = load.view.header;
    memcpy(ret->exe, header->exe, sizeof ret->exe);
    ret->start_real_ns = header->start_real_ns;
    ret->connections = header->counters[CW_COUNTER_connections];
    ret->leaked = count_leaked(&load.view);
    ret->ended = header->ended;
    /* Nobody who is killed gets to say so. */
    if (ret->ended == CW_ENDED_RUNNING && ret->life == CW_LIFE_DEAD)
        ret->ended = CW_ENDED_KILLED;
    ret->end_status = header->end_status;
    ret->reported = header->flags & CW_HEADER_REPORTED;
    ret->saved = header->flags & CW_HEADER_SAVED;
    cw_load_free(&load);
}

const char *cw_ledger_row_how(const struct cw_ledger_row *row)
{
    static const char *const words[] = {
        [CW_ENDED_EXIT] = "exit", [CW_ENDED_SIGNAL] = "signal", [CW_ENDED_EXEC] = "exec", [CW_ENDED_KILLED] = "killed"};

    if (row->ended != CW_ENDED_RUNNING && row->ended < sizeof words / sizeof *words)
        return words[row->ended];
    return row->life == CW_LIFE_RUNNING ? "running" : "unknown";
}

void cw_ledger_row_state(const struct cw_ledger_row *row, char *ret, size_t ret_bytes)
{
    const char *how = cw_ledger_row_how(row), *reported = row->reported ? ", reported" : ", not reported";
    struct cw_out out;
    struct cw_line line;

    if (row->unreadable[0]) {
        snprintf(ret, ret_bytes, "%s, unreadable",
                 row->life == CW_LIFE_RUNNING ? "running"
                 : row->life == CW_LIFE_DEAD  ? "ended"
                                              : "unknown");
        return;
    }
    switch (row->ended) {
    case CW_ENDED_RUNNING:
        snprintf(ret, ret_bytes, "%s", how);
        return;
    case CW_ENDED_EXIT:
        snprintf(ret, ret_bytes, "exit %d%s", row->end_status, reported);
        return;
    case CW_ENDED_SIGNAL:
        cw_out_line(&out, &line);
        cw_out_signal(&out, row->end_status);
        cw_out_flush(&out);
        snprintf(ret, ret_bytes, "%s%s", line.text, reported);
        return;
    default:
        snprintf(ret, ret_bytes, "%s%s", how, reported);
    }
}

const char *cw_ledger_row_program(const struct cw_ledger_row *row)
{
    const char *slash = strrchr(row->exe, '/'), *name = slash ? slash + 1 : row->exe;
    return *name ? name : "?";
}

void cw_bytes_in_words(char *ret, size_t ret_bytes, uint64_t bytes)
{
    if (bytes < 10 << 20)
        snprintf(ret, ret_bytes, "%llu KiB", (unsigned long long)((bytes + 1023) >> 10));
    else if (bytes < UINT64_C(10) << 30)
        snprintf(ret, ret_bytes, "%.1f MiB", (double)bytes / (1 << 20));
    else
        snprintf(ret, ret_bytes, "%.1f GiB", (double)bytes / (1 << 30));
}
