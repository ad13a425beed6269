#include "cli/cli.h"

#include "include/cwguard_ledger.h"

#include <stdio.h>

int cw_cmd_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("cwguard %s (ledger version %u)\n", CW_VERSION, CW_LEDGER_VERSION);
    return fflush(stdout) ? CW_EXIT_FAILED : CW_EXIT_OK;
}
