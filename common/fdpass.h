/* SPDX-License-Identifier: Apache-2.0 */
/* fdpass.h - messages over a unix socket, with at most one descriptor each
 *
 * Any thread. Whoever sends more than one descriptor is not believed: all are closed. */
#ifndef COMMON_FDPASS_H
#define COMMON_FDPASS_H

#include <stddef.h>
#include <sys/types.h>

/* One message, with a descriptor unless fd is -1; flags as for sendmsg(). 0 or -errno. */
int fdpass_send(int sock, const void *data, size_t len, int fd, int flags);
/* One message, without waiting. Returns the bytes that came, whatever len; 0 at the end;
 * or -errno. *fd is the message's only descriptor, close-on-exec, or -1. */
ssize_t fdpass_recv(int sock, void *data, size_t len, int *fd);

#endif
