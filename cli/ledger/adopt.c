#include "cli/ledger/adopt.h"

#include "cli/ledger/find.h"
#include "core/frames.h"
#include "core/view.h"

#include <stdlib.h>
#include <string.h>

enum { IMAGES_MAX = 16 /* programs that one process has executed, one after the other, with sockets open */ };

static uint32_t conns_used(const struct cw_view *view)
{
    uint32_t used = view->header->sections[CW_SECTION_CONNS].used;
    return used < view->n_conns ? used : view->n_conns;
}

static bool wants(const struct cw_conn *conn)
{
    const uint32_t no = CW_CONN_LATE | CW_CONN_GONE;
    return (conn->flags & (CW_CONN_IN_USE | no)) == CW_CONN_IN_USE && conn->origin == CW_ORIGIN_INHERITED &&
           !conn->open_stack;
}

bool cw_adopt_wanted(const struct cw_load *load)
{
    for (uint32_t i = 1; i < conns_used(&load->view); i++)
        if (wants(&load->view.conns[i]))
            return true;
    return false;
}

int cw_adopt_load(struct cw_load *ret, int fd, char *why, size_t why_bytes)
{
    if (cw_load_ledger(ret, fd, false, why, why_bytes) < 0)
        return -1;
    if (!cw_adopt_wanted(ret))
        return 0;
    cw_load_free(ret);
    return cw_load_ledger(ret, fd, true, why, why_bytes);
}

/* --- the same socket --- */

/* Inodes are given anew, and an earlier ledger may be minutes old: the addresses have to agree in any case. */
static bool is_same(const struct cw_conn *conn, const struct cw_conn *earlier)
{
    size_t bytes = conn->family == 2 /* AF_INET */ ? 4 : 16;

    if ((earlier->flags & (CW_CONN_IN_USE | CW_CONN_LATE)) != CW_CONN_IN_USE || earlier->family != conn->family)
        return false;
    if (conn->inode && earlier->inode && conn->inode != earlier->inode)
        return false;
    if (earlier->peer_port != conn->peer_port || earlier->local_port != conn->local_port)
        return false;
    /* A listener on all addresses, or a socket whose own address nobody has asked for, has none. */
    return !memcmp(conn->peer, earlier->peer, bytes);
}

/* The earlier ledger's sockets by their addresses. */
struct by_address {
    uint64_t key;
    uint32_t conn;
};

struct taken {
    uint32_t from, to; /* stack ids: sockets of one code path share theirs here too */
};

struct adoption {
    struct cw_load *load;
    const struct cw_view *earlier;
    uint32_t shift_ms; /* from its clock to ours */
    struct by_address *sockets;
    size_t n_sockets;
    uint32_t *modules; /* by the earlier index: 1 + that of the same file here, 0 not looked for yet */
    struct taken taken[256];
    unsigned count;
    bool full; /* there is no room for more stacks */
};

static uint64_t address_key(const struct cw_conn *conn)
{
    uint64_t key = cw_hash_bytes(CW_HASH_START, conn->peer, conn->family == 2 /* AF_INET */ ? 4 : 16);
    key = cw_hash_bytes(key, &conn->peer_port, sizeof conn->peer_port);
    return cw_hash_bytes(key, &conn->local_port, sizeof conn->local_port);
}

static int by_key(const void *first, const void *second)
{
    const struct by_address *a = first, *b = second;

    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return (a->conn > b->conn) - (a->conn < b->conn);
}

/* Without memory sockets are found by their fds alone. */
static void index_sockets(struct adoption *adoption)
{
    const struct cw_view *view = adoption->earlier;
    uint32_t used = conns_used(view);

    adoption->sockets = malloc((used + 1) * sizeof *adoption->sockets);
    for (uint32_t i = 1; adoption->sockets && i < used; i++)
        if ((view->conns[i].flags & (CW_CONN_IN_USE | CW_CONN_LATE)) == CW_CONN_IN_USE && view->conns[i].peer_port)
            adoption->sockets[adoption->n_sockets++] = (struct by_address){address_key(&view->conns[i]), i};
    if (adoption->n_sockets)
        qsort(adoption->sockets, adoption->n_sockets, sizeof *adoption->sockets, by_key);
}

