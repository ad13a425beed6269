#include "cli/symbols/jit_map.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAP_MAX_BYTES = 32 * 1024 * 1024 };

struct entry {
    uint64_t low, size;
    const char *name;
};

struct cw_jit_map {
    char *text;
    struct entry *entries; /* in the order of the file */
    size_t count;
};

static char *read_text(int fd, size_t bytes)
{
    char *text = malloc(bytes + 1);
    size_t used = 0;

    while (text && used < bytes) {
        ssize_t got = pread(fd, text + used, bytes - used, (off_t)used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        used += (size_t)got;
    }
    if (text)
        text[used] = 0;
    return text;
}

/* "HEX HEX NAME"; false for anything else. Ends the line with a NUL. */
static int parse_line(char *line, struct entry *entry)
{
    char *end;

    if (!isxdigit((unsigned char)*line))
        return 0;
    entry->low = strtoull(line, &end, 16);
    if (*end != ' ' || !isxdigit((unsigned char)end[1]))
        return 0;
    entry->size = strtoull(end + 1, &end, 16);
    if (*end != ' ' || !end[1])
        return 0;
    entry->name = end + 1;
    return 1;
}

struct cw_jit_map *cw_jit_map_open(const char *root, pid_t pid, uid_t uid)
{
    char path[PATH_MAX];
    struct stat status;
    struct cw_jit_map *map = NULL;
    size_t lines = 0, bytes;
    int fd;

    snprintf(path, sizeof path, "%s/tmp/perf-%d.map", root, (int)pid);
    fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return NULL;
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) ||
        (status.st_uid != uid && status.st_uid != 0 && status.st_uid != geteuid()))
        goto done;
    bytes = status.st_size < MAP_MAX_BYTES ? (size_t)status.st_size : MAP_MAX_BYTES;
    map = calloc(1, sizeof *map);
    if (!map)
        goto done;
    map->text = read_text(fd, bytes);
    for (const char *p = map->text; p && *p; p++)
        lines += *p == '\n';
    map->entries = malloc((lines + 1) * sizeof *map->entries);
    for (char *line = map->text, *next; line && map->entries && *line; line = next) {
        next = line + strcspn(line, "\n");
        if (*next)
            *next++ = 0;
        map->count += (size_t)parse_line(line, &map->entries[map->count]);
    }
done:
    close(fd);
    return map;
}

const char *cw_jit_map_lookup(const struct cw_jit_map *map, uint64_t address)
{
    for (size_t i = map ? map->count : 0; i-- > 0;)
        if (address - map->entries[i].low < map->entries[i].size)
            return map->entries[i].name;
    return NULL;
}

void cw_jit_map_close(struct cw_jit_map *map)
{
    if (!map)
        return;
    free(map->entries);
    free(map->text);
    free(map);
}
