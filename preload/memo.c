/* The verified stack memo. See memo.h.
 *
 * Why equal words prove an equal walk. An unwinder goes from frame to frame with three values: the address ip, the
 * stack pointer sp and rbp (other registers decide nothing in the frames that are kept here). Its step is a function
 * of ip alone (the object's unwind rules) applied to sp, to rbp, and to words at places computed from them:
 *   - CFA = sp + n, or rbp + n, or the word at rbp + n;     next sp = CFA, next ip = the word at CFA - 8;
 *   - next rbp = rbp, or the word at CFA + n, or the word at rbp + n.
 * cw_memo_put reads the very rules and keeps only walks of which every step has this form and gives the place that
 * the unwinder found. It lists as checks, in the order in which the walk comes upon them, each word that a later
 * place or address depends on: all return addresses, as they are; saved rbp and saved CFA words only if a place
 * depends on them, relative to the site, since stacks move. If all checks hold, then by induction over the frames:
 * the same ip, sp and (where it matters) rbp, hence the same place for the next word, hence the same next ip. Frame
 * 0's ip and place are the key; its rbp is in the key whenever a place depends on it, which is what keeps frames of
 * variable size (alloca) from passing for others.
 *
 * Why the reads are safe. By the same induction each place lies inside a frame that is live at this moment, between
 * the site and that frame's caller's return address. Should the rules be wrong (assembly that lies about itself),
 * every place was bounded by the depth of the stack when it was recorded, and the key says that the depth is the
 * same now.
 *
 * Why a torn entry does no harm. Entries are rewritten under a sequence number, odd meanwhile. A reader takes each
 * check's place and value, then looks at the number again before it reads the stack: unchanged and even, so both
 * belong to the version whose key it has compared. The last look covers the id. A writer that finds the number odd,
 * or loses the race to make it odd, gives up; one that dies in between loses one entry. No reader writes but a mark
 * that an entry is in use. */
#define _GNU_SOURCE
#include "preload/memo.h"

#include "preload/cfi.h"
#include "preload/objects.h"
#include "preload/sys.h"

#include <sys/mman.h>

#define ENTRIES 2048u
#define GROUPS 1024u
#define WAYS 16u /* one cache line of index */
#define STEP 4u  /* checks taken out of an entry at a time; their number is a multiple */
#define CHECKS_MAX (2 * CW_STACK_MAX_FRAMES + STEP)
#define RELATIVE (UINT64_C(1) << 63)

#define ACQUIRE(x) __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define RELEASE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELEASE)

struct check {
    uint64_t value; /* the word, or with RELATIVE the word minus the site's address */
    uint64_t place; /* bytes above the site; RELATIVE */
};

struct entry {
    uint32_t seq;  /* odd while it is written */
    uint32_t used; /* found since the hand last came by */
    uint64_t ra, depth;
    uint64_t bp, bp_mask; /* rbp - site under the mask: all ones if a place depends on it, else 0 */
    uint64_t epoch_id;    /* epoch in the high half */
    uint32_t generation, hash;
    uint32_t n_checks, truncated;
    struct check checks[];
};
_Static_assert(sizeof(struct entry) == 64, "an entry's fixed part is one cache line");

static char *entries;            /* ENTRIES of entry_bytes each, behind the index; NULL: no memo */
static uint32_t (*groups)[WAYS]; /* bits 16..31 of the hash, then 1 + the entry's number; 0: free */
static size_t entry_bytes;
static uint32_t checks_per_entry;
static uint32_t hand;       /* where the next entry is taken; goes round */
static uint32_t generation; /* of what is loaded; entries of another one are not found */

void cw_memo_init(unsigned depth)
{
    checks_per_entry = (2 * depth + STEP) / STEP * STEP;
    entry_bytes = (sizeof(struct entry) + checks_per_entry * sizeof(struct check) + 63) & ~(size_t)63;
    size_t index_bytes = GROUPS * sizeof *groups;
    long at = cw_sys(SYS_mmap, NULL, index_bytes + ENTRIES * entry_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at < 0 && at > -4096)
        return;
    groups = (void *)at;
    entries = (char *)at + index_bytes;
}

static struct entry *entry_at(uint32_t number)
{
    return (struct entry *)(void *)(entries + number * entry_bytes);
}

static uint32_t hash_of(uintptr_t ra, uintptr_t depth)
{
    uint64_t h = (ra ^ depth * UINT64_C(0xC2B2AE3D27D4EB4F)) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)(h >> 32);
}

