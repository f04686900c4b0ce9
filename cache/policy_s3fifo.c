/* SPDX-License-Identifier: Apache-2.0 */
/* policy_s3fifo.c - S3-FIFO (Yang et al., "FIFO queues are all you need for
 * cache eviction", SOSP 2023): a small queue that new frames must survive, a
 * main queue with second chances, and a ghost list of keys that lately fell out
 * of the small one and go straight to main when they return.
 *
 *   insert --new--> small --hit twice, or ghost--> main --freq 0--> out
 *                     \--else--> out, key to ghost     \--freq > 0: freq - 1, again
 *
 * Readahead enters the small queue with freq 0 like any other; a program's
 * first read of it only counts as the read that brought it. */
#include "cache/policy.h"

#define SMALL 1
#define MAIN 2
#define FREQ_MAX 3
#define SMALL_SHARE 10 /* the small queue's share is 1/10 of the frames in use */

static bool ghost_has(struct policy *p, uint64_t key)
{
	uint32_t slot = p->ghost_index[key % p->ghost_size];

	return key && p->ghost[slot] == key;
}

static void ghost_add(struct policy *p, uint64_t key)
{
	p->ghost[p->ghost_at] = key;
	p->ghost_index[key % p->ghost_size] = p->ghost_at;
	p->ghost_at = (p->ghost_at + 1) % p->ghost_size;
}

static void s3_insert(struct policy *p, uint32_t frame, bool unproven)
{
	struct policy_node *n = &p->node[frame];

	(void)unproven;
	atomic_store_explicit(&n->freq, 0, memory_order_relaxed);
	policy_push(p, ghost_has(p, n->key) ? MAIN : SMALL, frame);
}

static void s3_hit(struct policy *p, uint32_t frame)
{
	_Atomic uint8_t *freq = &p->node[frame].freq;
	uint8_t v = atomic_load_explicit(freq, memory_order_relaxed);

	/* A lost race loses one count of a hint. */
	if (v < FREQ_MAX)
		atomic_store_explicit(freq, (uint8_t)(v + 1), memory_order_relaxed);
}

/* One step on the small queue: true when a frame was given up. */
static bool small_step(struct policy *p, bool (*try)(void *, uint32_t), void *arg, uint32_t *out)
{
	uint32_t f = p->q[SMALL].tail;
	struct policy_node *n = &p->node[f];

	policy_unlink(p, f);
	if (atomic_load_explicit(&n->freq, memory_order_relaxed) > 1) {
		atomic_store_explicit(&n->freq, 0, memory_order_relaxed);
		policy_push(p, MAIN, f);
		return false;
	}
	if (!try(arg, f)) {
		policy_push(p, SMALL, f);
		return false;
	}
	ghost_add(p, n->key);
	*out = f;
	return true;
}

static bool main_step(struct policy *p, bool (*try)(void *, uint32_t), void *arg, uint32_t *out)
{
	uint32_t f = p->q[MAIN].tail;
	struct policy_node *n = &p->node[f];
	uint8_t v = atomic_load_explicit(&n->freq, memory_order_relaxed);

	policy_unlink(p, f);
	if (v)
		atomic_store_explicit(&n->freq, (uint8_t)(v - 1), memory_order_relaxed);
	if (v || !try(arg, f)) {
		policy_push(p, MAIN, f);
		return false;
	}
	*out = f;
	return true;
}

static uint32_t s3_victim(struct policy *p, bool (*try)(void *, uint32_t), void *arg,
			  unsigned limit)
{
	uint32_t f = POLICY_NONE;

	for (; limit; limit--) {
		uint32_t small = p->q[SMALL].count, all = small + p->q[MAIN].count;

		if (!all)
			break;
		if (small && (small > all / SMALL_SHARE || small == all)) {
			if (small_step(p, try, arg, &f))
				return f;
		} else if (main_step(p, try, arg, &f)) {
			return f;
		}
	}
	return POLICY_NONE;
}

const struct policy_ops policy_s3fifo = { .name = "s3fifo",
					  .insert = s3_insert,
					  .remove = policy_unlink,
					  .victim = s3_victim,
					  .hit = s3_hit };
