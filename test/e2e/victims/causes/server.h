/* A small TCP server in one of six styles, right in all that it does, with places where one fault can be put in.
 *
 * Threads: a pool of workers, each serving one connection at a time by blocking calls. Else: one thread and a loop.
 * It answers each request by "ok". Events that the driver waits for are lines on stdout: parked(). */
#ifndef CAUSES_SERVER_H
#define CAUSES_SERVER_H

#include "loop.h"

#include <stddef.h>
#include <sys/types.h>

#define NOINLINE __attribute__((noinline))

enum next {
    NEXT_MORE, /* may have more to read */
    NEXT_WAIT, /* would block: tell me when there is more */
    NEXT_DONE  /* the server has nothing more to do with it */
};

enum {
    CLIENT_NONE = -1, /* nobody waits */
    CLIENT_TAKEN = -2 /* accepted, but neither loop nor pool is to see it: there may be more */
};

/* What the server does, and where one thing of it is wrong: NULL stands for the right way. */
struct cause {
    const char *name;
    int (*listener)(void);       /* opens the listener that clients connect to */
    int (*client)(int listener); /* the next connection, or one of the two below */
    enum next (*serve)(int fd);  /* something can be read */
    void (*tick)(void);          /* events: every LOOP_TICK_MS */
    void (*run)(void);           /* events: the loop itself */
    bool needs_lock_keeper;
};
extern const struct cause causes[];
extern const size_t n_causes;

struct server {
    enum style style;
    const struct cause *cause;
    struct loop loop; /* events: of the main thread */
    int listener;
    int backend_port;
};
extern struct server server;

static inline bool by_events(void)
{
    return server.style != STYLE_THREADS;
}

/* Says that the fault has been made for one more connection. */
void parked(void);

/* A listener on a port of the kernel's choice. */
int open_listener(void);

/* accept(), non-blocking where the style wants it; CLIENT_NONE where nobody waits, or accept fails. */
int accept_client(int listener);

/* One request, or as much of it as there is: as recv(2). */
ssize_t read_request(int fd, char *buffer, size_t room);
void answer(int fd);

/* What is right: answers a request, closes at the end of stream or after an error. */
enum next serve_rightly(int fd);
enum next after_request(int fd); /* what serve_rightly does when one has come */
enum next close_client(int fd);

/* A lock that another thread holds for ever. */
void wait_for_lock(void);

/* Starts a thread that nobody joins. */
void start_thread(void *(*body)(void *), void *argument);

/* A connection to the driver's backend server, blocking. */
int connect_to_backend(void);

/* Lets some time pass, where a server has to: it has nothing to wait for. */
void breathe(void);

#endif
