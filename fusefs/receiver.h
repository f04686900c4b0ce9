/* SPDX-License-Identifier: Apache-2.0 */
/* receiver.h - who reads the kernel's next message, and how it waits for it
 *
 * Waking a thread of an idle CPU costs several times what a small request takes
 * to answer, most of all in a virtual machine. So one receiver serves what one can:
 *
 *   parked --> listening --> (reads) working --> listening ...
 *     ^            |
 *     '------------'  not the only one listening, and nothing came
 *
 * It has company only when requests pile up (PILE in turn were there at once) or
 * when its next work is long. And when it has answered it looks for the next
 * request a little longer (busy_poll microseconds) before it sleeps, always giving
 * way to other threads of its CPU. It does so as long as that pays: what was waited
 * for in vain is waited for ever more rarely.
 *
 * Work must not wait for other requests. Should it all the same, a parked
 * receiver notices within a second.
 *
 * The descriptor of /dev/fuse must be O_NONBLOCK. One thread a receiver. */
#ifndef FUSEFS_RECEIVER_H
#define FUSEFS_RECEIVER_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/lock.h"

/* What the receivers of a session share. */
struct receivers {
	int fuse_fd;
	_Atomic unsigned listening; /* and working: all that are not parked */
	_Atomic unsigned parked;
	struct mutex lock;
	struct cond cond;
	/* guarded by lock */
	unsigned calls; /* for parked ones to listen, not yet heard */
	bool ended;
};

struct receiver {
	struct receivers *all;
	unsigned pile;    /* messages in turn that were there at once */
	unsigned skip;    /* so many requests are not waited for awake */
	unsigned backoff; /* what skip becomes when waiting was in vain */
};

void receivers_init(struct receivers *all, int fuse_fd);
void receivers_done(struct receivers *all);
/* The session is over: parked receivers return -ENODEV. */
void receivers_end(struct receivers *all);

void receiver_init(struct receiver *r, struct receivers *all);
/* One message; its length, or -errno (-ENODEV: unmounted). awake_us 0: sleeps at once. */
ssize_t receiver_read(struct receiver *r, void *buf, size_t cap, unsigned awake_us);
/* The message just read takes long: somebody else listens meanwhile. */
void receiver_busy(struct receiver *r);

#endif
