/* SPDX-License-Identifier: Apache-2.0 */
/* fdpass.h - bytes over a unix socket, with at most one descriptor beside them
 *
 * Any thread. A message with more than one descriptor, or a cut one, counts as one
 * without; all that came are closed. */
#ifndef COMMON_FDPASS_H
#define COMMON_FDPASS_H

#include <sys/types.h>

/* All of data at once; fd -1: none. flags: MSG_DONTWAIT or 0. 0 or -errno. */
int fd_send(int sock, const void *data, size_t len, int fd, int flags);
/* One receive; flags as for recvmsg(2). The bytes that came (with MSG_TRUNC: that were
 * sent), 0 at the end, or -errno. *fd: close-on-exec, the caller's; -1: none came. */
ssize_t fd_recv(int sock, void *data, size_t len, int *fd, int flags);

#endif
