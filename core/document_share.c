/* Document: sockets that several processes have open. */
#include "core/atomic.h"
#include "core/document.h"
#include "core/frames.h"
#include "core/sort.h"

#include <string.h>

static int order(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

enum { FAMILY_INET = 2, FAMILY_INET6 = 10, STATE_CLOSE = 7, STATE_CLOSE_WAIT = 8 };

/* Processes that end together, or are asked one after another, do so within this time; who has a socket open for longer
 * than that after the others knows more of it. */
#define TOGETHER_MS 2000u

/* Two estimates of when the machine was started may be that far apart: the wall clock is set, and a machine sleeps. */
#define BOOTS_APART_NS (UINT64_C(86400) * 1000000000)

/* More sockets than that never go by one name, unless somebody makes it up. */
#define ROUNDS 8u

/* A record under one of the names that its socket may go by in another view. */
struct candidate {
    uint64_t key;
    uint32_t view, conn;
};

struct share {
    struct cw_view *const *views;
};

static uint32_t conns_used(const struct cw_view *view)
{
    uint32_t used = CW_GET(view->header->sections[CW_SECTION_CONNS].used);
    return used < view->n_conns ? used : view->n_conns;
}

/* Whether a report counts it. */
static bool is_counted(const struct cw_conn *conn)
{
    if (!(conn->flags & CW_CONN_IN_USE) || (conn->flags & CW_CONN_LISTENER))
        return false;
    return (conn->flags & CW_CONN_LATE) ||
           (conn->k_ms && (conn->k_state == STATE_CLOSE_WAIT || conn->k_state == STATE_CLOSE));
}

static bool has_addresses(const struct cw_conn *conn)
{
    return (conn->family == FAMILY_INET || conn->family == FAMILY_INET6) && conn->local_port && conn->peer_port;
}

/* An address as IPv6 has it: what accept shows as AF_INET sock_diag may show as mapped. */
static void as_ipv6(uint8_t ret[16], uint8_t family, const uint8_t address[16])
{
    static const uint8_t mapped[12] = {[10] = 0xFF, [11] = 0xFF};

    memcpy(ret, address, 16);
    if (family == FAMILY_INET) {
        memcpy(ret + 12, address, 4);
        memcpy(ret, mapped, sizeof(mapped));
    }
}

static bool same_address(const struct cw_conn *a, const uint8_t a_bytes[16], const struct cw_conn *b,
                         const uint8_t b_bytes[16])
{
    uint8_t a_six[16], b_six[16];

    as_ipv6(a_six, a->family, a_bytes);
    as_ipv6(b_six, b->family, b_bytes);
    return !memcmp(a_six, b_six, 16);
}

static uint64_t hash_address(uint64_t hash, const struct cw_conn *conn, const uint8_t address[16], uint16_t port)
{
    uint8_t six[16];

    as_ipv6(six, conn->family, address);
    return cw_hash_bytes(cw_hash_bytes(hash, six, sizeof(six)), &port, sizeof(port));
}

static uint64_t hash_host(const struct cw_view *view)
{
    return cw_hash_bytes(CW_HASH_START, view->header->host, strnlen(view->header->host, sizeof(view->header->host)));
}

static uint64_t inode_key(const struct cw_view *view, const struct cw_conn *conn)
{
    return cw_hash_bytes(hash_host(view), &conn->inode, sizeof(conn->inode));
}

static uint64_t address_key(const struct cw_view *view, const struct cw_conn *conn)
{
    uint64_t hash = cw_hash_bytes(hash_host(view), &view->header->pid_ns, sizeof(view->header->pid_ns));

    hash = hash_address(hash, conn, conn->local, conn->local_port);
    return hash_address(hash, conn, conn->peer, conn->peer_port);
}

static uint32_t count_candidates(const struct cw_view *view)
{
    uint32_t n = 0, used = conns_used(view);

    for (uint32_t i = 1; i < used; i++)
        if (is_counted(&view->conns[i]))
            n += (view->conns[i].inode ? 1u : 0u) + (has_addresses(&view->conns[i]) ? 1u : 0u);
    return n;
}

size_t cw_document_share_bytes(const struct cw_view *const *views, uint32_t n)
{
    size_t candidates = 0;

    for (uint32_t i = 0; i < n; i++)
        candidates += count_candidates(views[i]);
    return candidates * sizeof(struct candidate);
}

static int compare_candidates(const void *first, const void *second, void *ctx)
{
    const struct candidate *a = first, *b = second;
    (void)ctx;
    int result = order(a->key, b->key);
    result = result ? result : order(a->view, b->view);
    return result ? result : order(a->conn, b->conn);
}

static struct cw_conn *conn_of(const struct share *share, const struct candidate *candidate)
{
    return &share->views[candidate->view]->conns[candidate->conn];
}

/* A time of the record by a clock that all processes of a machine share, 0 for never. */
static uint64_t at_ms(const struct share *share, const struct candidate *candidate, uint32_t ms)
{
    return ms ? share->views[candidate->view]->header->start_mono_ns / 1000000 + ms : 0;
}

/* When it was last known to be open: a record of one that was closed late says when that was. */
static uint64_t open_until_ms(const struct share *share, const struct candidate *candidate)
{
    const struct cw_conn *conn = conn_of(share, candidate);
    return at_ms(share, candidate, conn->flags & CW_CONN_LATE ? conn->close_ms : conn->k_ms);
}

static uint64_t touched_ms(const struct share *share, const struct candidate *candidate)
{
    const struct cw_conn *conn = conn_of(share, candidate);
    uint64_t in_ms = at_ms(share, candidate, conn->in_last_ms), out_ms = at_ms(share, candidate, conn->out_last_ms);
    return in_ms > out_ms ? in_ms : out_ms;
}

/* How much the process has to do with the queue that the connection waits in: 2 it looks at the listener, 1 it has accepted
 * from it, 0 it only has it open, as the master of a server whose workers accept. */
static unsigned serves_queue(const struct share *share, const struct candidate *candidate)
{
    const struct cw_view *view = share->views[candidate->view];
    const struct cw_conn *conn = conn_of(share, candidate);
    const uint32_t of = CW_CONN_IN_USE | CW_CONN_LISTENER;
    uint32_t used = conns_used(view);

    for (uint32_t i = 1; conn->origin == CW_ORIGIN_QUEUED && i < used; i++) {
        const struct cw_conn *listener = &view->conns[i];
        if ((listener->flags & (of | CW_CONN_LATE)) != of || listener->local_port != conn->local_port)
            continue;
        return listener->flags & (CW_CONN_WATCHED | CW_CONN_POLLED) ? 2 : listener->in_last_ms ? 1 : 0;
    }
    return 0;
}

/* Whether a's record is to stand for the socket rather than b's. */
static bool is_better(const struct share *share, const struct candidate *a, const struct candidate *b,
                      uint64_t latest_ms)
{
    const struct cw_conn *conn_a = conn_of(share, a), *conn_b = conn_of(share, b);
    int result = order(conn_a->origin != CW_ORIGIN_QUEUED, conn_b->origin != CW_ORIGIN_QUEUED);

    result = result ? result
                    : order(open_until_ms(share, a) + TOGETHER_MS >= latest_ms,
                            open_until_ms(share, b) + TOGETHER_MS >= latest_ms);
    result = result ? result : order(!(conn_a->flags & CW_CONN_LATE), !(conn_b->flags & CW_CONN_LATE));
    result = result ? result : order(serves_queue(share, a), serves_queue(share, b));
    result = result ? result : order(touched_ms(share, a), touched_ms(share, b));
    return result > 0; /* else the first one */
}

static bool same_machine(const struct cw_ledger *a, const struct cw_ledger *b)
{
    uint64_t boot_a = a->start_real_ns - a->start_mono_ns, boot_b = b->start_real_ns - b->start_mono_ns;
    uint64_t apart = boot_a > boot_b ? boot_a - boot_b : boot_b - boot_a;

    return !strncmp(a->host, b->host, sizeof(a->host)) && apart < BOOTS_APART_NS;
}

/* Whether the record is another one of the socket that `kept` stands for. */
static bool is_same(const struct share *share, const struct candidate *candidate, const struct candidate *kept)
{
    const struct cw_ledger *header = share->views[candidate->view]->header,
                           *kept_header = share->views[kept->view]->header;
    const struct cw_conn *a = conn_of(share, candidate), *b = conn_of(share, kept);

    if (candidate->view == kept->view || !same_machine(header, kept_header))
        return false;
    if (a->inode && b->inode) /* an old ledger's inode may have been given to another socket since */
        return a->inode == b->inode && (!a->peer_port || !b->peer_port || a->peer_port == b->peer_port);
    /* Only what waits in an accept queue has no inode. The same addresses in another container are another one's. */
    return a->origin == CW_ORIGIN_QUEUED && has_addresses(a) && has_addresses(b) &&
           header->pid_ns == kept_header->pid_ns && a->local_port == b->local_port && a->peer_port == b->peer_port &&
           same_address(a, a->local, b, b->local) && same_address(a, a->peer, b, b->peer);
}

/* One round over the records that have a name in common: the best one is kept, those of the same socket are marked. Moves the
 * rest, of another socket after all, to the front, and returns how many that are. */
static uint32_t share_round(const struct share *share, struct candidate *run, uint32_t n)
{
    uint32_t best = 0, rest = 0;
    uint64_t latest_ms = 0;

    for (uint32_t i = 0; i < n; i++)
        if (open_until_ms(share, &run[i]) > latest_ms)
            latest_ms = open_until_ms(share, &run[i]);
    for (uint32_t i = 1; i < n; i++)
        if (is_better(share, &run[i], &run[best], latest_ms))
            best = i;
    const struct candidate kept = run[best];
    for (uint32_t i = 0; i < n; i++) {
        if (is_same(share, &run[i], &kept))
            CW_OR(conn_of(share, &run[i])->flags, CW_CONN_ELSEWHERE);
        else if (i != best)
            run[rest++] = run[i];
    }
    return rest;
}

void cw_document_share(struct cw_view *const *views, uint32_t n, void *scratch, size_t scratch_bytes)
{
    struct candidate *candidates = scratch;
    const struct share share = {views};
    size_t room = scratch_bytes / sizeof(*candidates), k = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t used = conns_used(views[i]);
        for (uint32_t c = 1; c < used; c++) {
            struct cw_conn *conn = &views[i]->conns[c];
            CW_AND(conn->flags, ~(uint32_t)CW_CONN_ELSEWHERE);
            if (n < 2 || !is_counted(conn))
                continue;
            if (conn->inode && k < room)
                candidates[k++] = (struct candidate){inode_key(views[i], conn), i, c};
            if (has_addresses(conn) && k < room)
                candidates[k++] = (struct candidate){address_key(views[i], conn), i, c};
        }
    }
    cw_sort(candidates, k, sizeof(*candidates), compare_candidates, NULL);
    for (size_t first = 0, end; first < k; first = end) {
        for (end = first + 1; end < k && candidates[end].key == candidates[first].key; end++)
            ;
        uint32_t rest = (uint32_t)(end - first);
        for (unsigned round = 0; rest > 1 && round < ROUNDS; round++)
            rest = share_round(&share, &candidates[first], rest);
    }
}
