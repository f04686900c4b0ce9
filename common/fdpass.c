/* SPDX-License-Identifier: Apache-2.0 */
/* fdpass.c - see fdpass.h */
#include "common/fdpass.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"

union fd_control {
	char buf[CMSG_SPACE(2 * sizeof(int))]; /* room for one more, to see that it is one */
	struct cmsghdr align;
};

int fd_send(int sock, const void *data, size_t len, int fd, int flags)
{
	struct iovec iov = { (void *)(uintptr_t)data, len };
	union fd_control control = { .buf = { 0 } };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		struct cmsghdr *c = &control.align;

		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof fd);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof fd);
		memcpy(CMSG_DATA(c), &fd, sizeof fd);
	}
	return sendmsg(sock, &msg, MSG_NOSIGNAL | flags) == (ssize_t)len ? 0 : -errno;
}

/* The descriptor of a message that has exactly one; others are closed. */
static int only_fd(struct msghdr *msg)
{
	int fds[2], fd = -1;
	unsigned n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; CMSG_LEN(at + sizeof fd) <= c->cmsg_len; at += sizeof fd) {
			memcpy(&fd, CMSG_DATA(c) + at, sizeof fd);
			if (n < ARRAY_LEN(fds))
				fds[n++] = fd;
		}
	}
	if (n == 1 && !(msg->msg_flags & MSG_CTRUNC))
		return fds[0];
	while (n)
		close(fds[--n]);
	return -1;
}

ssize_t fd_recv(int sock, void *data, size_t len, int *fd, int flags)
{
	struct iovec iov = { data, len };
	union fd_control control;
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof control };
	ssize_t n = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);

	*fd = -1;
	if (n < 0)
		return -errno;
	*fd = only_fd(&msg);
	return n;
}
