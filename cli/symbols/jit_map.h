/* Names of just-in-time compiled code, from the /tmp/perf-PID.map that V8, the JVM and others write for perf.
 *
 * Single-threaded, as everything in the tool. */
#ifndef CLI_SYMBOLS_JIT_MAP_H
#define CLI_SYMBOLS_JIT_MAP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cw_jit_map;

/* The map of a process (pid as it sees itself; root: "" or "/proc/PID/root"), or NULL if there is none that belongs to
 * uid, to root or to us: /tmp is anybody's. */
struct cw_jit_map *cw_jit_map_open(const char *root, pid_t pid, uid_t uid);

/* The name of the code at an address, as long as the map is open; NULL if unknown. The youngest entry counts: code is
 * moved and its place reused. */
const char *cw_jit_map_lookup(const struct cw_jit_map *map, uint64_t address);

void cw_jit_map_close(struct cw_jit_map *map);

#endif
