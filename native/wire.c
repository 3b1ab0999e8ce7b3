/* Packets with descriptors over SOCK_SEQPACKET. */
#define _GNU_SOURCE
#include "wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

union control {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int) * WIRE_DESCRIPTORS)];
};

int wire_send(int socket, const void *head, size_t size, const void *text, size_t length, const int *fds, int count)
{
    struct iovec parts[2] = {{(void *)head, size}, {(void *)text, length}};
    union control control;
    struct msghdr packet = {.msg_iov = parts, .msg_iovlen = length ? 2 : 1};
    if (count) {
        memset(&control, 0, CMSG_SPACE(sizeof(int) * (size_t)count));
        packet.msg_control = &control;
        packet.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
        memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * (size_t)count);
    }
    ssize_t sent;
    do
        sent = sendmsg(socket, &packet, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

ssize_t wire_receive(int socket, void *data, size_t size, int *fds, int *count)
{
    struct iovec part = {data, size};
    union control control;
    struct msghdr packet = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t got;
    *count = 0;
    do
        got = recvmsg(socket, &packet, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return -errno;
    for (struct cmsghdr *part_ = CMSG_FIRSTHDR(&packet); part_; part_ = CMSG_NXTHDR(&packet, part_)) {
        if (part_->cmsg_level != SOL_SOCKET || part_->cmsg_type != SCM_RIGHTS)
            continue;
        *count = (int)((part_->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(fds, CMSG_DATA(part_), part_->cmsg_len - CMSG_LEN(0));
    }
    return got;
}

const char *wire_next(const char *text, const char *end)
{
    static const char none[] = "";
    const char *stop = text < end ? memchr(text, 0, (size_t)(end - text)) : NULL;
    return stop && stop + 1 < end ? stop + 1 : none;
}
