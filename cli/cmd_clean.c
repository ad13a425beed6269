/* cwguard clean: removes the ledgers of processes that have ended, and no others. */
#include "cli/cli.h"
#include "cli/ledger/find.h"
#include "cli/ledger/ledger_row.h"
#include "cli/ledger/load.h"
#include "cli/process/proc.h"
#include "core/options.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_DRY_RUN = 'n', KEY_FORCE = 'f', KEY_LEDGER_DIR = 0x1000 };

struct clean {
    struct cw_options options; /* ledger_dir */
    bool dry_run, force;
    char **targets;
    size_t n_targets;
    pid_t pid;     /* only its ledgers; 0: of all */
    bool named;    /* the user has named what is looked at: what stays is said, and is a failure */
    unsigned seen; /* of that pid */
    unsigned removed, running, unknown, others, strange;
    uint64_t removed_bytes;
    int code;
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct clean *clean = state->input;

    switch (key) {
    case KEY_DRY_RUN:
        clean->dry_run = true;
        return 0;
    case KEY_FORCE:
        clean->force = true;
        return 0;
    case KEY_LEDGER_DIR:
        if (cw_options_set(&clean->options, "ledger_dir", value, cw_say_refusal, NULL) < 0)
            exit(CW_EXIT_FAILED);
        return 0;
    case ARGP_KEY_ARGS:
        clean->targets = state->argv + state->next;
        clean->n_targets = (size_t)(state->argc - state->next);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp *cw_argp_clean(void)
{
    static const struct argp_option options[] = {
        {"dry-run", KEY_DRY_RUN, NULL, 0, "only say what would be removed", 0},
        {"force", KEY_FORCE, NULL, 0,
         "also those of other pid namespaces (containers), where it cannot be seen whether their process runs", 0},
        {"ledger-dir", KEY_LEDGER_DIR, "DIR", 0, "look there instead of in /dev/shm/cwguard-UID", 0},
        {"ledger_dir", KEY_LEDGER_DIR, "DIR", OPTION_HIDDEN, NULL, 0},
        {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "[PID|FILE...]",
        .doc =
            "Removes the ledgers of processes that have ended: this user's, root's command everybody's; or only those "
            "named.\vThe ledger of a running process is never removed. One of another pid namespace goes with --force, "
            "or "
            "when a week has passed since the last word in it."};
    return &argp;
}

/* Why it has to stay, or NULL. */
static const char *reason_to_stay(struct clean *clean, const struct cw_ledger_row *row)
{
    uid_t user = geteuid();

    if (row->life == CW_LIFE_RUNNING) {
        clean->running++;
        return "its process is running";
    }
    if (row->saved)
        return "is a copy that somebody has saved: remove it with rm";
    if (user != 0 && row->uid != user) {
        clean->others++;
        return "belongs to another user: run as that user, or as root";
    }
    if (row->life == CW_LIFE_UNKNOWN && !clean->force && row->age_ms <= CW_OLD_MS) {
        clean->unknown++;
        return "is of another pid namespace, so whether its process runs is not known here: give --force if you know";
    }
    return NULL;
}

static void say_removed(const struct clean *clean, const struct cw_ledger_row *row)
{
    char state[64], size[32];
    struct cw_out out;

    cw_ledger_row_state(row, state, sizeof state);
    cw_bytes_in_words(size, sizeof size, row->used_bytes);
    cw_out_stdout(&out);
    cw_out_str(&out, clean->dry_run ? "would remove " : "removed ");
    cw_out_safe(&out, row->path);
    cw_out_str(&out, " (pid ");
    cw_out_i64(&out, row->pid);
    cw_out_str(&out, ", ");
    cw_out_safe(&out, cw_ledger_row_program(row));
    cw_out_str(&out, ", ");
    cw_out_str(&out, state);
    cw_out_str(&out, ", ");
    cw_out_str(&out, size);
    cw_out_str(&out, ")\n");
    cw_out_flush(&out);
}

static bool clean_one(void *ctx, const struct cw_found *found)
{
    struct clean *clean = ctx;
    struct cw_ledger_row row;
    const char *stays = NULL;
    int error = 0;

    if (clean->pid && found->pid != clean->pid)
        return true;
    clean->seen++;
    cw_ledger_row_read(&row, found);
    if (!cw_ledger_is_one(found->fd)) {
        clean->strange++;
        stays = "is no ledger, whatever its name says";
    } else {
        stays = reason_to_stay(clean, &row);
    }
    if (stays) {
        if (clean->named) {
            cw_say("%s stays: %s", found->path, stays);
            clean->code = CW_EXIT_FAILED;
        }
        return true;
    }
    if (!clean->dry_run)
        error = cw_ledger_unlink(found);
    if (error) {
        cw_say("%s cannot be removed: %s", found->path, strerror(-error));
        clean->code = CW_EXIT_FAILED;
        return true;
    }
    clean->removed++;
    clean->removed_bytes += row.used_bytes;
    say_removed(clean, &row);
    return true;
}

static void clean_pid(struct clean *clean, pid_t pid)
{
    clean->pid = pid;
    clean->seen = 0;
    cw_find_ledgers("", clean->options.ledger_dir, clean_one, clean);
    if (!clean->seen) {
        cw_say("pid %d has left no ledger in %s; cwguard ledgers lists those that there are", (int)pid,
               clean->options.ledger_dir[0] ? clean->options.ledger_dir : "/dev/shm/cwguard-UID");
        clean->code = CW_EXIT_FAILED;
    }
    clean->pid = 0;
}

/* Whatever its name is: who wrote it stands in its header. */
static void clean_file(struct clean *clean, const char *path)
{
    struct cw_found found = {.fd = cw_load_open(AT_FDCWD, path)};
    struct cw_load load;
    char why[256];

    if (found.fd < 0) {
        cw_say("%s cannot be opened: %s%s", *path ? path : "''", strerror(-found.fd),
               found.fd == -ENOENT ? "; give a pid or a ledger file; cwguard ledgers lists them" : "");
        clean->code = CW_EXIT_FAILED;
        return;
    }
    if ((size_t)snprintf(found.path, sizeof found.path, "%s", path) >= sizeof found.path ||
        cw_load_ledger(&load, found.fd, false, why, sizeof why) < 0) {
        cw_say("%s %s; it stays", path, why);
        clean->code = CW_EXIT_FAILED;
    } else {
        found.pid = load.view.header->pid;
        found.pid_ns = load.view.header->pid_ns;
        found.start_ticks = load.view.header->start_ticks;
        cw_load_free(&load);
        clean_one(clean, &found);
    }
    close(found.fd);
}

static void sum_up(const struct clean *clean)
{
    char size[32];

    cw_bytes_in_words(size, sizeof size, clean->removed_bytes);
    printf("%u ledger%s %s, %s", clean->removed, clean->removed == 1 ? "" : "s",
           clean->dry_run ? "would be removed" : "removed", size);
    if (clean->running)
        printf("; %u of running processes stay%s", clean->running, clean->running == 1 ? "s" : "");
    if (clean->others)
        printf("; %u of other users stay%s (run as root)", clean->others, clean->others == 1 ? "s" : "");
    if (clean->unknown)
        printf("; %u of other pid namespaces stay%s (--force)", clean->unknown, clean->unknown == 1 ? "s" : "");
    if (clean->strange)
        printf("; %u stay%s, being no ledger%s", clean->strange, clean->strange == 1 ? "s" : "",
               clean->strange == 1 ? "" : "s");
    printf("\n");
}

int cw_cmd_clean(int argc, char **argv)
{
    struct clean clean = {.code = CW_EXIT_OK};

    cw_options_default(&clean.options);
    cw_options_parse(&clean.options, getenv("CWGUARD_OPTIONS"), NULL, NULL);
    if (argp_parse(cw_argp_clean(), argc, argv, 0, NULL, &clean))
        return CW_EXIT_FAILED;
    if (!clean.n_targets)
        cw_find_ledgers("", clean.options.ledger_dir, clean_one, &clean);
    clean.named = true;
    for (size_t i = 0; i < clean.n_targets; i++) {
        pid_t pid = cw_proc_parse_pid(clean.targets[i]);
        if (pid > 0)
            clean_pid(&clean, pid);
        else
            clean_file(&clean, clean.targets[i]);
    }
    sum_up(&clean);
    return fflush(stdout) ? CW_EXIT_FAILED : clean.code;
}
