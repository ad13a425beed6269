/* cwguard ledgers: what running and ended processes have in their ledgers, a line each. */
#include "cli/cli.h"
#include "cli/ledger/find.h"
#include "cli/ledger/ledger_row.h"
#include "core/json.h"
#include "core/names.h"
#include "core/options.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_FORMAT = 0x1000, KEY_LEDGER_DIR };

struct list {
    struct cw_options options; /* format and ledger_dir */
    struct cw_ledger_row **rows;
    size_t count, room;
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct list *list = state->input;
    const char *name = key == KEY_FORMAT ? "format" : "ledger_dir";

    if (key == ARGP_KEY_ARG) {
        argp_error(state, "it takes no argument: cwguard report %s shows what is in a ledger", value);
        return 0;
    }
    if (key != KEY_FORMAT && key != KEY_LEDGER_DIR)
        return ARGP_ERR_UNKNOWN;
    if (cw_options_set(&list->options, name, value, cw_say_refusal, NULL) < 0)
        exit(CW_EXIT_FAILED);
    return 0;
}

const struct argp *cw_argp_ledgers(void)
{
    static const struct argp_option options[] = {
        {"format", KEY_FORMAT, "FORMAT", 0, "text (the default) or json", 0},
        {"ledger-dir", KEY_LEDGER_DIR, "DIR", 0, "look there instead of in /dev/shm/cwguard-UID", 0},
        {"ledger_dir", KEY_LEDGER_DIR, "DIR", OPTION_HIDDEN, NULL, 0},
        {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc =
            "Lists the ledgers of running and ended processes: those that may be read, root all.\vLEAKED is as of the "
            "process's own last check; cwguard report PID asks the kernel now. STATE unknown: of another pid namespace "
            "(a container) in which no such process is seen from here. Ended ones are shown by cwguard report --dead, "
            "removed by cwguard clean, and go by themselves after a week."};
    return &argp;
}

static bool add(void *ctx, const struct cw_found *found)
{
    struct list *list = ctx;
    struct cw_ledger_row *row = malloc(sizeof *row);

    if (list->count == list->room) {
        size_t room = list->room ? 2 * list->room : 64;
        struct cw_ledger_row **more = realloc(list->rows, room * sizeof(struct cw_ledger_row *));
        if (more) {
            list->rows = more;
            list->room = room;
        }
    }
    if (!row || list->count == list->room) {
        free(row);
        cw_say("not enough memory for all ledgers");
        return false;
    }
    cw_ledger_row_read(row, found);
    list->rows[list->count++] = row;
    return true;
}

/* The running ones first, then in the order in which they began. */
static int by_life_then_start(const void *a, const void *b)
{
    const struct cw_ledger_row *x = *(struct cw_ledger_row *const *)a, *y = *(struct cw_ledger_row *const *)b;
    bool x_runs = x->life == CW_LIFE_RUNNING, y_runs = y->life == CW_LIFE_RUNNING;

    if (x_runs != y_runs)
        return x_runs ? -1 : 1;
    if (x->start_real_ns != y->start_real_ns)
        return x->start_real_ns < y->start_real_ns ? -1 : 1;
    return strcmp(x->path, y->path);
}

static const char *user_name(uid_t uid, char *buffer, size_t bytes)
{
    const struct passwd *user = getpwuid(uid);
    snprintf(buffer, bytes, user ? "%s" : "%.0s%u", user ? user->pw_name : "", (unsigned)uid);
    return buffer;
}

/* --- text --- */

static void pad_number(struct cw_out *out, uint64_t value, unsigned width)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    for (; n < (int)width; n++)
        cw_out_char(out, ' ');
    cw_out_str(out, digits);
}

/* Control characters of hostile names are escaped before they are measured. */
static void pad_safe(struct cw_out *out, const char *text, unsigned width)
{
    struct cw_line line;
    struct cw_out to_line;

    cw_out_line(&to_line, &line);
    cw_out_safe(&to_line, text);
    cw_out_flush(&to_line);
    cw_out_pad(out, line.text, width);
}

