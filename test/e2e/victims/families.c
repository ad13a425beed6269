/* Address families and ways to come by a socket.
 * usage: families accept|accept4|syscall|asm|connect|nonblock 4|6|mapped */
#include "test/e2e/victims/victim.h"

static int raw_accept(int listener)
{
    long ret;
    register long r10 __asm__("r10") = 0;
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(SYS_accept4), "D"(listener), "S"(0), "d"(0), "r"(r10)
                     : "rcx", "r11", "memory");
    return (int)ret;
}

static int connect_to(int family, uint16_t port, bool nonblock)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in four = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(family, SOCK_STREAM | (nonblock ? SOCK_NONBLOCK : 0), 0);
    MUST(fd >= 0);
    int ret = family == AF_INET6 ? connect(fd, (struct sockaddr *)&six, sizeof six)
                                 : connect(fd, (struct sockaddr *)&four, sizeof four);
    if (ret < 0) {
        struct pollfd output = {.fd = fd, .events = POLLOUT};
        int error = 0;
        socklen_t length = sizeof error;
        MUST(nonblock && errno == EINPROGRESS && poll(&output, 1, 10000) == 1);
        MUST(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0);
    }
    return fd;
}

static int accept_as(const char *how, int family)
{
    int listener = listen_on(family);
    ask("connect %d 1 %s", port_of(listener), family == AF_INET6 ? "6" : "4");
    if (strcmp(how, "asm") == 0)
        return raw_accept(listener);
    if (strcmp(how, "accept4") == 0)
        return accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (strcmp(how, "syscall") == 0)
        return (int)syscall(SYS_accept4, listener, NULL, NULL, 0);
    return accept_client(listener);
}

int main(int argc, char **argv)
{
    victim_begin();
    MUST(argc == 3);
    const char *how = argv[1];
    int family = strcmp(argv[2], "4") == 0 ? AF_INET : AF_INET6, fd;
    if (strcmp(how, "connect") == 0 || strcmp(how, "nonblock") == 0) {
        int port = atoi(ask("serve %s", argv[2]));
        fd = connect_to(family, (uint16_t)port, strcmp(how, "nonblock") == 0);
        ask("accept 1");
        MUST(write(fd, "GET\n", 4) == 4);
        ask("recv 0 4");
    } else if (strcmp(argv[2], "mapped") == 0) {
        int listener = listen_on(AF_INET6);
        ask("connect %d 1 mapped", port_of(listener));
        fd = accept_client(listener);
    } else {
        fd = accept_as(how, family);
    }
    MUST(fd >= 0);
    ask("fin");
    char buf[16];
    MUST(strcmp(how, "asm") == 0 || read(fd, buf, sizeof buf) == 0);
    end_here();
    return 0;
}
