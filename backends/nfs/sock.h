/* SPDX-License-Identifier: Apache-2.0 */
/* sock.h - TCP sockets to a server: names to addresses, connecting, tuning
 *
 * Every descriptor is non-blocking and close-on-exec. */
#ifndef BACKENDS_NFS_SOCK_H
#define BACKENDS_NFS_SOCK_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "backends/backend.h"

#define NSOCK_ADDRS_MAX 8
#define NSOCK_HOST_MAX 256

/* Where to connect, and how. */
struct nsock_target {
	char host[NSOCK_HOST_MAX];
	uint16_t port;
	bool resvport;
	unsigned naddr; /* 0 with dial: others resolve */
	struct {
		struct sockaddr_storage sa;
		socklen_t len;
	} addr[NSOCK_ADDRS_MAX];
	/* From be_env: connects in our place; or NULL. */
	int (*dial)(void *arg, const char *host, uint16_t port, bool resvport, struct err *err);
	void *dial_arg;
};

/* Looks host up (blocks; not needed with dial). -ENOENT with a sentence: t is as it was. */
int nsock_resolve(struct nsock_target *t, struct err *err);
void nsock_set_port(struct nsock_target *t, uint16_t port);
/* Starts to connect to address i: an fd that is connected or becomes writable when
 * it is (nsock_connected()), or -errno. */
int nsock_start(const struct nsock_target *t, unsigned i);
/* 0 when fd, now writable, is connected; else -errno. */
int nsock_connected(int fd);
/* Asks t->dial for a connection. */
int nsock_dial(const struct nsock_target *t, struct err *err);
/* Connects to the first address that answers, until deadline_ms. An fd, or -errno with a sentence. */
int nsock_connect(const struct nsock_target *t, uint64_t deadline_ms, struct err *err);

#endif
