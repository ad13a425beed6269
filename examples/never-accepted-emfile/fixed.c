/* leaky.c without its bug: the file of a page is closed when it has been read. See README.md.
 * Usage: fixed [PORT]; prints "ready PORT" once it listens (port 0: any free one). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FD_LIMIT = 32, PAGES = 40, PAGE_BYTES = 4096 };

static char pages[PAGES][PAGE_BYTES];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int listen_on(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int on = 1;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 512) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        die("listen");
    printf("ready %u\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

/* Every page is the same file here. */
static void load_page(char *page)
{
    int file = open("/proc/version", O_RDONLY | O_CLOEXEC);

    if (file < 0 || read(file, page, PAGE_BYTES - 1) < 0)
        strcpy(page, "page not found\n");
    if (file >= 0)
        close(file);
}

/* "GET /7": page 7. */
static void serve_client(int fd)
{
    char request[PAGE_BYTES];
    ssize_t n = recv(fd, request, sizeof request - 1, 0);

    if (n > 0) {
        request[n] = 0;
        const char *page = pages[n > 5 ? strtoul(request + 5, NULL, 10) % PAGES : 0];
        send(fd, page, strlen(page), MSG_NOSIGNAL);
    }
    close(fd);
}

static void accept_clients(int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

        if (fd >= 0) {
            serve_client(fd);
        } else {
            perror("accept");
            sleep(1); /* perhaps there is room later */
        }
    }
}

int main(int argc, char **argv)
{
    struct rlimit files;
    int listener;

    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        die("getrlimit");
    files.rlim_cur = FD_LIMIT; /* in life 1024: it only takes more pages */
    if (setrlimit(RLIMIT_NOFILE, &files) < 0)
        die("setrlimit");
    listener = listen_on((uint16_t)(argc > 1 ? atoi(argv[1]) : 0));
    for (int i = 0; i < PAGES; i++)
        load_page(pages[i]);
    accept_clients(listener);
}
