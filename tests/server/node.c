/* SPDX-License-Identifier: Apache-2.0 */
/* node.c - a node of the server: its port, its verifier, its outages
 *
 *            node_down                     node_refuse
 *   DOWN <------------- LISTENING ---------------------> REFUSING
 *     `------ node_up ----^  ^---- nodes_timers: time over ---'
 *
 * Each way out of LISTENING closes the node's connections. Down is a crash: what
 * was not committed through this node is lost, and the verifier is another. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/server/server.h"

#define BACKLOG 64

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static socklen_t address_of(const struct node *n, union address *a)
{
	*a = (union address){ 0 };
	if (inet_pton(AF_INET6, n->address, &a->v6.sin6_addr) == 1) {
		a->v6.sin6_family = AF_INET6;
		a->v6.sin6_port = htons(n->port);
		return sizeof a->v6;
	}
	if (inet_pton(AF_INET, n->address, &a->v4.sin_addr) != 1)
		return 0;
	a->v4.sin_family = AF_INET;
	a->v4.sin_port = htons(n->port);
	return sizeof a->v4;
}

static void node_event(struct source *src, uint32_t events)
{
	struct node *n = (struct node *)src;
	int fd = accept4(n->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (fd >= 0)
		conn_accept(n, fd);
}

static int node_bind(struct node *n, int fd)
{
	union address a;
	socklen_t len = address_of(n, &a);
	int one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, &a.any, len) || listen(fd, BACKLOG) || getsockname(fd, &a.any, &len))
		return -errno;
	/* The port is at the same place in both. */
	n->port = ntohs(a.v4.sin_port);
	return 0;
}

int node_up(struct node *n)
{
	union address a;
	int fd, rc;

	n->down = false;
	n->refuse_until_ms = 0;
	if (n->fd >= 0)
		return 0;
	if (!address_of(n, &a))
		return -EADDRNOTAVAIL;
	fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	rc = node_bind(n, fd);
	if (rc) {
		close(fd);
		return rc;
	}
	n->fd = fd;
	n->src.event = node_event;
	server_watch(n->srv, fd, &n->src, EPOLLIN, true);
	return 0;
}

static void node_close(struct node *n)
{
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
	conns_close(n->srv, n);
}

void node_restart(struct node *n, bool keep_drc)
{
	conns_close(n->srv, n);
	data_lose(&n->srv->store, n->index);
	n->verf += 1u << 16;
	if (!keep_drc)
		drc_clear(n->srv);
	server_log(n->srv, "node %u restarts", n->index + 1);
}

void node_down(struct node *n)
{
	node_restart(n, true);
	node_close(n);
	n->down = true;
}

void node_refuse(struct node *n, uint64_t ms)
{
	node_close(n);
	n->refuse_until_ms = now_ms() + ms;
	server_log(n->srv, "node %u refuses connections", n->index + 1);
}

int nodes_timers(struct server *srv)
{
	uint64_t now = now_ms();
	int next = -1;

	for (struct node *n = srv->node; n < srv->node + srv->nnodes; n++) {
		int left;

		if (!n->refuse_until_ms || n->down)
			continue;
		if (n->refuse_until_ms <= now && node_up(n))
			n->refuse_until_ms = now + 10; /* the port is still taken */
		left = n->refuse_until_ms ? (int)(n->refuse_until_ms - now) : -1;
		if (left >= 0 && (next < 0 || left < next))
			next = left;
	}
	return next;
}
