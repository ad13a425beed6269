/* /proc/PID/fdinfo/EPFD. */
#include "core/fdinfo.h"

#include "core/atomic.h"

#include <netinet/tcp.h>
#include <string.h>

/* The value that follows "name:", in this base; spaces before it are passed over. */
static bool value_of(const char *line, size_t n, const char *name, unsigned base, uint64_t *ret)
{
    size_t name_len = strlen(name), at = 0;

    while (at + name_len <= n && memcmp(line + at, name, name_len) != 0)
        at++;
    at += name_len;
    while (at < n && line[at] == ' ')
        at++;
    uint64_t value = 0;
    size_t digits = 0;
    for (; at < n && digits < 20; at++, digits++) {
        char c = line[at];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                                                : 99;
        if (digit >= base)
            break;
        value = value * base + digit;
    }
    *ret = value;
    return digits > 0 && (at == n || line[at] == ' ');
}

bool cw_fdinfo_watch(const char *line, size_t n, struct cw_watch *ret)
{
    static const char opens[] = "tfd:";
    uint64_t fd, mask, inode;

    if (n < sizeof opens - 1 || memcmp(line, opens, sizeof opens - 1) != 0)
        return false;
    if (!value_of(line, n, "tfd:", 10, &fd) || !value_of(line, n, " events:", 16, &mask) ||
        !value_of(line, n, " ino:", 16, &inode) || fd > INT32_MAX || mask > UINT32_MAX)
        return false;
    *ret = (struct cw_watch){.fd = (int)fd, .mask = (uint32_t)mask, .inode = inode};
    return true;
}

bool cw_fdinfo_wanted(const struct cw_conn *conn)
{
    uint32_t flags = CW_GET(conn->flags);
    if (!(flags & CW_CONN_IN_USE) || (flags & (CW_CONN_LATE | CW_CONN_GONE)) ||
        CW_GET(conn->origin) == CW_ORIGIN_QUEUED)
        return false;
    return (flags & CW_CONN_LISTENER) || CW_GET(conn->k_state) == TCP_CLOSE_WAIT;
}

static bool watch_before(const struct cw_watch *a, const struct cw_watch *b)
{
    return (uint32_t)a->inode != (uint32_t)b->inode ? (uint32_t)a->inode < (uint32_t)b->inode : a->fd < b->fd;
}

/* Heapsort: no memory, no recursion. */
static void sift(struct cw_watch *heap, size_t at, size_t n)
{
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && watch_before(&heap[child], &heap[child + 1]))
            child++;
        if (!watch_before(&heap[at], &heap[child]))
            return;
        struct cw_watch swap = heap[at];
        heap[at] = heap[child];
        heap[child] = swap;
    }
}

static void sort(struct cw_watch *watches, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift(watches, i, n);
    for (size_t i = n; i-- > 1;) {
        struct cw_watch swap = watches[0];
        watches[0] = watches[i];
        watches[i] = swap;
        sift(watches, 0, i);
    }
}

/* By the socket's inode; by the number alone where that was never asked for. */
static const struct cw_watch *find(const struct cw_conn *conn, const struct cw_watch *watches, size_t n)
{
    uint32_t inode = CW_GET(conn->inode);
    size_t low = 0, high = n;

    for (size_t i = 0; !inode && i < n; i++)
        if (watches[i].fd == CW_GET(conn->fd))
            return &watches[i];
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if ((uint32_t)watches[mid].inode < inode)
            low = mid + 1;
        else
            high = mid;
    }
    return inode && low < n && (uint32_t)watches[low].inode == inode ? &watches[low] : NULL;
}

void cw_fdinfo_refused(struct cw_view *view, uint32_t set_index, int error)
{
    if (cw_view_set(view, set_index))
        CW_SET(view->sets[set_index].k_errno, (uint32_t)error);
}

void cw_fdinfo_enter(struct cw_view *view, uint32_t set_index, struct cw_watch *watches, size_t n)
{
    const struct cw_set *set = cw_view_set(view, set_index);
    uint32_t used = CW_GET(view->header->sections[CW_SECTION_CONNS].used);

    cw_fdinfo_refused(view, set_index, 0);
    sort(watches, n);
    for (uint32_t i = 1; set && i < used && i < view->n_conns; i++) {
        struct cw_conn *conn = &view->conns[i];
        if (!cw_fdinfo_wanted(conn))
            continue;
        bool here = CW_GET(conn->epoll_set) == set_index, watched = CW_GET(conn->flags) & CW_CONN_WATCHED;
        const struct cw_watch *watch = find(conn, watches, n);
        if (watch && (here || !watched)) {
            CW_SET(conn->epoll_mask, watch->mask);
            CW_SET(conn->epoll_set, (uint16_t)set_index);
            CW_SET(conn->epoll_fd, CW_GET(set->fd));
            CW_OR(conn->flags, CW_CONN_WATCHED | CW_CONN_WAS_WATCHED);
        } else if (!watch && here && watched && CW_GET(conn->epoll_sets) <= 1) {
            /* Of several sets only the last is on record: it may still be in another. */
            CW_AND(conn->flags, ~(uint32_t)CW_CONN_WATCHED);
        }
    }
}
