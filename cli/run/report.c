#include "cli/run/report.h"

#include "cli/cli.h"
#include "cli/run/preload_env.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* As cw_options_set takes it: without the quotes of CWGUARD_OPTIONS. NULL without memory. */
static const char *value_of(const struct cw_options *options, const struct cw_option *option)
{
    struct cw_line line;
    struct cw_out out;

    if (option->type == CW_OPTION_STRING)
        return (const char *)options + option->offset;
    cw_out_line(&out, &line);
    cw_option_value(&out, options, option);
    cw_out_flush(&out);
    return strdup(line.text);
}

/* What a ledger's own options do not decide in a report on somebody else's behalf; and the grace of those that have
 * ended, which else would follow that of the running. */
static bool is_always_given(const char *name)
{
    return !strcmp(name, "exit_grace") || !strcmp(name, "format") || !strcmp(name, "log_path");
}

int cw_run_report_request(struct cw_request *ret, const struct cw_options *options)
{
    for (size_t i = 0; i < cw_options_count && ret->flag_count < CW_FLAGS_MAX; i++) {
        const struct cw_option *option = &cw_options_table[i];
        if (!strcmp(option->name, "run") || !(is_always_given(option->name) || cw_preload_env_differs(options, option)))
            continue;
        ret->flags[ret->flag_count].name = option->name;
        ret->flags[ret->flag_count].value = value_of(options, option);
        if (!ret->flags[ret->flag_count++].value)
            return -1;
    }
    ret->to_stderr = true;
    ret->last_word = true;
    return 0;
}

static bool wants_line(const struct cw_options *options)
{
    return options->verbosity > 0 || isatty(STDERR_FILENO);
}

static void say_clean(const struct cw_document *document, const struct cw_options *options)
{
    uint64_t connections = cw_document_connections(document);
    struct cw_line line;
    struct cw_out out;

    cw_out_line(&out, &line);
    cw_out_str(&out, "no sockets left in CLOSE_WAIT (");
    cw_out_count(&out, connections);
    cw_out_str(&out, connections == 1 ? " TCP connection" : " TCP connections");
    if (document->n_reports > 1) {
        cw_out_str(&out, " of ");
        cw_out_count(&out, document->n_reports);
        cw_out_str(&out, " processes");
    }
    if (document->totals.settling) {
        cw_out_str(&out, ", ");
        cw_out_count(&out, document->totals.settling);
        cw_out_str(&out, " settling for less than ");
        cw_out_duration(&out, options->exit_grace_ms);
        cw_out_str(&out, ": --exit-grace=0 counts them");
    }
    cw_out_char(&out, ')');
    cw_out_flush(&out);
    cw_say("%s", line.text);
}

bool cw_run_report(struct cw_watch *watch, const struct cw_options *options)
{
    struct cw_render *render = cw_watch_render(watch);
    const struct cw_document *document;
    bool fails = false;

    if (!render) {
        if (wants_line(options))
            cw_say("no process of this run has had a TCP socket (should one have had? cwguard doctor PROGRAM says what "
                   "keeps the library out of it)");
        return false;
    }
    document = cw_render_build(render);
    if (document) {
        fails = cw_document_fails(document);
        if (cw_document_has_findings(document) || options->log_path[0])
            cw_render_emit(render);
        else if (wants_line(options) || document->totals.settling) /* too young to count is not the same as none */
            say_clean(document, options);
    }
    cw_render_free(render);
    return fails;
}
