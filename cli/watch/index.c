/* What a look goes by: the kernel's sockets by inode and by peer, and the tables of one ledger. */
#include "cli/watch/eyes.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool cw_eyes_reserve(struct cw_eyes_buffer *buffer, size_t size)
{
    if (size <= buffer->size)
        return true;
    size_t more = buffer->size ? buffer->size : 4096;
    while (more < size)
        more *= 2;
    void *bytes = realloc(buffer->bytes, more);
    if (!bytes)
        return false;
    buffer->bytes = bytes;
    buffer->size = more;
    return true;
}

bool cw_eyes_is_queued(const struct cw_sock *sock)
{
    return sock->state == TCP_CLOSE_WAIT && !sock->inode;
}

/* IPv4 and its mapped form are one. */
static uint64_t hash_peer(uint8_t family, const uint8_t peer[16], uint16_t port)
{
    static const uint8_t mapped[12] = {[10] = 0xFF, [11] = 0xFF};
    uint64_t high = 0, low = 0;

    if (family == AF_INET || !memcmp(peer, mapped, sizeof mapped)) {
        memcpy(&low, peer + (family == AF_INET ? 0 : 12), 4);
    } else {
        memcpy(&high, peer, 8);
        memcpy(&low, peer + 8, 8);
    }
    return ((high ^ low << 1) + port + 1) * UINT64_C(0x9E3779B97F4A7C15) >> 20;
}

static uint64_t hash_port(uint16_t port)
{
    return (port + UINT64_C(0x10001)) * UINT64_C(0x9E3779B97F4A7C15) >> 20;
}

static uint64_t hash_inode(uint32_t inode)
{
    return (uint64_t)inode * UINT64_C(0x9E3779B97F4A7C15) >> 20;
}

static void hash_in(uint32_t *table, size_t n_hash, uint64_t hash, size_t index)
{
    size_t at = (size_t)hash & (n_hash - 1);

    while (table[at])
        at = (at + 1) & (n_hash - 1);
    table[at] = (uint32_t)index + 1;
}

bool cw_eyes_index(struct cw_watch_eyes *eyes)
{
    const struct cw_sock_dump *dump = &eyes->dump;

    for (eyes->n_hash = 256; eyes->n_hash < 2 * dump->count; eyes->n_hash *= 2)
        ;
    size_t bytes = eyes->n_hash * sizeof(uint32_t);
    if (!cw_eyes_reserve(&eyes->by_peer, bytes) || !cw_eyes_reserve(&eyes->by_inode, bytes) ||
        !cw_eyes_reserve(&eyes->owners, (dump->count + 1) * sizeof(uint32_t)))
        return false;
    memset(eyes->by_peer.bytes, 0, bytes);
    memset(eyes->by_inode.bytes, 0, bytes);
    memset(eyes->owners.bytes, 0, dump->count * sizeof(uint32_t));
    eyes->any_close_wait = eyes->any_queued = false;
    for (size_t i = 0; i < dump->count; i++) {
        const struct cw_sock *sock = &dump->socks[i];
        eyes->any_close_wait |= sock->state == TCP_CLOSE_WAIT;
        eyes->any_queued |= cw_eyes_is_queued(sock);
        if (!sock->inode)
            continue;
        hash_in(eyes->by_inode.bytes, eyes->n_hash, hash_inode(sock->inode), i);
        hash_in(eyes->by_peer.bytes, eyes->n_hash,
                sock->state == TCP_LISTEN ? hash_port(sock->local_port)
                                          : hash_peer(sock->family, sock->peer, sock->peer_port),
                i);
    }
    return true;
}

long cw_eyes_find(const struct cw_watch_eyes *eyes, uint32_t inode)
{
    const uint32_t *table = eyes->by_inode.bytes;

    for (size_t at = (size_t)hash_inode(inode); inode && table[at & (eyes->n_hash - 1)]; at++) {
        uint32_t index = table[at & (eyes->n_hash - 1)] - 1;
        if (eyes->dump.socks[index].inode == inode)
            return (long)index;
    }
    return -1;
}

