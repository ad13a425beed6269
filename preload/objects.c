/* The ELF objects of this process. See objects.h. */
#define _GNU_SOURCE
#include "preload/objects.h"

#include "preload/probe.h"
#include "preload/state.h"
#include "preload/sys.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

/* Our own copy of glibc's declaration, so that the library builds against an older one. */
struct found_object {
    unsigned long long flags;
    void *map_start, *map_end;
    struct link_map *map;
    void *eh_frame;
    unsigned long long reserved[7];
};
static int (*find_object)(void *address, struct found_object *result);

/* --- snapshots, for a loader without _dl_find_object --- */

#define SNAPSHOT_OBJECTS 192u
#define SNAPSHOT_NAMES 16384u
#define SNAPSHOTS_MAX 64u /* each is kept for ever, since a thread may be reading it: at most 2 MiB in all */

struct snapshot {
    unsigned n, names_used;
    uint32_t generation; /* of `changes` when it was taken */
    struct cw_object objects[SNAPSHOT_OBJECTS];
    char names[SNAPSHOT_NAMES];
};
static const struct snapshot *latest;
static uint32_t changes, snapshots_taken, last_ms;

bool cw_objects_readable(uintptr_t address)
{
    if (CW_GET(cw_static.seccomp) || !(cw_static.may & CW_MAY_SIGNALS))
        return true;
    return cw_sys(SYS_rt_sigprocmask, -1, address & ~(uintptr_t)7, NULL, 8) == -EINVAL;
}

static const ElfW(Phdr) * headers_of(const struct cw_object *object, unsigned *ret_n)
{
    const ElfW(Ehdr) *elf = (const void *)object->start;
    if (object->end - object->start < sizeof *elf || !cw_objects_readable(object->start) ||
        memcmp(elf->e_ident, ELFMAG, SELFMAG) != 0 || elf->e_phentsize != sizeof(ElfW(Phdr)))
        return NULL;
    /* Only the first page is known to be mapped; a linker puts the program headers right behind the ELF header. */
    if (elf->e_phoff > 4096 || elf->e_phnum > (4096 - elf->e_phoff) / sizeof(ElfW(Phdr)))
        return NULL;
    *ret_n = elf->e_phnum;
    return (const void *)(object->start + elf->e_phoff);
}

bool cw_objects_segment(const struct cw_object *object, uint32_t type, unsigned nth, uintptr_t *ret_start,
                        size_t *ret_bytes)
{
    unsigned n = 0;
    const ElfW(Phdr) *header = headers_of(object, &n);
    for (unsigned i = 0; header && i < n; i++) {
        if (header[i].p_type != type || nth-- != 0)
            continue;
        uintptr_t start = object->load + header[i].p_vaddr;
        if (start < object->start || start >= object->end || header[i].p_memsz > object->end - start)
            return false;
        *ret_start = start;
        *ret_bytes = header[i].p_memsz;
        return true;
    }
    return false;
}

/* Fills in what the program headers tell, once the whole mapped range is known. */
static void complete(struct cw_object *object)
{
    unsigned n = 0;
    const ElfW(Phdr) *header = headers_of(object, &n);
    object->load = object->start;
    for (unsigned i = 0; header && i < n; i++)
        if (header[i].p_type == PT_LOAD) {
            object->load = object->start - (header[i].p_vaddr & ~(uintptr_t)4095);
            break;
        }
    size_t bytes;
    if (!cw_objects_segment(object, PT_GNU_EH_FRAME, 0, &object->eh_frame_hdr, &bytes))
        object->eh_frame_hdr = 0;
    if (!cw_objects_segment(object, PT_DYNAMIC, 0, &object->dynamic, &bytes))
        object->dynamic = 0;
}

static uintptr_t hex(const char **text)
{
    uintptr_t value = 0;
    for (;; (*text)++) {
        char c = **text;
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                                                : 99;
        if (digit == 99)
            return value;
        value = value << 4 | digit;
    }
}

/* One line of /proc/self/maps: "start-end perms offset dev inode   path". Neighbours of the same path become one
 * object. */
static void take_line(struct snapshot *snapshot, const char *line)
{
    uintptr_t start = hex(&line);
    line++;
    uintptr_t end = hex(&line);
    const char *path = strchr(line, '/');
    const char *vdso = strstr(line, "[vdso]");
    if (!path)
        path = vdso;
    if (!path || !end)
        return;
    struct cw_object *last = snapshot->n ? &snapshot->objects[snapshot->n - 1] : NULL;
    const char *offset = line + 6; /* " r-xp 00001000" */
    bool first = hex(&offset) == 0;
    if (last && !first && strcmp(last->name, path) == 0) {
        last->end = end;
        return;
    }
    size_t bytes = strlen(path) + 1;
    if (!first || snapshot->n == SNAPSHOT_OBJECTS || bytes > SNAPSHOT_NAMES - snapshot->names_used)
        return;
    char *name = memcpy(&snapshot->names[snapshot->names_used], path, bytes);
    snapshot->names_used += (unsigned)bytes;
    snapshot->objects[snapshot->n++] = (struct cw_object){.start = start, .end = end, .name = name};
}

