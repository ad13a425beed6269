/* The ELF objects of this process: which one holds a code address, and where its unwind tables lie.
 *
 * Answers come from glibc's lock-free _dl_find_object; where that is missing (before glibc 2.35) from snapshots of
 * /proc/self/maps. Takes no lock, mallocs nothing. Any thread, a signal handler, a forked child, unless said
 * otherwise. */
#ifndef PRELOAD_OBJECTS_H
#define PRELOAD_OBJECTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cw_object {
    uintptr_t start, end;   /* mapped range, holes included */
    uintptr_t load;         /* load address: what the file's own addresses are relative to */
    uintptr_t eh_frame_hdr; /* PT_GNU_EH_FRAME, 0 if it has none */
    uintptr_t dynamic;      /* PT_DYNAMIC, 0 if unknown */
    const char *name;       /* as the loader knows it; "" for the program itself. Valid until the object is unloaded */
};

/* At load: finds _dl_find_object. `use_maps` (tests) does without it. */
void cw_objects_init(bool use_maps);

/* The object that maps `pc`; false if none does (JIT code, or not code at all). */
bool cw_objects_find(uintptr_t pc, struct cw_object *ret_object);

/* Code was loaded or unloaded: snapshots are stale. */
void cw_objects_changed(void);

/* Whether the 8 bytes at an address can be read: asks the kernel, without a fault and without any right but that to
 * set one's own signal mask (rt_sigprocmask copies the set before it refuses a senseless `how`). Where a seccomp
 * filter might punish that nothing is asked and the answer is true: only for addresses that are very
 * likely good. */
bool cw_objects_readable(uintptr_t address);

/* A program header of an object, checked against its mapped range: its run-time address and size; false if it has
 * none. */
bool cw_objects_segment(const struct cw_object *object, uint32_t type, unsigned nth, uintptr_t *ret_start,
                        size_t *ret_bytes);

#endif
