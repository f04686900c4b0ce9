/* SPDX-License-Identifier: Apache-2.0 */
/* policy.h - which frame to give up: eviction as a table of functions
 *
 * A policy orders the frames that are in use. All calls but hit() come with the
 * pool's lock held; hit() comes from any thread without a lock and may only
 * touch policy_node.freq. */
#ifndef CACHE_POLICY_H
#define CACHE_POLICY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define POLICY_NONE UINT32_MAX

/* One a frame, indexed like the frames. Links are frame numbers. */
struct policy_node {
	uint32_t prev, next;
	uint8_t queue; /* 0: in none */
	_Atomic uint8_t freq;
	uint64_t key; /* hash of (file, page number), for ghosts */
};

struct policy_queue {
	uint32_t head, tail; /* head: newest */
	uint32_t count;
};

struct policy;
struct policy_ops {
	const char *name;
	/* unproven: readahead brought it, nobody asked for it yet. */
	void (*insert)(struct policy *p, uint32_t frame, bool unproven);
	void (*remove)(struct policy *p, uint32_t frame);
	/* A frame for which try(arg, frame) returned true; it has left the policy.
	 * POLICY_NONE when none of the first `limit` candidates would do. */
	uint32_t (*victim)(struct policy *p, bool (*try)(void *arg, uint32_t frame), void *arg,
			   unsigned limit);
	bool moves_on_hit; /* hit() needs the pool's lock (LRU) */
	void (*hit)(struct policy *p, uint32_t frame);
};

struct policy {
	const struct policy_ops *ops;
	struct policy_node *node; /* owned */
	uint32_t nframes;
	struct policy_queue q[3]; /* 1: small or only; 2: main; 0 unused */
	/* S3-FIFO: keys lately evicted from the small queue */
	uint64_t *ghost;       /* ring, owned */
	uint32_t *ghost_index; /* hash table over the ring, owned */
	uint32_t ghost_size, ghost_at;
};

enum policy_kind { POLICY_S3FIFO, POLICY_CLOCK, POLICY_LRU };
extern const char *const policy_names[]; /* "s3fifo", "clock", "lru", NULL */
extern const struct policy_ops policy_s3fifo, policy_clock, policy_lru;

/* -ENOMEM. */
int policy_init(struct policy *p, enum policy_kind kind, uint32_t nframes);
void policy_done(struct policy *p);

/* Queue primitives for the policies. */
void policy_push(struct policy *p, unsigned q, uint32_t frame);
void policy_unlink(struct policy *p, uint32_t frame);

#endif