/* A transient fd, close-on-exec and out of the way of low numbers: only where the loader offers nothing better. */
static bool read_maps(struct snapshot *snapshot)
{
    long low = cw_sys(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
    if (low < 0)
        return false;
    long fd = cw_sys(SYS_fcntl, low, F_DUPFD_CLOEXEC, 64);
    if (fd < 0)
        fd = low;
    else
        cw_sys(SYS_close, low);
    char buffer[1024];
    size_t have = 0;
    long got;
    while ((got = cw_sys(SYS_read, fd, buffer + have, sizeof buffer - 1 - have)) > 0 || got == -EINTR) {
        have += got > 0 ? (size_t)got : 0;
        buffer[have] = 0;
        char *line = buffer;
        for (char *newline; (newline = strchr(line, '\n')); line = newline + 1) {
            *newline = 0;
            take_line(snapshot, line);
        }
        have -= (size_t)(line - buffer);
        if (have == sizeof buffer - 1) /* a path longer than anything sensible */
            have = 0;
        memmove(buffer, line, have);
    }
    cw_sys(SYS_close, fd);
    for (unsigned i = 0; i < snapshot->n; i++)
        complete(&snapshot->objects[i]);
    return true;
}

static const struct snapshot *take_snapshot(void)
{
    if (__atomic_fetch_add(&snapshots_taken, 1, __ATOMIC_RELAXED) >= SNAPSHOTS_MAX)
        return NULL;
    uint32_t generation = CW_GET(changes);
    long at =
        cw_sys(SYS_mmap, NULL, sizeof(struct snapshot), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at <= 0 && at > -4096)
        return NULL;
    struct snapshot *snapshot = (struct snapshot *)at;
    snapshot->generation = generation;
    if (!read_maps(snapshot))
        return NULL;
    __atomic_store_n(&latest, snapshot, __ATOMIC_RELEASE);
    return snapshot;
}

static bool find_in(const struct snapshot *snapshot, uintptr_t pc, struct cw_object *ret_object)
{
    for (unsigned i = 0; i < snapshot->n; i++)
        if (pc >= snapshot->objects[i].start && pc < snapshot->objects[i].end) {
            *ret_object = snapshot->objects[i];
            return true;
        }
    return false;
}

/* JIT code is in no snapshot: looking again is worth it once a second at most. */
static bool find_by_maps(uintptr_t pc, struct cw_object *ret_object)
{
    const struct snapshot *snapshot = __atomic_load_n(&latest, __ATOMIC_ACQUIRE);
    bool fresh = snapshot && snapshot->generation == CW_GET(changes);
    if (fresh && find_in(snapshot, pc, ret_object))
        return true;
    if (CW_GET(cw_static.seccomp))
        return false;
    uint32_t now = cw_now_ms();
    if (fresh && now - CW_GET(last_ms) < 1000)
        return false;
    CW_SET(last_ms, now);
    snapshot = take_snapshot();
    return snapshot && find_in(snapshot, pc, ret_object);
}

/* --- */

/* The program's own mapped range. _dl_find_object gives that of the one segment where a linker left holes between them
 * (Node's is such a program), and the ELF header is then in another. */
static uintptr_t program_start, program_end;

static void find_program(void)
{
    const ElfW(Phdr) *header = (const ElfW(Phdr) *)(uintptr_t)getauxval(AT_PHDR);
    unsigned long n = header ? getauxval(AT_PHNUM) : 0;
    uintptr_t load = 0, low = UINTPTR_MAX, high = 0;
    for (unsigned long i = 0; i < n; i++) {
        if (header[i].p_type == PT_PHDR)
            load = (uintptr_t)header - header[i].p_vaddr;
        if (header[i].p_type != PT_LOAD)
            continue;
        low = header[i].p_vaddr < low ? header[i].p_vaddr & ~(uintptr_t)4095 : low;
        high = header[i].p_vaddr + header[i].p_memsz > high ? header[i].p_vaddr + header[i].p_memsz : high;
    }
    if (low >= high)
        return;
    program_start = load + low;
    program_end = load + high;
}

void cw_objects_init(bool use_maps)
{
    find_program();
    *(void **)&find_object = use_maps ? NULL : dlsym(RTLD_DEFAULT, "_dl_find_object");
    if (!find_object)
        (void)take_snapshot();
}

void cw_objects_changed(void)
{
    __atomic_fetch_add(&changes, 1, __ATOMIC_RELAXED);
}

bool cw_objects_find(uintptr_t pc, struct cw_object *ret_object)
{
    if (!find_object)
        return find_by_maps(pc, ret_object);
    struct found_object found;
    if (find_object((void *)pc, &found) != 0)
        return false;
    bool program = found.map->l_name[0] == '\0' && pc >= program_start && pc < program_end;
    *ret_object = (struct cw_object){.start = program ? program_start : (uintptr_t)found.map_start,
                                     .end = program ? program_end : (uintptr_t)found.map_end,
                                     .load = found.map->l_addr,
                                     .eh_frame_hdr = (uintptr_t)found.eh_frame,
                                     .dynamic = (uintptr_t)found.map->l_ld,
                                     .name = found.map->l_name};
    return true;
}
