/* SPDX-License-Identifier: Apache-2.0 */
/* sock.h - TCP sockets to a server: names to addresses, connecting, tuning
 *
 * Every descriptor is non-blocking and close-on-exec. */
#ifndef BACKENDS_SOCK_H
#define BACKENDS_SOCK_H

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
	/* From be_env: connect in our place; or NULL. */
	int (*dial)(void *arg, const struct be_dial *want, struct err *err);
	int (*dialled)(int fd_take, struct err *err);
	void *dial_arg;
};

/* What every connection gets: no delay, keepalive, a limit for what is not acknowledged. Those made here have it. */
void nsock_tune(int fd);
/* Looks host up (blocks; not needed with dial). -ENOENT with a sentence: t is as it was. */
int nsock_resolve(struct nsock_target *t, struct err *err);
void nsock_set_port(struct nsock_target *t, uint16_t port);
/* Starts to connect to address i modulo naddr: an fd that is connected or becomes
 * writable when it is (nsock_connected()), or -errno, with a sentence. */
int nsock_start(const struct nsock_target *t, unsigned i, struct err *err);
/* 0 when fd, now writable, is connected; else -errno. */
int nsock_connected(int fd);
/* With t->dial: asks for a connection, address first of the name before the others.
 * An fd that becomes readable when nsock_dialled() can be called, or -errno. */
int nsock_dial(const struct nsock_target *t, unsigned first, uint32_t limit_ms, struct err *err);
/* Takes what nsock_dial() returned: the connection, or -errno with a sentence. */
int nsock_dialled(const struct nsock_target *t, int fd_take, struct err *err);
/* Connects, by t->dial or by itself, until deadline_ms or until *stop (may be NULL).
 * By itself: to address first, and every NSOCK_STAGGER_MS to another one beside
 * it; the first that answers is the one. An fd, or -errno with a sentence. */
int nsock_connect(const struct nsock_target *t, unsigned first, uint64_t deadline_ms,
		  const atomic_bool *stop, struct err *err);
#define NSOCK_STAGGER_MS 500

#endif
