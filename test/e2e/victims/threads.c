/* N threads accept and close at once while the runner hammers; then `left` sockets are left behind.
 * usage: threads N EACH LEFT */
#include "test/e2e/victims/victim.h"

#include <pthread.h>

static int listener, each;

static void *serve(void *arg)
{
    (void)arg;
    for (int i = 0; i < each; i++) {
        char byte;
        int fd = accept_client(listener);
        MUST(read(fd, &byte, 1) == 1);
        MUST(write(fd, &byte, 1) == 1);
        MUST(close(fd) == 0);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[64];
    int fds[16];
    victim_begin();
    MUST(argc == 4);
    int n = atoi(argv[1]), left = atoi(argv[3]);
    each = atoi(argv[2]);
    MUST(n > 0 && n <= 64 && left >= 0 && left <= 16);
    listener = listen_on(AF_INET);
    for (int i = 0; i < n; i++)
        MUST(pthread_create(&threads[i], NULL, serve, NULL) == 0);
    const char *answer = ask("hammer %d %d %d", port_of(listener), n, each);
    MUST(answer != NULL && strcmp(answer, "ok") == 0);
    for (int i = 0; i < n; i++)
        MUST(pthread_join(threads[i], NULL) == 0);
    take_clients(listener, left, fds);
    ask("fin");
    end_here();
    return 0;
}