/* By the fd first: exec leaves that as it is. */
static const struct cw_conn *find(const struct adoption *adoption, const struct cw_conn *conn)
{
    enum { ALIKE_MAX = 64 }; /* more have the same addresses only if somebody makes it up */
    const struct cw_conn *at_fd = cw_slot_conn(adoption->earlier, conn->fd);
    uint64_t key = address_key(conn);
    size_t low = 0, high = conn->peer_port ? adoption->n_sockets : 0, n = high;

    if (at_fd && is_same(conn, at_fd))
        return at_fd;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (adoption->sockets[middle].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t i = low; i < n && i - low < ALIKE_MAX && adoption->sockets[i].key == key; i++)
        if (is_same(conn, &adoption->earlier->conns[adoption->sockets[i].conn]))
            return &adoption->earlier->conns[adoption->sockets[i].conn];
    return NULL;
}

/* --- stacks --- */

/* The same file in this ledger, which a frame's offset is relative to wherever it is loaded; 0 if there is no room. */
static uint32_t adopt_module(struct cw_load *load, const struct cw_view *earlier, const struct cw_module *module)
{
    const char *path = cw_view_string(earlier, module->path);
    uint32_t used = load->view.header->sections[CW_SECTION_MODULES].used;

    for (uint32_t i = 1; i < used && i < load->view.n_modules; i++) {
        const struct cw_module *own = &load->view.modules[i];
        if (own->build_id_len == module->build_id_len &&
            !memcmp(own->build_id, module->build_id, sizeof own->build_id) &&
            !strcmp(cw_view_string(&load->view, own->path), path))
            return i;
    }
    struct cw_module copy = *module;
    copy.path = cw_load_add_string(load, path);
    return cw_load_add_module(load, &copy);
}

static uint32_t module_of(const struct adoption *adoption, uint32_t index)
{
    const struct cw_module *module = cw_view_module(adoption->earlier, index);

    if (!module)
        return 0;
    if (!adoption->modules[index])
        adoption->modules[index] = 1 + adopt_module(adoption->load, adoption->earlier, module);
    return adoption->modules[index] - 1;
}

static uint32_t adopt_stack(const struct adoption *adoption, uint32_t id)
{
    const uint64_t *frames;
    uint64_t own[CW_STACK_MAX_FRAMES];
    unsigned flags, n = cw_view_stack(adoption->earlier, id, &frames, &flags);

    if (n > CW_STACK_MAX_FRAMES)
        n = CW_STACK_MAX_FRAMES;
    for (unsigned i = 0; i < n; i++) {
        uint32_t index = module_of(adoption, CW_FRAME_MODULE(frames[i]));
        own[i] = index ? CW_FRAME(index, CW_FRAME_OFFSET(frames[i])) : frames[i] & ~CW_FRAME(0xFFFF, 0);
    }
    return n ? cw_load_add_stack(adoption->load, own, n, flags) : 0;
}

/* --- taking over --- */

static uint32_t stack_of(struct adoption *adoption, uint32_t id)
{
    const uint64_t *frames;

    for (unsigned i = 0; i < adoption->count; i++)
        if (adoption->taken[i].from == id)
            return adoption->taken[i].to;
    uint32_t to = id && !adoption->full ? adopt_stack(adoption, id) : 0;
    adoption->full = adoption->full || (id && !to && cw_view_stack(adoption->earlier, id, &frames, NULL));
    if (adoption->count < sizeof adoption->taken / sizeof *adoption->taken)
        adoption->taken[adoption->count++] = (struct taken){id, to};
    return to;
}

