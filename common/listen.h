/* SPDX-License-Identifier: Apache-2.0 */
/* listen.h - addresses that a service listens on: "unix:/path" or "tcp:addr:port"
 *
 * A numeric address only (tcp:127.0.0.1:7589, tcp:[::1]:7589): a service that waits
 * for a name service at its start cannot help to start one. Any thread. */
#ifndef COMMON_LISTEN_H
#define COMMON_LISTEN_H

#include <stdbool.h>
#include <sys/socket.h>

#include "common/err.h"

struct listen_addr {
	struct sockaddr_storage addr;
	socklen_t len;
	bool is_unix;
	bool is_loopback; /* unix counts as such */
};

/* -EINVAL with a sentence that names the text. */
int listen_parse(const char *text, struct listen_addr *out, struct err *err);

/* A listening descriptor, close-on-exec and non-blocking, or -errno. A unix socket is 0600;
 * missing folders above it are made (0755); what a dead service left at its place is
 * removed, but a living one's is -EADDRINUSE. */
int listen_open(const struct listen_addr *a, struct err *err);

/* The port that a TCP descriptor got (for port 0), or 0. */
unsigned listen_port(int fd);

#endif
