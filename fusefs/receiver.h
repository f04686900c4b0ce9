/* SPDX-License-Identifier: Apache-2.0 */
/* receiver.h - taking messages from the kernel without paying a wake-up for each
 *
 * Waking a thread of an idle CPU costs several times what a small request takes
 * to answer, most of all in a virtual machine. A receiver that has just answered
 * therefore looks for the next request a little longer (busy_poll microseconds)
 * before it sleeps, always giving way to other threads of its CPU. It does so as
 * long as that pays: what was waited for in vain is waited for ever more rarely.
 *
 * Sleepers wait with EPOLLEXCLUSIVE: the kernel wakes one, and of those asleep
 * always the same, so that one warm thread serves what one thread can.
 * The descriptor of /dev/fuse must be O_NONBLOCK. One thread a receiver. */
#ifndef FUSEFS_RECEIVER_H
#define FUSEFS_RECEIVER_H

#include <sys/types.h>

struct receiver {
	int fuse_fd;
	int epoll_fd;
	unsigned skip;    /* so many requests are not waited for awake */
	unsigned backoff; /* what skip becomes when waiting was in vain */
};

/* 0, or -errno. */
int receiver_init(struct receiver *r, int fuse_fd);
void receiver_done(struct receiver *r);
/* One message; its length, or -errno (-ENODEV: unmounted). awake_us 0: sleeps at once. */
ssize_t receiver_read(struct receiver *r, void *buf, size_t cap, unsigned awake_us);

#endif