static uint32_t group_of(uint32_t hash)
{
    return hash & (GROUPS - 1);
}

/* The stack is read as it lies, variables that the compiler has fenced off included. */
__attribute__((no_sanitize("address"))) static inline uint64_t word_at(uintptr_t at)
{
    return *(const volatile uint64_t *)at;
}

static inline __attribute__((always_inline)) struct check take_check(const struct check *check)
{
    return (struct check){.value = ACQUIRE(check->value), .place = ACQUIRE(check->place)};
}

__attribute__((no_sanitize("address"))) static inline bool holds(struct check check, uintptr_t here)
{
    if (__builtin_expect((check.place & RELATIVE) != 0, 0))
        return word_at(here + (check.place & ~RELATIVE)) - here == check.value;
    return word_at(here + check.place) == check.value;
}

__attribute__((no_sanitize("address"))) static inline bool
matches(const struct entry *entry, const struct cw_site *site, uintptr_t depth, uint32_t seq)
{
    uintptr_t here = site->ra_at;
    if (ACQUIRE(entry->ra) != site->ra || ACQUIRE(entry->depth) != depth ||
        ACQUIRE(entry->bp) != ((site->rbp - here) & ACQUIRE(entry->bp_mask)) ||
        ACQUIRE(entry->generation) != CW_GET(generation))
        return false;
    uint32_t n = ACQUIRE(entry->n_checks);
    if (CW_GET(entry->seq) != seq) /* else n may be another version's, and lead outside the entry */
        return false;
    for (const struct check *check = entry->checks, *end = check + n; check < end; check += STEP) {
        struct check a = take_check(check), b = take_check(check + 1), c = take_check(check + 2),
                     d = take_check(check + 3);
        if (CW_GET(entry->seq) != seq)
            return false;
        if (!holds(a, here) || !holds(b, here) || !holds(c, here) || !holds(d, here))
            return false;
    }
    return true;
}

static inline struct entry *find(const struct cw_site *site, uintptr_t stack_end, uint32_t *ret_seq)
{
    uintptr_t depth = stack_end - site->ra_at;
    uint32_t hash = hash_of(site->ra, depth), tag = hash >> 16;
    uint32_t *ways = entries ? groups[group_of(hash)] : NULL;
    for (unsigned i = 0; ways && i < WAYS; i++) {
        uint32_t way = ACQUIRE(ways[i]);
        if (way == 0)
            return NULL;
        if (way >> 16 != tag)
            continue;
        struct entry *entry = entry_at((way & 0xffff) - 1);
        uint32_t seq = ACQUIRE(entry->seq);
        if (!(seq & 1) && matches(entry, site, depth, seq)) {
            *ret_seq = seq;
            return entry;
        }
    }
    return NULL;
}

uint32_t cw_memo_find(const struct cw_site *site, uintptr_t stack_end, uint32_t epoch)
{
    uint32_t seq;
    struct entry *entry = find(site, stack_end, &seq);
    if (!entry)
        return 0;
    uint64_t epoch_id = ACQUIRE(entry->epoch_id);
    if (CW_GET(entry->seq) != seq || epoch_id >> 32 != epoch)
        return 0;
    if (!CW_GET(entry->used)) /* a store each time would drag the line from thread to thread */
        CW_SET(entry->used, 1);
    return (uint32_t)epoch_id;
}

bool cw_memo_recall(const struct cw_site *site, uintptr_t stack_end, struct cw_memo_path *ret_path)
{
    uint32_t seq;
    struct entry *entry = find(site, stack_end, &seq);
    if (!entry)
        return false;
    ret_path->ip[0] = site->ra;
    ret_path->n = 1;
    uint32_t n = ACQUIRE(entry->n_checks);
    for (uint32_t i = 0; i < n && i < checks_per_entry; i++) {
        struct check check = take_check(&entry->checks[i]);
        if (check.place && !(check.place & RELATIVE) && ret_path->n < CW_STACK_MAX_FRAMES)
            ret_path->ip[ret_path->n++] = check.value;
    }
    ret_path->truncated = ACQUIRE(entry->truncated);
    ret_path->entry = entry;
    ret_path->seq = seq;
    return CW_GET(entry->seq) == seq;
}

