#include "cli/symbols/debuginfod.h"

#include "cli/cli.h"
#include "cli/clock.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Say what is waited for after so long, then again at this interval; failures in a row after which a server is left alone. */
enum { SAY_AFTER_MS = 2000, SAY_EVERY_MS = 10000, FAILURES_MAX = 2 };

/* The client library's functions, with the types of elfutils/debuginfod.h. */
typedef int find_function(void *client, const unsigned char *build_id, int build_id_len, char **path);
typedef int progress_function(void *client, long done, long all);

struct cw_debuginfod {
    void *library, *client;
    void (*end)(void *client);
    find_function *find_debuginfo, *find_executable;
    char *urls;
    const char *name; /* of what is being fetched */
    uint64_t say_at_ms;
    unsigned failures; /* in a row */
    bool stopped;
};

static volatile sig_atomic_t interrupted;
static struct cw_debuginfod *current; /* for on_progress: there is one download at a time */

static void on_interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

/* Called about once a second while something is under way; not 0 stops it. */
static int on_progress(void *library_client, long done, long all)
{
    uint64_t now = cw_clock_ms(CLOCK_MONOTONIC);
    char size[64] = "";

    (void)library_client;
    if (interrupted)
        return 1;
    if (now < current->say_at_ms)
        return 0;
    current->say_at_ms = now + SAY_EVERY_MS;
    if (all > 0 && done >= 0 && done <= all)
        snprintf(size, sizeof size, ", %ld of %ld KiB", done / 1024, all / 1024);
    cw_say("fetching debug information of %s from %s%s (Ctrl-C: go on without)", current->name, current->urls, size);
    return 0;
}

/* A function of the library: dlsym's object pointer becomes a function pointer as POSIX wants it. */
static bool get_function(void *library, const char *name, void *ret, size_t ret_bytes)
{
    void *symbol = dlsym(library, name);

    memcpy(ret, &symbol, ret_bytes);
    return symbol != NULL;
}

static bool get_client(struct cw_debuginfod *client)
{
    void *(*begin)(void);
    void (*set_progress)(void *client, progress_function *function);

    if (!get_function(client->library, "debuginfod_begin", &begin, sizeof begin) ||
        !get_function(client->library, "debuginfod_set_progressfn", &set_progress, sizeof set_progress) ||
        !get_function(client->library, "debuginfod_end", &client->end, sizeof client->end) ||
        !get_function(client->library, "debuginfod_find_debuginfo", &client->find_debuginfo,
                      sizeof client->find_debuginfo) ||
        !get_function(client->library, "debuginfod_find_executable", &client->find_executable,
                      sizeof client->find_executable))
        return false;
    client->client = begin();
    if (client->client)
        set_progress(client->client, on_progress);
    return client->client != NULL;
}

struct cw_debuginfod *cw_debuginfod_new(const char *urls, char *why, size_t why_bytes)
{
    struct cw_debuginfod *client;

    if (!urls)
        urls = getenv("DEBUGINFOD_URLS");
    if (!urls || !urls[strspn(urls, " \t")]) {
        snprintf(why, why_bytes,
                 "--debuginfod: no server is named: give --debuginfod=URL (Debian's is https://debuginfod.debian.net), "
                 "or set "
                 "DEBUGINFOD_URLS");
        return NULL;
    }
    client = calloc(1, sizeof *client);
    if (client)
        client->urls = strdup(urls);
    if (!client || !client->urls) {
        snprintf(why, why_bytes, "--debuginfod: no memory");
        cw_debuginfod_free(client);
        return NULL;
    }
    client->library = dlopen("libdebuginfod.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!client->library || !get_client(client)) {
        snprintf(
            why, why_bytes,
            "--debuginfod needs libdebuginfod.so.1, which cannot be loaded here: install it (Debian and Ubuntu: apt "
            "install libdebuginfod1)");
        cw_debuginfod_free(client);
        return NULL;
    }
    return client;
}

void cw_debuginfod_free(struct cw_debuginfod *client)
{
    if (!client)
        return;
    if (client->client)
        client->end(client->client);
    /* The library stays loaded: what it brings along (curl, TLS) is not made to be unloaded. */
    free(client->urls);
    free(client);
}

/* The library reads its servers from the environment; libdw would do so too, unasked, if they were left there. */
static int ask(struct cw_debuginfod *client, find_function *find, const uint8_t *build_id, uint8_t build_id_len,
               char path[PATH_MAX])
{
    char *found = NULL;
    int fd;

    if (setenv("DEBUGINFOD_URLS", client->urls, 1) < 0)
        return -errno;
    fd = find(client->client, build_id, build_id_len, &found);
    unsetenv("DEBUGINFOD_URLS");
    if (fd < 0)
        return fd;
    close(fd);
    fd = found && (size_t)snprintf(path, PATH_MAX, "%s", found) < PATH_MAX ? 0 : -ENAMETOOLONG;
    free(found);
    return fd;
}

bool cw_debuginfod_fetch(struct cw_debuginfod *client, const uint8_t *build_id, uint8_t build_id_len, const char *name,
                         char path[PATH_MAX])
{
    struct sigaction catching = {.sa_handler = on_interrupt}, before;
    int error;

    if (client->stopped || !build_id_len)
        return false;
    interrupted = 0;
    current = client;
    client->name = name;
    client->say_at_ms = cw_clock_ms(CLOCK_MONOTONIC) + SAY_AFTER_MS;
    sigaction(SIGINT, &catching, &before);
    error = ask(client, client->find_debuginfo, build_id, build_id_len, path);
    if (error == -ENOENT && !interrupted)
        error = ask(client, client->find_executable, build_id, build_id_len, path);
    sigaction(SIGINT, &before, NULL);

    if (interrupted) {
        client->stopped = true;
        cw_say("downloads were stopped: the report goes on with what is there");
    } else if (error && error != -ENOENT) {
        client->stopped = ++client->failures >= FAILURES_MAX;
        cw_say("no debug information of %s from %s: %s%s", name, client->urls, strerror(-error),
               client->stopped ? "; it is not asked again" : "");
    } else {
        client->failures = 0;
    }
    return !error;
}
