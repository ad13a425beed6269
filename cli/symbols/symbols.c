#include "cli/symbols/symbols.h"

#include "cli/process/proc.h"
#include "cli/symbols/elf_file.h"
#include "cli/symbols/jit_map.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>

enum {
    SYMBOLS_PER_FRAME_MAX = 16,
    CACHE_START = 1024,
    /* More a process does not have in a report that anybody reads: a ledger that has is damaged, or made to keep us busy. */
    FRAMES_MAX = 65536,
    OBJECTS_MAX = 1024,
};

struct object {
    struct cw_elf_file *file;
    bool tried;
    uint64_t last_used; /* in look-ups */
};

struct cached {
    uint64_t frame; /* 0: empty; no real frame is 0 */
    const struct cw_symbol *symbols;
    unsigned count;
};

struct cw_symbols {
    const struct cw_view *view;
    pid_t live_pid;
    struct cw_debug_files *files; /* may be NULL */
    bool own_host;                /* the ledger was written on this machine */
    char root[32];                /* "/proc/PID/root", or "" */
    struct object *objects;       /* by module index */
    uint32_t object_count;
    unsigned tried; /* objects whose files were looked for */
    uint64_t open_bytes, budget_bytes, clock;
    struct cw_jit_map *jit_map;
    bool jit_tried;
    struct cached *cache;
    size_t cache_size, cache_used; /* size is a power of two */
    struct cw_arena arena;
};