static bool take_places(const struct entry *entry, uint32_t seq, struct cw_memo_places *ret)
{
    ret->ip[0] = ACQUIRE(entry->ra);
    ret->place[0] = 0;
    ret->depth = ACQUIRE(entry->depth);
    ret->n = 1;
    uint32_t n = ACQUIRE(entry->n_checks);
    for (uint32_t i = 0; i < n && i < checks_per_entry && ret->n < CW_STACK_MAX_FRAMES; i++) {
        struct check check = take_check(&entry->checks[i]);
        if (!check.place || (check.place & RELATIVE))
            continue;
        ret->ip[ret->n] = check.value;
        ret->place[ret->n++] = check.place;
    }
    return CW_GET(entry->seq) == seq;
}

bool cw_memo_places(uintptr_t ra, uint32_t epoch, uint32_t id, uint32_t *cursor, struct cw_memo_places *ret)
{
    while (entries && *cursor < ENTRIES) {
        const struct entry *entry = entry_at((*cursor)++);
        uint32_t seq = ACQUIRE(entry->seq);
        if ((seq & 1) || ACQUIRE(entry->ra) != ra || ACQUIRE(entry->epoch_id) != ((uint64_t)epoch << 32 | id) ||
            ACQUIRE(entry->generation) != CW_GET(generation))
            continue;
        if (take_places(entry, seq, ret))
            return true;
    }
    return false;
}

