/* ELF objects as records in the ledger. See modules.h. */
#define _GNU_SOURCE
#include "preload/modules.h"

#include "preload/ledger_file.h"
#include "preload/objects.h"
#include "preload/state.h"
#include "preload/sys.h"

#include <elf.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>

enum { READY = 1, UNLOADED = 2 };

static bool holds(const struct cw_object *object, uintptr_t address)
{
    return address >= object->start && address < object->end;
}

static bool is_main(const struct cw_object *object)
{
    return object->name[0] == 0 || holds(object, getauxval(AT_ENTRY));
}

static enum cw_module_kind kind_of(const struct cw_object *object)
{
    if (is_main(object))
        return CW_MODULE_MAIN;
    if (holds(object, (uintptr_t)&gnu_get_libc_version))
        return CW_MODULE_LIBC;
    if (holds(object, getauxval(AT_BASE)))
        return CW_MODULE_LOADER;
    if (holds(object, (uintptr_t)&cw_modules_frame))
        return CW_MODULE_SHIM;
    if (holds(object, getauxval(AT_SYSINFO_EHDR)))
        return CW_MODULE_VDSO;
    return CW_MODULE_OTHER;
}

/* The GNU build-id out of an object's notes; returns its length, 0 if it has none. */
static uint8_t build_id_of(const struct cw_object *object, uint8_t ret_id[20])
{
    uintptr_t at;
    size_t bytes;
    for (unsigned nth = 0; cw_objects_segment(object, PT_NOTE, nth, &at, &bytes); nth++) {
        while (bytes >= sizeof(ElfW(Nhdr)) && cw_objects_readable(at)) {
            const ElfW(Nhdr) *note = (const void *)at;
            size_t name = ((size_t)note->n_namesz + 3) & ~(size_t)3, desc = ((size_t)note->n_descsz + 3) & ~(size_t)3;
            size_t whole = sizeof *note + name + desc;
            if (whole > bytes)
                break;
            const char *text = (const char *)(note + 1);
            if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && memcmp(text, "GNU", 4) == 0) {
                size_t length = note->n_descsz < 20 ? note->n_descsz : 20;
                memcpy(ret_id, text + name, length);
                return (uint8_t)length;
            }
            at += whole;
            bytes -= whole;
        }
    }
    return 0;
}

static char *append_hex(char *at, uintptr_t value)
{
    unsigned digits = 1;
    while (digits < 16 && value >> (4 * digits))
        digits++;
    while (digits--)
        *at++ = "0123456789abcdef"[value >> (4 * digits) & 0xf];
    return at;
}

/* The loader keeps the name that it was given, which may be relative to a working directory long left. The kernel
 * knows the path of each mapping; asking takes no fd. Returns the length, or 0 if it cannot be had. */
static size_t mapped_path(const struct cw_object *object, char *ret_path, size_t max)
{
    uintptr_t first;
    size_t bytes;
    if (CW_GET(cw_static.seccomp) || !cw_objects_segment(object, PT_LOAD, 0, &first, &bytes))
        return 0;
    char link[64] = "/proc/self/map_files/";
    char *at = append_hex(link + strlen(link), object->start);
    *at++ = '-';
    at = append_hex(at, (first + bytes + 4095) & ~(uintptr_t)4095);
    *at = 0;
    long got = cw_sys(SYS_readlinkat, AT_FDCWD, link, ret_path, max - 1);
    if (got <= 0 || ret_path[0] != '/')
        return 0;
    ret_path[got] = 0;
    return (size_t)got;
}

