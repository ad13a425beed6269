#include "core/frames.h"

#include <string.h>

unsigned cw_frame_symbols(const struct cw_view *view, const struct cw_resolver *resolver, uint64_t frame,
                          struct cw_symbol *symbols)
{
    if (!resolver || !resolver->resolve)
        return 0;
    unsigned n = resolver->resolve(resolver->ctx, view, frame, symbols, CW_SYMBOLS_MAX);
    return n < CW_SYMBOLS_MAX ? n : CW_SYMBOLS_MAX;
}

const char *cw_basename(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

const char *cw_frame_module_name(const struct cw_view *view, uint64_t frame)
{
    const struct cw_module *module = cw_view_module(view, CW_FRAME_MODULE(frame));
    return module ? cw_basename(cw_view_string(view, module->path)) : "";
}

void cw_frame_place(struct cw_out *out, const struct cw_view *view, uint64_t frame)
{
    const char *name = cw_frame_module_name(view, frame);

    if (*name) {
        cw_out_safe(out, name);
        cw_out_char(out, '+');
    }
    cw_out_str(out, "0x");
    cw_out_hex(out, CW_FRAME_OFFSET(frame));
}

void cw_module_build_id(struct cw_out *out, const struct cw_module *module)
{
    size_t n = module->build_id_len < sizeof(module->build_id) ? module->build_id_len : sizeof(module->build_id);

    for (size_t i = 0; i < n; i++) {
        cw_out_char(out, "0123456789abcdef"[module->build_id[i] >> 4]);
        cw_out_char(out, "0123456789abcdef"[module->build_id[i] & 15]);
    }
}

static unsigned module_kind(const struct cw_view *view, uint64_t frame)
{
    const struct cw_module *module = cw_view_module(view, CW_FRAME_MODULE(frame));
    return module ? module->kind : (unsigned)CW_MODULE_OTHER;
}

static bool is_system(unsigned kind)
{
    return kind == CW_MODULE_LIBC || kind == CW_MODULE_LOADER || kind == CW_MODULE_VDSO;
}

/* Whether the outermost function at this frame is where a thread or the program begins. The names count in libc alone:
 * a program may well have a function called clone. */
static bool is_start(const struct cw_view *view, const struct cw_resolver *resolver, uint64_t frame,
                     struct cw_symbol *symbols)
{
    static const char *const in_libc[] = {"__libc_start_main",
                                          "__libc_start_main_impl",
                                          "__libc_start_call_main",
                                          "start_thread",
                                          "clone",
                                          "clone3",
                                          "__clone",
                                          "__clone3"};
    unsigned n = cw_frame_symbols(view, resolver, frame, symbols);
    const char *function = n ? symbols[n - 1].function : NULL;

    if (!function)
        return false;
    /* Of a static program the program's own. */
    if (!strcmp(function, "_start") || !strncmp(function, "__libc_start_", 13))
        return true;
    for (size_t i = 0; is_system(module_kind(view, frame)) && i < sizeof(in_libc) / sizeof(in_libc[0]); i++)
        if (!strcmp(function, in_libc[i]))
            return true;
    return false;
}

static bool has_name(const struct cw_view *view, const struct cw_resolver *resolver, uint64_t frame,
                     struct cw_symbol *symbols)
{
    unsigned n = cw_frame_symbols(view, resolver, frame, symbols);
    return n && symbols[n - 1].function;
}

/* Start-up code without names: libc's frames at the outer end, and below them the program's own _start. */
static unsigned cut_nameless(const struct cw_view *view, const struct cw_resolver *resolver, const uint64_t *frames,
                             unsigned n, struct cw_symbol *symbols)
{
    unsigned end = n;

    if (end > 1 && module_kind(view, frames[end - 2]) == CW_MODULE_LIBC &&
        !has_name(view, resolver, frames[end - 1], symbols) && !has_name(view, resolver, frames[end - 2], symbols))
        end--;
    while (end && module_kind(view, frames[end - 1]) == CW_MODULE_LIBC &&
           !has_name(view, resolver, frames[end - 1], symbols))
        end--;
    return end && end < n && module_kind(view, frames[end]) == CW_MODULE_LIBC ? end : n;
}

unsigned cw_frames_shown(const struct cw_view *view, const struct cw_resolver *resolver, uint32_t stack,
                         struct cw_symbol *symbols, uint64_t ret_frames[CW_STACK_MAX_FRAMES])
{
    const uint64_t *all = NULL;
    unsigned flags = 0, n = 0, total = cw_view_stack(view, stack, &all, &flags);
    bool cut = false;

    for (unsigned i = 0; i < total && !cut; i++) {
        if (module_kind(view, all[i]) == CW_MODULE_SHIM)
            continue;
        cut = n && is_start(view, resolver, all[i], symbols);
        if (!cut)
            ret_frames[n++] = all[i];
    }
    /* Without libc's debug symbols __libc_start_main is known, being exported, and the frame above it is not. */
    while (cut && n > 1 && module_kind(view, ret_frames[n - 1]) == CW_MODULE_LIBC &&
           !has_name(view, resolver, ret_frames[n - 1], symbols))
        n--;
    /* A stack that was cut short does not end in start-up code. */
    if (n && !cut && !(flags & (CW_STACK_TRUNCATED | CW_STACK_CALLER_ONLY)))
        n = cut_nameless(view, resolver, ret_frames, n, symbols);
    if (!n && total) {
        memcpy(ret_frames, all, total * sizeof(*all));
        n = total;
    }
    return n;
}

uint64_t cw_hash_bytes(uint64_t hash, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
    return hash;
}

uint64_t cw_hash_str(uint64_t hash, const char *s)
{
    return cw_hash_bytes(hash, s, strlen(s) + 1);
}

static bool has_build_id(const struct cw_module *module)
{
    return module->build_id_len && module->build_id_len <= sizeof(module->build_id);
}

/* As much of a file's name as tells it from others. */
enum { HASHED_BYTES = 64 };

static uint64_t hash_name(uint64_t hash, const char *name)
{
    return cw_hash_str(cw_hash_bytes(hash, name, strnlen(name, HASHED_BYTES)), "");
}

static uint64_t hash_frame(uint64_t hash, const struct cw_view *view, uint64_t frame)
{
    const struct cw_module *module = cw_view_module(view, CW_FRAME_MODULE(frame));
    const char *name = module && !has_build_id(module) ? cw_frame_module_name(view, frame) : "";
    uint64_t offset = CW_FRAME_OFFSET(frame);

    if (!module) /* an address: another one in the next run */
        return cw_hash_str(hash, "?");
    if (has_build_id(module))
        hash = cw_hash_bytes(hash, module->build_id, module->build_id_len);
    else
        hash = hash_name(hash, name);
    return cw_hash_bytes(hash, &offset, sizeof(offset));
}

uint64_t cw_hash_stack(uint64_t hash, const struct cw_view *view, uint32_t stack)
{
    const uint64_t *all = NULL;
    unsigned n = cw_view_stack(view, stack, &all, NULL), own = 0;

    for (unsigned i = 0; i < n; i++) {
        unsigned kind = module_kind(view, all[i]);
        if (kind == CW_MODULE_SHIM || is_system(kind))
            continue;
        hash = hash_frame(hash, view, all[i]);
        own++;
    }
    for (unsigned i = 0; !own && i < n; i++)
        hash = hash_frame(hash, view, all[i]);
    return cw_hash_str(hash, "."); /* the end of the stack: two stacks in a row are not one long one */
}

uint64_t cw_hash_functions(uint64_t hash, const struct cw_view *view, const struct cw_resolver *resolver,
                           uint32_t stack, struct cw_symbol *symbols)
{
    uint64_t frames[CW_STACK_MAX_FRAMES];
    unsigned n = cw_frames_shown(view, resolver, stack, symbols, frames);

    for (unsigned i = 0; i < n; i++) {
        hash = hash_name(hash, cw_frame_module_name(view, frames[i]));
        /* The outermost of an inlined chain: what is inlined changes from build to build. */
        unsigned k = cw_frame_symbols(view, resolver, frames[i], symbols);
        hash = cw_hash_str(hash, k && symbols[k - 1].function ? symbols[k - 1].function : "?");
    }
    return cw_hash_str(hash, ".");
}