long cw_eyes_match(const struct cw_watch_eyes *eyes, const struct cw_conn *conn)
{
    const uint32_t *table = eyes->by_peer.bytes;
    bool listener = conn->flags & CW_CONN_LISTENER;
    uint64_t hash = listener ? hash_port(conn->local_port) : hash_peer(conn->family, conn->peer, conn->peer_port);

    for (size_t at = (size_t)hash; table[at & (eyes->n_hash - 1)]; at++) {
        uint32_t index = table[at & (eyes->n_hash - 1)] - 1;
        const struct cw_sock *sock = &eyes->dump.socks[index];
        if ((sock->state == TCP_LISTEN) != listener || (conn->inode && conn->inode != sock->inode) ||
            (conn->local_port && conn->local_port != sock->local_port))
            continue;
        if (listener || sock->peer_port == conn->peer_port)
            return (long)index;
    }
    return -1;
}

/* --- one process's ledger --- */

static size_t read_section(int fd, const struct cw_ledger *header, enum cw_section_id id, size_t stride,
                           struct cw_eyes_buffer *to)
{
    const struct cw_section *section = &header->sections[id];
    size_t n = section->used < section->capacity ? section->used : section->capacity;

    if (section->stride != stride || section->offset > (UINT64_C(1) << 40))
        return 0;
    if (n > CW_LOAD_MAX_BYTES / stride)
        n = CW_LOAD_MAX_BYTES / stride;
    if (!n || !cw_eyes_reserve(to, n * stride))
        return 0;
    ssize_t got = pread(fd, to->bytes, n * stride, (off_t)section->offset);
    return got > 0 ? (size_t)got / stride : 0;
}

/* Whether the process that it was forked from is still its parent, and reports: one that has not touched a socket since its own
 * fork, as daemons are made, has no ledger. */
static bool has_parent(const struct cw_watch *watch, const struct cw_watched *watched, pid_t inner_ppid)
{
    struct cw_proc proc;

    if (cw_proc_read(&proc, watched->pid) < 0 || proc.ppid <= 1 || cw_proc_inner_pid(proc.ppid) != inner_ppid)
        return false;
    for (size_t i = 0; i < watch->n_list; i++)
        if (!watch->list[i]->ended && watch->list[i]->pid == proc.ppid)
            return true;
    return false;
}

void cw_eyes_read(struct cw_watch *watch, struct cw_watched *watched)
{
    struct cw_watch_eyes *eyes = watch->eyes;
    struct cw_ledger header;
    const size_t needed = offsetof(struct cw_ledger, exe); /* the texts come after it */

    eyes->n_slots = eyes->n_conns = 0;
    if (pread(watched->fd, &header, needed, 0) != (ssize_t)needed)
        return;
    eyes->n_slots = read_section(watched->fd, &header, CW_SECTION_SLOTS, sizeof(uint64_t), &eyes->slots);
    eyes->n_conns = read_section(watched->fd, &header, CW_SECTION_CONNS, sizeof(struct cw_conn), &eyes->conns);
    watched->parent_lives =
        eyes->any_queued && (header.flags & CW_HEADER_FORKED) && has_parent(watch, watched, header.ppid);
}

bool cw_eyes_invert(struct cw_watch_eyes *eyes)
{
    const uint64_t *slots = eyes->slots.bytes;
    uint32_t *fds;

    if (!cw_eyes_reserve(&eyes->fds, (eyes->n_conns + 1) * sizeof *fds))
        return false;
    fds = eyes->fds.bytes;
    memset(fds, 0, (eyes->n_conns + 1) * sizeof *fds);
    for (size_t fd = eyes->n_slots; fd--;) {
        uint32_t index = CW_SLOT_INDEX(slots[fd]);
        if (CW_SLOT_KIND(slots[fd]) == CW_SLOT_CONN && index < eyes->n_conns)
            fds[index] = (uint32_t)fd + 1;
    }
    return true;
}