/* Makes an entry ours. */
static bool lock_entry(struct entry *entry, uint32_t seq)
{
    return !(seq & 1) &&
           __atomic_compare_exchange_n(&entry->seq, &seq, seq + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

void cw_memo_renew(const struct cw_memo_path *path, uint32_t epoch, uint32_t id)
{
    struct entry *entry = path->entry;
    if (!lock_entry(entry, path->seq))
        return;
    RELEASE(entry->epoch_id, (uint64_t)epoch << 32 | id);
    RELEASE(entry->seq, path->seq + 2);
}

/* --- what a walk depends on --- */

struct proof {
    uintptr_t here, end;
    uintptr_t bp; /* rbp in the frame that is looked at */
    enum { BP_IN_KEY, BP_IN_SLOT, BP_CHECKED, BP_LOST } bp_is;
    uintptr_t bp_slot;
    bool key_has_bp;
    uint32_t n;
    struct check checks[CHECKS_MAX];
};

static bool add_check(struct proof *proof, uintptr_t place, uint64_t value, bool relative)
{
    if (place <= proof->here || place > proof->end - 8 || proof->n == checks_per_entry || proof->n == CHECKS_MAX)
        return false;
    proof->checks[proof->n++] = (struct check){.value = relative ? value - proof->here : value,
                                               .place = (place - proof->here) | (relative ? RELATIVE : 0)};
    return true;
}

/* A place is about to be computed from rbp: makes sure that its value is among what is compared. */
static bool depend_on_bp(struct proof *proof)
{
    switch (proof->bp_is) {
    case BP_IN_KEY:
        proof->key_has_bp = true;
        return true;
    case BP_IN_SLOT:
        proof->bp_is = BP_CHECKED;
        return add_check(proof, proof->bp_slot, proof->bp, true);
    case BP_CHECKED:
        return true;
    default:
        return false;
    }
}

/* One step, from a frame with return address `ip` and stack pointer `sp` to its caller, whose return address lies at
 * `at`. */
static bool prove_step(struct proof *proof, uintptr_t ip, uintptr_t sp, uintptr_t at, uintptr_t next_ip)
{
    struct cw_object object;
    struct cw_cfi_rule rule;
    if (!cw_objects_find(ip - 1, &object) || !cw_cfi_find(&object, ip - 1, &rule))
        return false;
    if (at < sp || at > proof->end - 8 || (rule.cfa != CW_CFA_SP && !depend_on_bp(proof)))
        return false;
    uintptr_t cfa = (rule.cfa == CW_CFA_SP ? sp : proof->bp) + (uintptr_t)rule.cfa_offset;
    if (rule.cfa == CW_CFA_BP_DEREF) {
        uintptr_t place = cfa;
        if (place < sp || place > at)
            return false;
        cfa = word_at(place);
        if (!add_check(proof, place, cfa, true))
            return false;
    }
    if (cfa - 8 != at || word_at(at) != next_ip || !add_check(proof, at, next_ip, false))
        return false;
    uintptr_t slot = cfa + (uintptr_t)rule.bp_offset;
    switch (rule.bp) {
    case CW_BP_SAME:
        return true;
    case CW_BP_AT_BP:
        if (!depend_on_bp(proof))
            return false;
        slot = proof->bp + (uintptr_t)rule.bp_offset;
        break;
    case CW_BP_AT_CFA:
        break;
    default:
        proof->bp_is = BP_LOST;
        return true;
    }
    if (slot < sp || slot > at - 8) /* saved in its own frame, as compilers do, or not followed */
        return false;
    proof->bp = word_at(slot);
    proof->bp_slot = slot;
    proof->bp_is = BP_IN_SLOT;
    return true;
}

static bool prove(struct proof *proof, const struct cw_walk *walk)
{
    struct cw_object object;
    if (walk->n == 0 || walk->ip[0] != walk->site->ra || walk->at[0] != proof->here || proof->end < proof->here + 8)
        return false;
    for (unsigned i = 0; i + 1 < walk->n; i++)
        if (!prove_step(proof, walk->ip[i], walk->at[i] + 8, walk->at[i + 1], walk->ip[i + 1]))
            return false;
    for (; proof->n % STEP; proof->n++) /* filled up with the site's own word, which the key has compared */
        proof->checks[proof->n] = (struct check){.value = walk->site->ra, .place = 0};
    return cw_objects_find(walk->ip[walk->n - 1] - 1, &object);
}

/* --- keeping it --- */

/* An entry to write: the hand goes round and passes over those found since it last came by, eight at most. */
static struct entry *take_entry(uint32_t *ret_number, uint32_t *ret_seq)
{
    for (unsigned tries = 0; tries < 16; tries++) {
        uint32_t number = __atomic_fetch_add(&hand, 1, __ATOMIC_RELAXED) % ENTRIES;
        struct entry *entry = entry_at(number);
        uint32_t seq = ACQUIRE(entry->seq);
        if (tries < 8 && __atomic_exchange_n(&entry->used, 0, __ATOMIC_RELAXED))
            continue;
        if (lock_entry(entry, seq)) {
            *ret_number = number;
            *ret_seq = seq;
            return entry;
        }
    }
    return NULL;
}

/* Puts an entry's number where find() looks: in a free place of its group, in one whose entry has moved on, or in
 * one chosen by turns. Two writers may choose the same place: one path is then found anew by a walk. */
static void publish(uint32_t hash, uint32_t number)
{
    uint32_t *ways = groups[group_of(hash)];
    unsigned at = (number / 7) % WAYS;
    for (unsigned i = 0; i < WAYS; i++) {
        uint32_t way = ACQUIRE(ways[i]);
        if (way != 0 && (way & 0xffff) - 1 != number) {
            const struct entry *other = entry_at((way & 0xffff) - 1);
            uint32_t its = ACQUIRE(other->hash);
            if (group_of(its) == group_of(hash) && its >> 16 == way >> 16 &&
                ACQUIRE(other->generation) == CW_GET(generation))
                continue;
        }
        at = i;
        break;
    }
    RELEASE(ways[at], hash >> 16 << 16 | (number + 1));
}

bool cw_memo_put(const struct cw_walk *walk, uintptr_t stack_end, uint32_t epoch, uint32_t id)
{
    struct proof proof = {.here = walk->site->ra_at, .end = stack_end, .bp = walk->site->rbp, .bp_is = BP_IN_KEY};
    uint32_t now = CW_GET(generation);
    if (!entries || !prove(&proof, walk))
        return false;
    uint32_t number, seq;
    struct entry *entry = take_entry(&number, &seq);
    if (!entry)
        return false;
    uint64_t depth = stack_end - proof.here, mask = proof.key_has_bp ? ~UINT64_C(0) : 0;
    uint32_t hash = hash_of(walk->site->ra, depth);
    /* Release stores: none of them is seen before the odd sequence number. */
    RELEASE(entry->ra, walk->site->ra);
    RELEASE(entry->depth, depth);
    RELEASE(entry->bp, (walk->site->rbp - proof.here) & mask);
    RELEASE(entry->bp_mask, mask);
    RELEASE(entry->epoch_id, (uint64_t)epoch << 32 | id);
    RELEASE(entry->generation, now);
    RELEASE(entry->hash, hash);
    RELEASE(entry->n_checks, proof.n);
    RELEASE(entry->truncated, walk->truncated);
    for (uint32_t i = 0; i < proof.n; i++) {
        RELEASE(entry->checks[i].value, proof.checks[i].value);
        RELEASE(entry->checks[i].place, proof.checks[i].place);
    }
    RELEASE(entry->used, 1);
    RELEASE(entry->seq, seq + 2);
    publish(hash, number);
    return true;
}

void cw_memo_forget(void)
{
    __atomic_fetch_add(&generation, 1, __ATOMIC_RELAXED);
}
