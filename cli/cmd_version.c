/* cwguard version. */
#include "cli/cli.h"

#include "include/cwguard_ledger.h"

#include <stdio.h>

const struct argp *cw_argp_version(void)
{
    static const struct argp argp = {.doc = "Prints the version of the tool and of the ledgers that it reads."};
    return &argp;
}

int cw_cmd_version(int argc, char **argv)
{
    if (argp_parse(cw_argp_version(), argc, argv, 0, NULL, NULL) != 0)
        return CW_EXIT_FAILED;
    printf("cwguard %s (ledger version %u)\n", CW_VERSION, CW_LEDGER_VERSION);
    return fflush(stdout) ? CW_EXIT_FAILED : CW_EXIT_OK;
}