/* Adds a string to STRINGS: its id, 0 if there is no room. */
static uint32_t add_string(const char *text)
{
    struct cw_view *view = &CW_P->view;
    uint32_t *used = &view->header->sections[CW_SECTION_STRINGS].used;
    size_t bytes = strlen(text) + 1;
    uint32_t seen = CW_GET(*used), id;
    do {
        id = seen ? seen : 1;
        if (id >= view->n_strings || view->n_strings - id < bytes ||
            cw_ledger_reserve(CW_SECTION_STRINGS, id, (uint32_t)bytes))
            return 0;
    } while (
        !__atomic_compare_exchange_n(used, &seen, id + (uint32_t)bytes, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    memcpy(view->strings + id, text, bytes);
    return id;
}

static void fill(struct cw_module *module, const struct cw_object *object)
{
    char path[512];
    const char *name = object->name;
    enum cw_module_kind kind = kind_of(object);
    if (kind == CW_MODULE_MAIN)
        name = CW_P->view.header->exe;
    else if (kind != CW_MODULE_VDSO && name[0] != '/' && mapped_path(object, path, sizeof path))
        name = path;
    CW_SET(module->load, object->load);
    CW_SET(module->end, object->end);
    CW_SET(module->path, add_string(name));
    module->build_id_len = build_id_of(object, module->build_id);
    module->kind = (uint8_t)kind;
    __atomic_store_n(&module->flags, READY, __ATOMIC_RELEASE);
}

static void raise_used(uint32_t to)
{
    uint32_t *used = &CW_P->view.header->sections[CW_SECTION_MODULES].used;
    uint32_t seen = CW_GET(*used);
    while (seen < to && !__atomic_compare_exchange_n(used, &seen, to, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
}

/* Whether a record stands for this object. One that is still being filled in does if it starts at the same address. */
static bool is_record_of(struct cw_module *module, const struct cw_object *object)
{
    uint32_t flags = __atomic_load_n(&module->flags, __ATOMIC_ACQUIRE);
    if (flags & UNLOADED)
        return false;
    if (!(flags & READY) || (CW_GET(module->end) == object->end && CW_GET(module->load) == object->load))
        return true;
    __atomic_fetch_or(&module->flags, UNLOADED, __ATOMIC_RELAXED); /* something else lies there now */
    return false;
}

/* The index of an object's record, which is added if it is new; 0 if there is no room. */
static uint32_t record_of(const struct cw_object *object)
{
    struct cw_view *view = &CW_P->view;
    uint32_t used = CW_GET(view->header->sections[CW_SECTION_MODULES].used);
    uint32_t limit = view->n_modules < 65536 ? view->n_modules : 65536; /* a frame has 16 bits for it */
    for (uint32_t i = 1; i < limit; i++) {
        if (i >= used && cw_ledger_reserve(CW_SECTION_MODULES, i, 1))
            return 0;
        struct cw_module *module = &view->modules[i];
        uint64_t start = __atomic_load_n(&module->start, __ATOMIC_ACQUIRE);
        if (start == 0 && __atomic_compare_exchange_n(&module->start, &start, object->start, false, __ATOMIC_ACQ_REL,
                                                      __ATOMIC_ACQUIRE)) {
            raise_used(i + 1);
            fill(module, object);
            return i;
        }
        if (start == object->start && is_record_of(module, object))
            return i;
    }
    return 0;
}

uint64_t cw_modules_frame(uintptr_t ip)
{
    struct cw_object object;
    uint32_t module = 0;
    if (cw_objects_find(ip - 1, &object)) /* the call, which may be its function's last instruction */
        module = record_of(&object);
    return module ? CW_FRAME(module, ip - object.load) : CW_FRAME(0, ip);
}

void cw_modules_code_unloaded(void)
{
    struct cw_view *view = &CW_P->view;
    uint32_t used = CW_GET(view->header->sections[CW_SECTION_MODULES].used);
    for (uint32_t i = 1; i < used && i < view->n_modules; i++) {
        struct cw_module *module = &view->modules[i];
        struct cw_object object;
        if (!(__atomic_load_n(&module->flags, __ATOMIC_ACQUIRE) & READY))
            continue;
        if (!cw_objects_find(CW_GET(module->start), &object) || object.end != CW_GET(module->end) ||
            object.load != CW_GET(module->load))
            __atomic_fetch_or(&module->flags, UNLOADED, __ATOMIC_RELAXED);
    }
}
