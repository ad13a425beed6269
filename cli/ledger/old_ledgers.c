#include "cli/ledger/old_ledgers.h"

#include "cli/ledger/find.h"
#include "cli/ledger/ledger_life.h"

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static bool remove_if_old(void *ctx, const struct cw_found *found)
{
    const time_t old_s = time(NULL) - (time_t)(CW_OLD_MS / 1000);
    uid_t user = geteuid();
    struct stat status;

    (void)ctx;
    /* By far most are younger: nothing but their stat is looked at. */
    if (fstat(found->fd, &status) < 0 || !S_ISREG(status.st_mode) || (user != 0 && status.st_uid != user) ||
        status.st_mtime > old_s || !cw_ledger_is_one(found->fd))
        return true;
    if (found->start_ticks && cw_ledger_life(found) == CW_LIFE_DEAD && cw_ledger_age_ms(found->fd) > CW_OLD_MS)
        cw_ledger_unlink(found);
    return true;
}

void cw_old_ledgers_remove(void)
{
    cw_find_ledgers("", "", remove_if_old, NULL);
}
