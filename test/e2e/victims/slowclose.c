/* fclose that blocks while it writes what is buffered; meanwhile other threads go on, and sweeps find the socket open still.
 * Afterwards another connection gets the number, and is leaked. usage: slowclose */
#include "test/e2e/victims/victim.h"

#include <pthread.h>

enum { BUFFER_BYTES = 32 << 20 };

static char buffer[BUFFER_BYTES];

static void *close_slowly(void *fd_at)
{
    FILE *stream = fdopen(*(int *)fd_at, "w");
    MUST(stream != NULL && setvbuf(stream, buffer, _IOFBF, sizeof buffer) == 0);
    for (int i = 0; i < BUFFER_BYTES - 1; i++)
        putc('x', stream);
    MUST(fclose(stream) != 0); /* the peer has gone */
    return NULL;
}

int main(void)
{
    victim_begin();
    signal(SIGPIPE, SIG_IGN);
    int listener = listen_on(AF_INET), client = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    MUST(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    MUST(client >= 0 && connect(client, (struct sockaddr *)&address, length) == 0);
    int fd = accept_client(listener);
    pthread_t thread;
    MUST(pthread_create(&thread, NULL, close_slowly, &fd) == 0);
    for (int i = 0; i < 30; i++) /* sweeps are made on the way through such calls, once a second */
        MUST(poll(NULL, 0, 100) == 0);
    MUST(close(client) == 0); /* unread data: a reset */
    MUST(pthread_join(thread, NULL) == 0);
    MUST(open("/dev/null", O_RDONLY) == client); /* the lower number is taken, so that the next one is fd's */
    int next;
    take_clients(listener, 1, &next);
    MUST(next == fd);
    ask("fin");
    on_readable(next);
    end_here();
    return 0;
}
