/* Who has seen the end of the stream? usage: reads HOW; the socket is left in CLOSE_WAIT every time. */
#include "test/e2e/victims/victim.h"

#include <sys/uio.h>

static void udp_empty_datagram(void)
{
    struct sockaddr_in self = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    char byte;
    MUST(fd >= 0 && bind(fd, (struct sockaddr *)&self, sizeof self) == 0);
    self.sin_port = htons(port_of(fd));
    MUST(sendto(fd, "", 0, 0, (struct sockaddr *)&self, sizeof self) == 0);
    MUST(recv(fd, &byte, 1, 0) == 0);
}

static void read_as(const char *how, int fd)
{
    char byte, *line = NULL;
    size_t room = 0;
    struct iovec data = {.iov_base = &byte, .iov_len = 1};
    struct mmsghdr message = {.msg_hdr = {.msg_iov = &data, .msg_iovlen = 1}};
    int pipes[2];
    if (strcmp(how, "read") == 0)
        MUST(read(fd, &byte, 1) == 0);
    else if (strcmp(how, "readv") == 0)
        MUST(readv(fd, &data, 1) == 0);
    else if (strcmp(how, "recv") == 0)
        MUST(recv(fd, &byte, 1, 0) == 0);
    else if (strcmp(how, "recvfrom") == 0)
        MUST(recvfrom(fd, &byte, 1, 0, NULL, NULL) == 0);
    else if (strcmp(how, "recvmsg") == 0)
        MUST(recvmsg(fd, &message.msg_hdr, 0) == 0);
    else if (strcmp(how, "recvmmsg") == 0)
        MUST(recvmmsg(fd, &message, 1, 0, NULL) == 1 && message.msg_len == 0);
    else if (strcmp(how, "splice") == 0)
        MUST(pipe(pipes) == 0 && splice(fd, NULL, pipes[1], NULL, 16, 0) == 0);
    else if (strcmp(how, "syscall-read") == 0)
        MUST(syscall(SYS_read, fd, &byte, 1) == 0);
    else if (strcmp(how, "stdio") == 0)
        MUST(getline(&line, &room, fdopen(fd, "r")) < 0);
    else if (strcmp(how, "peek") == 0)
        MUST(recv(fd, &byte, 1, MSG_PEEK) == 0);
    else if (strcmp(how, "zero-length") == 0)
        MUST(read(fd, &byte, 0) == 0);
    else if (strcmp(how, "zero-iov") == 0)
        MUST(readv(fd, &(struct iovec){.iov_base = &byte}, 1) == 0);
    else if (strcmp(how, "udp") == 0)
        udp_empty_datagram();
    else
        MUST(strcmp(how, "never") == 0);
    free(line);
}

int main(int argc, char **argv)
{
    int fd;
    victim_begin();
    MUST(argc == 2);
    int listener = listen_on(AF_INET);
    take_clients(listener, 1, &fd);
    ask("fin");
    read_as(argv[1], fd);
    end_here();
    return 0;
}