/* Files kept open at once may take this much of the address space; the dying process sets a limit. */
static uint64_t file_budget(void)
{
    const uint64_t most = UINT64_C(4) << 30;
    struct rlimit limit;

    if (getrlimit(RLIMIT_AS, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur / 2 > most)
        return most;
    return limit.rlim_cur / 2;
}

static bool is_own_host(const char *host)
{
    struct utsname name;

    return !*host || uname(&name) < 0 || !strcmp(host, name.nodename);
}

struct cw_symbols *cw_symbols_new(const struct cw_view *view, pid_t live_pid, struct cw_debug_files *files)
{
    struct cw_symbols *symbols = calloc(1, sizeof *symbols);

    if (!symbols)
        return NULL;
    symbols->view = view;
    symbols->live_pid = live_pid;
    symbols->files = files;
    symbols->own_host = live_pid || is_own_host(view->header->host);
    if (live_pid)
        snprintf(symbols->root, sizeof symbols->root, "/proc/%d/root", (int)live_pid);
    symbols->object_count = view->n_modules;
    symbols->objects = calloc(view->n_modules + 1u, sizeof *symbols->objects);
    symbols->cache_size = CACHE_START;
    symbols->cache = calloc(symbols->cache_size, sizeof *symbols->cache);
    symbols->budget_bytes = file_budget();
    /* Nothing may be fetched from the network on behalf of a report. */
    unsetenv("DEBUGINFOD_URLS");
    if (!symbols->objects || !symbols->cache) {
        cw_symbols_free(symbols);
        return NULL;
    }
    return symbols;
}

/* Closes the files used longest ago until the rest fits the budget. */
static void make_room(struct cw_symbols *symbols)
{
    while (symbols->open_bytes > symbols->budget_bytes) {
        struct object *oldest = NULL;
        for (uint32_t i = 0; i < symbols->object_count; i++) {
            struct object *object = &symbols->objects[i];
            if (object->file && (!oldest || object->last_used < oldest->last_used))
                oldest = object;
        }
        if (!oldest || oldest->last_used == symbols->clock)
            return;
        symbols->open_bytes -= cw_elf_file_bytes(oldest->file);
        cw_elf_file_close(oldest->file);
        *oldest = (struct object){0};
    }
}

/* A module's file in the making: the best that was found so far. */
struct opening {
    const struct cw_symbols *symbols;
    struct cw_elf_identity identity;
    struct cw_elf_file *file;
    char refused[PATH_MAX]; /* the first file that was another build, "" none */
};

static bool is_complete(const struct opening *opening)
{
    return opening->file && cw_elf_file_has_debug(opening->file);
}

/* A file with debug information is better than one without, and any is better than none. */
static void try_file(struct opening *opening, const char *path)
{
    bool other = false;
    struct cw_elf_file *file =
        cw_elf_file_open(path, &opening->identity, cw_debug_files_search_path(opening->symbols->files), &other);

    if (other && !*opening->refused)
        snprintf(opening->refused, sizeof opening->refused, "%s", path);
    if (file && opening->file && !cw_elf_file_has_debug(file)) {
        cw_elf_file_close(file);
    } else if (file) {
        cw_elf_file_close(opening->file);
        opening->file = file;
    }
}

/* Where the file was when it ran. */
static void try_own_places(struct opening *opening, const struct cw_module *module, const char *path)
{
    const struct cw_symbols *symbols = opening->symbols;
    char other[PATH_MAX];

    /* On another machine only a build-id tells whether it is the same file. */
    if (!symbols->own_host && !opening->identity.build_id_len)
        return;
    if (*path == '/')
        try_file(opening, path);
    if (!opening->file && *path == '/' && *symbols->root &&
        (size_t)snprintf(other, sizeof other, "%s%s", symbols->root, path) < sizeof other)
        try_file(opening, other);
    if (!opening->file && module->kind == CW_MODULE_MAIN && symbols->live_pid) {
        /* Replaced or deleted meanwhile: the running one is what counts, whatever its time stamp. */
        opening->identity.not_after_ns = 0;
        snprintf(other, sizeof other, "/proc/%d/exe", (int)symbols->live_pid);
        try_file(opening, other);
    }
}

/* Where the user says, and where distributions keep debug information. */
static void try_other_places(struct opening *opening, const struct cw_debug_wanted *wanted)
{
    struct cw_debug_files *files = opening->symbols->files;
    char place[PATH_MAX];

    opening->identity.not_after_ns = 0; /* a copy is younger than the process; the user vouches for it */
    for (unsigned nth = 0; !is_complete(opening) && cw_debug_files_place(files, wanted, nth, place); nth++)
        try_file(opening, place);
    if (!is_complete(opening) && cw_debug_files_fetch(files, wanted, place))
        try_file(opening, place);
}

static struct cw_elf_file *open_module(const struct cw_symbols *symbols, const struct cw_module *module)
{
    const struct cw_ledger *header = symbols->view->header;
    const char *path = cw_view_string(symbols->view, module->path);
    struct opening opening = {
        .symbols = symbols,
        .identity =
            {
                .build_id = module->build_id,
                .build_id_len = module->build_id_len <= sizeof module->build_id ? module->build_id_len : 0,
                .not_after_ns = header->start_real_ns,
            },
    };
    struct cw_debug_wanted wanted = {.build_id = module->build_id, .build_id_len = opening.identity.build_id_len};

    if (module->kind == CW_MODULE_VDSO)
        return NULL;
    if (module->kind == CW_MODULE_MAIN && *path != '/')
        path = header->exe;
    wanted.path = path;
    try_own_places(&opening, module, path);
    if (!is_complete(&opening))
        try_other_places(&opening, &wanted);
    if (!opening.file && *opening.refused)
        cw_debug_files_refused(symbols->files, &wanted, opening.refused);
    return opening.file;
}

static unsigned look_up_native(struct cw_symbols *symbols, uint32_t index, uint64_t address, struct cw_symbol *ret)
{
    const struct cw_module *module = cw_view_module(symbols->view, index);
    struct object *object;

    if (!module || index >= symbols->object_count)
        return 0;
    object = &symbols->objects[index];
    object->last_used = symbols->clock;
    if (!object->tried && symbols->tried < OBJECTS_MAX) {
        object->tried = true;
        symbols->tried++;
        object->file = open_module(symbols, module);
        if (object->file) {
            symbols->open_bytes += cw_elf_file_bytes(object->file);
            make_room(symbols);
        }
    }
    if (!object->file)
        return 0;
    return cw_elf_file_lookup(object->file, address, ret, SYMBOLS_PER_FRAME_MAX, &symbols->arena);
}

static unsigned look_up_jit(struct cw_symbols *symbols, uint64_t address, struct cw_symbol *ret)
{
    const struct cw_ledger *header = symbols->view->header;
    const char *name;

    if (!symbols->jit_tried) {
        symbols->jit_tried = true;
        /* It names the file as it sees itself; the header may have its number as seen from here by now. */
        pid_t pid = symbols->live_pid ? cw_proc_inner_pid(symbols->live_pid) : header->pid;
        symbols->jit_map = cw_jit_map_open(symbols->root, pid, (uid_t)header->uid);
        if (!symbols->jit_map && *symbols->root)
            symbols->jit_map = cw_jit_map_open("", pid, (uid_t)header->uid);
    }
    name = cw_jit_map_lookup(symbols->jit_map, address);
    if (!name)
        return 0;
    ret[0] = (struct cw_symbol){.function = cw_arena_string(&symbols->arena, name), .kind = CW_FRAME_JIT};
    return 1;
}

static struct cached *cache_place(struct cached *cache, size_t size, uint64_t frame)
{
    size_t at = (size_t)((frame * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & (size - 1);

    while (cache[at].frame && cache[at].frame != frame)
        at = (at + 1) & (size - 1);
    return &cache[at];
}

/* Keeps the table at most half full; false without memory, the table is then as it was. */
static bool cache_grow(struct cw_symbols *symbols)
{
    size_t size = symbols->cache_size * 2;
    struct cached *cache;

    if (2 * symbols->cache_used < symbols->cache_size)
        return true;
    cache = calloc(size, sizeof *cache);
    if (!cache)
        return false;
    for (size_t i = 0; i < symbols->cache_size; i++)
        if (symbols->cache[i].frame)
            *cache_place(cache, size, symbols->cache[i].frame) = symbols->cache[i];
    free(symbols->cache);
    symbols->cache = cache;
    symbols->cache_size = size;
    return true;
}

/* Looks a frame up and keeps the answer. */
static const struct cached *find(struct cw_symbols *symbols, uint64_t frame)
{
    struct cw_symbol found[SYMBOLS_PER_FRAME_MAX], *kept;
    uint64_t address = CW_FRAME_OFFSET(frame);
    struct cached *place;
    unsigned count;

    if (!cache_grow(symbols))
        return NULL;
    place = cache_place(symbols->cache, symbols->cache_size, frame);
    if (place->frame)
        return place;
    if (symbols->cache_used == FRAMES_MAX)
        return NULL;
    symbols->clock++;
    address -= address > 0; /* a return address may stand in the line, or the function, after the call */
    count = CW_FRAME_MODULE(frame) ? look_up_native(symbols, CW_FRAME_MODULE(frame), address, found)
                                   : look_up_jit(symbols, address, found);
    kept = cw_arena_alloc(&symbols->arena, (count + 1) * sizeof *kept);
    if (!kept)
        return NULL;
    memcpy(kept, found, count * sizeof *kept);
    *place = (struct cached){.frame = frame, .symbols = kept, .count = count};
    symbols->cache_used++;
    return place;
}

static unsigned resolve(void *ctx, const struct cw_view *view, uint64_t frame, struct cw_symbol *ret, unsigned max)
{
    struct cw_symbols *symbols = ctx;
    const struct cached *cached;
    unsigned count;

    if (frame == 0 || view->modules != symbols->view->modules)
        return 0;
    cached = find(symbols, frame);
    if (!cached)
        return 0;
    count = cached->count < max ? cached->count : max;
    memcpy(ret, cached->symbols, count * sizeof *ret);
    return count;
}

struct cw_resolver cw_symbols_resolver(struct cw_symbols *symbols)
{
    return (struct cw_resolver){.ctx = symbols, .resolve = resolve};
}

void cw_symbols_free(struct cw_symbols *symbols)
{
    if (!symbols)
        return;
    for (uint32_t i = 0; symbols->objects && i < symbols->object_count; i++)
        cw_elf_file_close(symbols->objects[i].file);
    free(symbols->objects);
    free(symbols->cache);
    cw_jit_map_close(symbols->jit_map);
    cw_arena_free(&symbols->arena);
    free(symbols);
}
