/* SPDX-License-Identifier: Apache-2.0 */
/* policy.c - the queues that all policies are made of, CLOCK and LRU. */
#include "cache/policy.h"

#include <errno.h>
#include <stdlib.h>

const char *const policy_names[] = { "s3fifo", "clock", "lru", NULL };

int policy_init(struct policy *p, enum policy_kind kind, uint32_t nframes)
{
	static const struct policy_ops *const ops[] = { &policy_s3fifo, &policy_clock,
							&policy_lru };

	*p = (struct policy){ .ops = ops[kind], .nframes = nframes };
	for (int i = 0; i < 3; i++)
		p->q[i] = (struct policy_queue){ POLICY_NONE, POLICY_NONE, 0 };
	p->ghost_size = nframes;
	p->node = calloc(nframes, sizeof *p->node);
	p->ghost = calloc(nframes, sizeof *p->ghost);
	p->ghost_index = calloc(nframes, sizeof *p->ghost_index);
	if (!p->node || !p->ghost || !p->ghost_index) {
		policy_done(p);
		return -ENOMEM;
	}
	return 0;
}

void policy_done(struct policy *p)
{
	free(p->node);
	free(p->ghost);
	free(p->ghost_index);
	*p = (struct policy){ 0 };
}

void policy_push(struct policy *p, unsigned q, uint32_t frame)
{
	struct policy_queue *qu = &p->q[q];
	struct policy_node *n = &p->node[frame];

	n->queue = (uint8_t)q;
	n->prev = POLICY_NONE;
	n->next = qu->head;
	if (qu->head != POLICY_NONE)
		p->node[qu->head].prev = frame;
	else
		qu->tail = frame;
	qu->head = frame;
	qu->count++;
}

void policy_unlink(struct policy *p, uint32_t frame)
{
	struct policy_node *n = &p->node[frame];
	struct policy_queue *qu = &p->q[n->queue];

	if (!n->queue)
		return;
	if (n->prev != POLICY_NONE)
		p->node[n->prev].next = n->next;
	else
		qu->head = n->next;
	if (n->next != POLICY_NONE)
		p->node[n->next].prev = n->prev;
	else
		qu->tail = n->prev;
	qu->count--;
	n->queue = 0;
}

/* ---- CLOCK: one ring; a hit buys one more round ---- */

static void clock_insert(struct policy *p, uint32_t frame, bool unproven)
{
	atomic_store_explicit(&p->node[frame].freq, unproven ? 0 : 1, memory_order_relaxed);
	policy_push(p, 1, frame);
}

static void clock_hit(struct policy *p, uint32_t frame)
{
	atomic_store_explicit(&p->node[frame].freq, 1, memory_order_relaxed);
}

static uint32_t clock_victim(struct policy *p, bool (*try)(void *, uint32_t), void *arg,
			     unsigned limit)
{
	for (; limit && p->q[1].tail != POLICY_NONE; limit--) {
		uint32_t f = p->q[1].tail;

		policy_unlink(p, f);
		if (!atomic_exchange(&p->node[f].freq, 0) && try(arg, f))
			return f;
		policy_push(p, 1, f);
	}
	return POLICY_NONE;
}

const struct policy_ops policy_clock = { .name = "clock",
					 .insert = clock_insert,
					 .remove = policy_unlink,
					 .victim = clock_victim,
					 .hit = clock_hit };

/* ---- LRU: one list; a hit moves to its head ---- */

static void lru_insert(struct policy *p, uint32_t frame, bool unproven)
{
	(void)unproven;
	policy_push(p, 1, frame);
}

static void lru_hit(struct policy *p, uint32_t frame)
{
	if (!p->node[frame].queue)
		return;
	policy_unlink(p, frame);
	policy_push(p, 1, frame);
}

static uint32_t lru_victim(struct policy *p, bool (*try)(void *, uint32_t), void *arg,
			   unsigned limit)
{
	for (; limit && p->q[1].tail != POLICY_NONE; limit--) {
		uint32_t f = p->q[1].tail;

		policy_unlink(p, f);
		if (try(arg, f))
			return f;
		policy_push(p, 1, f); /* busy: as good as just used */
	}
	return POLICY_NONE;
}

const struct policy_ops policy_lru = { .name = "lru",
				       .insert = lru_insert,
				       .remove = policy_unlink,
				       .victim = lru_victim,
				       .hit = lru_hit,
				       .moves_on_hit = true };
