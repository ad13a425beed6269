/* A socket passed to a child by SCM_RIGHTS. usage: scm recvmsg|recvmmsg child|parent|truncated */
#include "test/e2e/victims/victim.h"

static void send_fd(int unix_socket, int fd)
{
    char byte = 'f', control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec data = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    MUST(sendmsg(unix_socket, &message, 0) == 1);
}

static int receive_fd(int unix_socket, bool many)
{
    char byte, control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec data = {.iov_base = &byte, .iov_len = 1};
    struct mmsghdr messages[1] = {
        {.msg_hdr = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control}}};
    if (many)
        MUST(recvmmsg(unix_socket, messages, 1, 0, NULL) == 1);
    else
        MUST(recvmsg(unix_socket, &messages[0].msg_hdr, 0) == 1);
    struct cmsghdr *rights = CMSG_FIRSTHDR(&messages[0].msg_hdr);
    MUST(rights != NULL && rights->cmsg_type == SCM_RIGHTS);
    int fd;
    memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    return fd;
}

int main(int argc, char **argv)
{
    int pair[2], client, status;
    victim_begin();
    MUST(argc == 3);
    bool child_keeps = strcmp(argv[2], "child") == 0;
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    pid_t pid = fork(); /* before there is a TCP socket: the child's only way to one is the message */
    if (pid == 0) {
        close(pair[0]);
        int fd = receive_fd(pair[1], strcmp(argv[1], "recvmmsg") == 0);
        ask("fin");
        if (child_keeps)
            on_readable(fd);
        else
            close(fd);
        end_here();
        return 21;
    }
    int listener = listen_on(AF_INET);
    take_clients(listener, 1, &client);
    send_fd(pair[0], client);
    if (child_keeps)
        close(client);
    MUST(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 21);
    end_here();
    return 22;
}