static void write_text(struct cw_out *out, const struct list *list)
{
    char state[64], user[64], size[32];

    cw_out_str(out,
               "    PID  PROGRAM           USER      STATE                   STARTED               CONNECTIONS  LEAKED"
               "        SIZE  LEDGER\n");
    for (size_t i = 0; i < list->count; i++) {
        const struct cw_ledger_row *row = list->rows[i];
        cw_ledger_row_state(row, state, sizeof state);
        cw_bytes_in_words(size, sizeof size, row->used_bytes);
        pad_number(out, (uint64_t)row->pid, 7);
        cw_out_str(out, "  ");
        pad_safe(out, cw_ledger_row_program(row), 18);
        pad_safe(out, user_name(row->uid, user, sizeof user), 10);
        cw_out_pad(out, state, 24);
        if (row->unreadable[0]) {
            cw_out_pad(out, "?", 22);
            cw_out_str(out, "          ?       ?");
        } else {
            cw_out_utc(out, row->start_real_ns);
            cw_out_str(out, "  ");
            pad_number(out, row->connections, 11);
            pad_number(out, row->leaked, 8);
        }
        for (size_t n = strlen(size); n < 12; n++)
            cw_out_char(out, ' ');
        cw_out_str(out, size);
        cw_out_str(out, "  ");
        cw_out_safe(out, row->path);
        cw_out_char(out, '\n');
    }
}

/* --- JSON --- */

static void write_row(struct cw_json *json, const struct cw_ledger_row *row)
{
    static const char *const lives[] = {
        [CW_LIFE_RUNNING] = "running", [CW_LIFE_DEAD] = "ended", [CW_LIFE_UNKNOWN] = "unknown"};
    bool known = !row->unreadable[0];
    char user[64];

    cw_json_open(json, NULL, '{');
    cw_json_i64(json, "pid", row->pid);
    cw_json_str(json, "exe", known ? row->exe : NULL);
    cw_json_u64(json, "uid", row->uid);
    cw_json_str(json, "user", user_name(row->uid, user, sizeof user));
    cw_json_str(json, "state", lives[row->life]);
    cw_json_str(json, "how", known ? cw_ledger_row_how(row) : NULL);
    if (known && (row->ended == CW_ENDED_EXIT || row->ended == CW_ENDED_SIGNAL))
        cw_json_i64(json, "status", row->end_status);
    else
        cw_json_null(json, "status");
    if (known)
        cw_json_bool(json, "reported", row->reported);
    else
        cw_json_null(json, "reported");
    cw_json_utc(json, "started", known ? row->start_real_ns : 0);
    cw_json_u64_if(json, "connections", known, row->connections);
    cw_json_u64_if(json, "leaked", known, row->leaked);
    cw_json_seconds(json, "age_s", row->age_ms);
    cw_json_u64(json, "bytes", row->used_bytes);
    cw_json_str(json, "path", row->path);
    cw_json_str(json, "unreadable", known ? NULL : row->unreadable);
    cw_json_close(json, '}');
}

static void write_json(struct cw_out *out, const struct list *list)
{
    struct cw_json json = {.out = out, .first = true};

    cw_json_open(&json, NULL, '{');
    cw_json_str(&json, "schema", "cwguard-ledgers/1");
    cw_json_open(&json, "ledgers", '[');
    for (size_t i = 0; i < list->count; i++)
        write_row(&json, list->rows[i]);
    cw_json_close(&json, ']');
    cw_json_close(&json, '}');
    cw_out_char(out, '\n');
}

int cw_cmd_ledgers(int argc, char **argv)
{
    struct list list = {0};
    struct cw_out out;

    cw_options_default(&list.options);
    cw_options_parse(&list.options, getenv("CWGUARD_OPTIONS"), NULL, NULL);
    list.options.format = CW_FORMAT_TEXT; /* that of reports is not meant */
    if (argp_parse(cw_argp_ledgers(), argc, argv, 0, NULL, &list))
        return CW_EXIT_FAILED;
    cw_find_ledgers("", list.options.ledger_dir, add, &list);
    if (list.count)
        qsort(list.rows, list.count, sizeof(struct cw_ledger_row *), by_life_then_start);
    cw_out_stdout(&out);
    if (list.options.format == CW_FORMAT_JSON)
        write_json(&out, &list);
    else if (list.count)
        write_text(&out, &list);
    else
        cw_say(
            "no ledger in %s that may be read here: a program leaves one while it runs under libcwguard.so and has TCP "
            "sockets",
            list.options.ledger_dir[0] ? list.options.ledger_dir : "/dev/shm/cwguard-UID");
    for (size_t i = 0; i < list.count; i++) {
        if (list.rows[i]->unreadable[0])
            cw_say("%s %s", list.rows[i]->path, list.rows[i]->unreadable);
        free(list.rows[i]);
    }
    free(list.rows);
    if (cw_out_flush(&out)) {
        cw_say("the list cannot be written");
        return CW_EXIT_FAILED;
    }
    return CW_EXIT_OK;
}
