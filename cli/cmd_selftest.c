/* cwguard selftest: does it work here, with this library, on this kernel, for this user? */
#include "cli/cli.h"
#include "cli/library.h"
#include "cli/selftest/child.h"
#include "cli/selftest/selftest.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>

enum { KEY_LIBRARY = 0x1000, KEY_CHILD };

struct selftest {
    const char *library;
    bool child;
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct selftest *selftest = state->input;

    switch (key) {
    case KEY_LIBRARY:
        selftest->library = value;
        return 0;
    case KEY_CHILD:
        selftest->child = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "it takes no argument; for a program of your own: cwguard doctor %s", value);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp *cw_argp_selftest(void)
{
    static const struct argp_option options[] = {
        {"library", KEY_LIBRARY, "FILE", 0, "test this libcwguard.so, not the one installed with the tool", 0},
        {"child", KEY_CHILD, NULL, OPTION_HIDDEN, NULL, 0},
        {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc =
            "Leaks three sockets in a child under the library and compares what is recorded and reported with what the "
            "kernel says.\vOne line each: PASS or FAIL. Exit status 0 when all pass, 1 when one fails, 2 when the test "
            "cannot be made. Takes less than five seconds."};
    return &argp;
}

static void say(void *ctx, const char *id, const char *seen, const char *advice)
{
    (void)ctx;
    printf("%s  %-8s  %s\n", advice ? "FAIL" : "PASS", id, seen);
    if (advice)
        printf("                do: %s\n", advice);
}

int cw_cmd_selftest(int argc, char **argv)
{
    struct selftest selftest = {0};
    char path[PATH_MAX] = "", why[PATH_MAX + 256] = "";
    int failed;

    if (argp_parse(cw_argp_selftest(), argc, argv, 0, NULL, &selftest))
        return CW_EXIT_FAILED;
    if (selftest.child)
        return cw_selftest_child();
    if (cw_library_find(path, sizeof path, selftest.library, why, sizeof why) < 0)
        path[0] = 0;
    failed = cw_selftest_run(path, why, say, NULL);
    if (failed < 0 || fflush(stdout))
        return CW_EXIT_FAILED;
    return failed ? 1 : CW_EXIT_OK;
}