static uint32_t time_of(const struct adoption *adoption, uint32_t ms)
{
    uint32_t ours = ms + adoption->shift_ms;
    return ms && !ours ? 1 : ms ? ours : 0;
}

static void take_over(struct adoption *adoption, struct cw_conn *conn, const struct cw_conn *earlier)
{
    conn->open_call = earlier->open_call;
    conn->open_stack = stack_of(adoption, earlier->open_stack);
    conn->open_ms = time_of(adoption, earlier->open_ms);
    if (!(conn->flags & CW_CONN_EOF_SEEN) && (earlier->flags & CW_CONN_EOF_SEEN)) {
        conn->flags |= earlier->flags & (CW_CONN_EOF_SEEN | CW_CONN_EOF_CONSUMED);
        conn->eof_call = earlier->eof_call;
        conn->eof_stack = stack_of(adoption, earlier->eof_stack);
        conn->eof_ms = time_of(adoption, earlier->eof_ms);
    }
}

void cw_adopt_from(struct cw_load *load, const struct cw_load *earlier)
{
    const struct cw_ledger *now = load->view.header, *before = earlier->view.header;
    struct adoption adoption = {.load = load, .earlier = &earlier->view};

    adoption.shift_ms = (uint32_t)(before->start_mono_ns / 1000000) - (uint32_t)(now->start_mono_ns / 1000000);
    adoption.modules = calloc((size_t)earlier->view.n_modules + 1, sizeof *adoption.modules);
    if (!adoption.modules)
        return;
    index_sockets(&adoption);
    for (uint32_t i = 1; i < conns_used(&load->view); i++) {
        struct cw_conn *conn = &load->view.conns[i];
        const struct cw_conn *found = wants(conn) ? find(&adoption, conn) : NULL;
        if (found)
            take_over(&adoption, conn, found);
    }
    free(adoption.sockets);
    free(adoption.modules);
}

/* --- finding --- */

struct search {
    const struct cw_ledger *of;
    struct cw_load images[IMAGES_MAX]; /* youngest first; a parent's after all of its own */
    unsigned count;
};

static bool is_own(const struct cw_ledger *of, const struct cw_ledger *header)
{
    return header->pid == of->pid && header->start_ticks == of->start_ticks;
}

static bool comes_before(const struct search *search, const struct cw_ledger *a, const struct cw_ledger *b)
{
    if (is_own(search->of, a) != is_own(search->of, b))
        return is_own(search->of, a);
    return a->start_mono_ns > b->start_mono_ns;
}

static bool keep(void *ctx, const struct cw_found *found)
{
    struct search *search = ctx;
    const struct cw_ledger *of = search->of;
    bool own = found->pid == of->pid && found->start_ticks == of->start_ticks;
    struct cw_load load;
    char why[256];

    if (found->pid_ns != of->pid_ns || !(own || found->pid == of->ppid) || search->count == IMAGES_MAX ||
        cw_load_ledger(&load, found->fd, false, why, sizeof why) < 0)
        return true;
    /* Its clock ticks every 4 ms. */
    if (load.view.header->start_mono_ns > of->start_mono_ns || (own && load.view.header->ended != CW_ENDED_EXEC)) {
        cw_load_free(&load);
        return true;
    }
    unsigned at = search->count++;
    for (; at && comes_before(search, load.view.header, search->images[at - 1].view.header); at--)
        search->images[at] = search->images[at - 1];
    search->images[at] = load;
    return true;
}

void cw_adopt(struct cw_load *load, const char *root, const char *ledger_dir)
{
    struct search search = {.of = load->view.header};

    if (!cw_adopt_wanted(load))
        return;
    cw_find_ledgers(root, ledger_dir, keep, &search);
    for (unsigned i = 0; i < search.count; i++) {
        cw_adopt_from(load, &search.images[i]);
        cw_load_free(&search.images[i]);
    }
}
