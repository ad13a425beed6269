/* Ends and closes on small stacks, each with a guard page below it.
 * usage: stacks signal|fiber|exit|close|close_range BYTES
 * signal: SIGTERM comes on a signal stack of that size; fiber: on a fiber's; exit, close of a listener with
 * connections in its queue, close_range: in a thread's. */
#include "test/e2e/victims/victim.h"

#include <pthread.h>
#include <sys/mman.h>
#include <ucontext.h>

static ucontext_t here, fiber;
static const char *mode;
static int listener;

/* Its last bytes lie below readable memory, its first above a page that is not there. */
static void *guarded(size_t bytes)
{
    char *memory = mmap(NULL, bytes + 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(memory != MAP_FAILED);
    MUST(mprotect(memory, 4096, PROT_NONE) == 0);
    return memory + 4096;
}

static void *small(void *arg)
{
    (void)arg;
    if (strcmp(mode, "close") == 0) {
        MUST(close(listener) == 0);
    } else if (strcmp(mode, "close_range") == 0) {
        MUST(close_range((unsigned)listener, (unsigned)listener, 0) == 0);
    } else {
        end_here();
        exit(4);
    }
    return NULL;
}

static void on_fiber(void)
{
    end_here();
    for (;;)
        pause();
}

static void in_thread(size_t bytes)
{
    pthread_attr_t attr;
    pthread_t thread;
    MUST(pthread_attr_init(&attr) == 0);
    MUST(pthread_attr_setstack(&attr, guarded(bytes), bytes) == 0);
    MUST(pthread_create(&thread, &attr, small, NULL) == 0);
    MUST(pthread_join(thread, NULL) == 0);
}

int main(int argc, char **argv)
{
    int fds[2];
    victim_begin();
    MUST(argc == 3);
    mode = argv[1];
    size_t bytes = (size_t)atoi(argv[2]);
    listener = listen_on(AF_INET);
    take_clients(listener, 2, fds);
    if (strcmp(mode, "close") == 0 || strcmp(mode, "close_range") == 0)
        ask("connect %d 8 4", port_of(listener));
    ask("fin");
    if (strcmp(mode, "signal") == 0) {
        stack_t stack = {.ss_sp = guarded(bytes), .ss_size = bytes};
        MUST(sigaltstack(&stack, NULL) == 0);
    } else if (strcmp(mode, "fiber") == 0) {
        MUST(getcontext(&fiber) == 0);
        fiber.uc_stack.ss_sp = guarded(bytes);
        fiber.uc_stack.ss_size = bytes;
        fiber.uc_link = &here;
        makecontext(&fiber, on_fiber, 0);
        MUST(swapcontext(&here, &fiber) == 0);
    } else {
        in_thread(bytes);
    }
    end_here();
    return 0;
}
