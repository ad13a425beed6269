/* Old ledgers of dead processes go by themselves, a week after the last word in them, at the end of any command of the tool.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_LEDGER_OLD_LEDGERS_H
#define CLI_LEDGER_OLD_LEDGERS_H

/* Removes this user's (root: everybody's) from the default directories. Silent; costs a readdir and a stat for each. To be
 * called when a command is done, so that report --dead still shows what goes; never for a process that is just ending. */
void cw_old_ledgers_remove(void);

#endif
