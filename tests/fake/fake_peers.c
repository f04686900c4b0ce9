/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/fake_peers.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

int fake_peers_dial(void *arg, const struct be_dial *want, struct err *err)
{
	struct fake_peers *p = arg;
	int pair[2], n = atomic_load(&p->n);

	(void)want;
	(void)err;
	if (atomic_load(&p->refuse) > 0) {
		atomic_fetch_sub(&p->refuse, 1);
		return -ECONNREFUSED;
	}
	if (n == FAKE_PEERS_MAX || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -EMFILE;
	p->fd[n] = pair[1];
	atomic_store(&p->n, n + 1); /* publishes the end */
	return pair[0];
}

int fake_peers_wait(struct fake_peers *p, int i)
{
	for (int ms = 0; ms < FAKE_PEERS_WAIT_MS && atomic_load(&p->n) <= i; ms++)
		poll(NULL, 0, 1);
	assert(atomic_load(&p->n) > i);
	return p->fd[i];
}

void fake_peers_hang_up(struct fake_peers *p, int i)
{
	if (p->fd[i] >= 0)
		close(p->fd[i]);
	p->fd[i] = -1;
}

void fake_peers_done(struct fake_peers *p)
{
	for (int i = 0; i < atomic_load(&p->n); i++)
		fake_peers_hang_up(p, i);
	atomic_store(&p->n, 0);
	atomic_store(&p->refuse, 0);
}

bool fake_peers_read(int fd, void *buf, size_t n)
{
	for (size_t got = 0; got < n;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t r;

		if (poll(&p, 1, FAKE_PEERS_WAIT_MS) != 1)
			return false;
		r = read(fd, (char *)buf + got, n - got);
		if (r <= 0)
			return false;
		got += (size_t)r;
	}
	return true;
}
