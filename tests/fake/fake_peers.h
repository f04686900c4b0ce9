/* SPDX-License-Identifier: Apache-2.0 */
/* fake_peers.h - connections whose server a test plays itself: a dialler that keeps the other ends of socket pairs */
#ifndef TESTS_FAKE_FAKE_PEERS_H
#define TESTS_FAKE_FAKE_PEERS_H

#include <stdbool.h>
#include <stddef.h>

#include "backends/backend.h"

#define FAKE_PEERS_MAX 8
#define FAKE_PEERS_WAIT_MS 10000

struct fake_peers {
	_Atomic int refuse;     /* so many dials fail */
	_Atomic int n;          /* were dialled: their ends can be read */
	int fd[FAKE_PEERS_MAX]; /* -1: hung up; the test says which thread may */
};

/* As be_env.dial; arg is the struct. */
int fake_peers_dial(void *arg, const struct be_dial *want, struct err *err);
/* The server's end of connection i, once it was dialled. Aborts when it is not in time. */
int fake_peers_wait(struct fake_peers *p, int i);
/* Of one that is hung up, nothing. */
void fake_peers_hang_up(struct fake_peers *p, int i);
/* Hangs up all, and begins anew. */
void fake_peers_done(struct fake_peers *p);
/* False: the end, or n bytes are not there in time. */
bool fake_peers_read(int fd, void *buf, size_t n);

#endif
