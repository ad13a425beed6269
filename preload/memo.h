/* The verified stack memo: the stack of a path that has been walked before, at the price of a few compares.
 *
 * An entry holds, for each frame of a walk, the caller's return address and its place relative to the hook's own
 * return address, and the few saved-rbp words that those places depend on. A later call from the same place and
 * depth compares the words in place; all equal means the walk would end the same (memo.c says why). A path's id
 * belongs to one ledger: `epoch` names it. No malloc, no lock, no system call. Any thread, a signal handler, a
 * forked child, unless said otherwise. */
#ifndef PRELOAD_MEMO_H
#define PRELOAD_MEMO_H

#include "preload/unwind.h"

/* An id that stands for "this path is known, but the ledger had no room for it". */
#define CW_MEMO_NO_ROOM UINT32_MAX

/* A remembered path, taken out of the memo. */
struct cw_memo_path {
    unsigned n;
    bool truncated;
    uintptr_t ip[CW_STACK_MAX_FRAMES];
    void *entry; /* for cw_memo_renew */
    uint32_t seq;
};

/* At load: memory for about 2,000 paths of `depth` frames (2.4 MiB of address space for 32, touched as it fills).
 * Without it, nothing is ever found. */
void cw_memo_init(unsigned depth);

/* The id, under this epoch, of the stack that leads to `site`; 0 if it is not known. stack_end: the address above
 * all frames of this thread. */
uint32_t cw_memo_find(const struct cw_site *site, uintptr_t stack_end, uint32_t epoch);

/* The path itself, whatever the epoch of its id. False: not known. */
bool cw_memo_recall(const struct cw_site *site, uintptr_t stack_end, struct cw_memo_path *ret_path);

/* Gives a recalled path its id under a new epoch. */
void cw_memo_renew(const struct cw_memo_path *path, uint32_t epoch, uint32_t id);

/* Keeps a walk just made, if it can be verified later: every frame in a loaded ELF object, every place holding its
 * address and following from the frames before it by rules that memo.c understands. Returns whether it was kept. */
bool cw_memo_put(const struct cw_walk *walk, uintptr_t stack_end, uint32_t epoch, uint32_t id);

/* Where the frames of a path lie. */
struct cw_memo_places {
    uintptr_t depth; /* from the site's return address to the end of the stack */
    unsigned n;
    uintptr_t ip[CW_STACK_MAX_FRAMES];    /* return addresses */
    uintptr_t place[CW_STACK_MAX_FRAMES]; /* bytes above the site's, which is 0 */
};

/* The next path, after the *cursor ones looked at so far (0: from the start), that begins at this return address and has this
 * id under this epoch: the same code may have run at several depths. False: no more. */
bool cw_memo_places(uintptr_t ra, uint32_t epoch, uint32_t id, uint32_t *cursor, struct cw_memo_places *ret);

/* Forgets every path. */
void cw_memo_forget(void);

#endif
