/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cache/policy.h"

#define N 100u

static bool take_any(void *arg, uint32_t frame)
{
	(void)arg;
	(void)frame;
	return true;
}

static bool take_none(void *arg, uint32_t frame)
{
	(void)frame;
	++*(unsigned *)arg;
	return false;
}

static void insert(struct policy *p, uint32_t frame, uint64_t key)
{
	p->node[frame].key = key;
	p->ops->insert(p, frame, false);
}

static uint32_t evict(struct policy *p)
{
	return p->ops->victim(p, take_any, NULL, 1000);
}

static void every_policy_gives_each_frame_once(void **state)
{
	(void)state;
	for (int kind = POLICY_S3FIFO; kind <= POLICY_LRU; kind++) {
		bool seen[N] = { false };
		struct policy p;

		assert_int_equal(policy_init(&p, (enum policy_kind)kind, N), 0);
		for (uint32_t i = 0; i < N; i++)
			insert(&p, i, i + 1);
		p.ops->remove(&p, 50);
		p.ops->remove(&p, 50);
		for (uint32_t i = 0; i < N - 1; i++) {
			uint32_t f = evict(&p);

			assert_in_range(f, 0, N - 1);
			assert_false(seen[f]);
			seen[f] = true;
		}
		assert_false(seen[50]);
		assert_int_equal(evict(&p), POLICY_NONE);
		policy_done(&p);
	}
}

static void busy_frames_are_passed_over_within_the_limit(void **state)
{
	(void)state;
	for (int kind = POLICY_S3FIFO; kind <= POLICY_LRU; kind++) {
		unsigned tries = 0;
		struct policy p;

		assert_int_equal(policy_init(&p, (enum policy_kind)kind, N), 0);
		for (uint32_t i = 0; i < N; i++)
			insert(&p, i, i + 1);
		assert_int_equal(p.ops->victim(&p, take_none, &tries, 10), POLICY_NONE);
		assert_in_range(tries, 0, 10);
		assert_int_equal(p.q[1].count + p.q[2].count, N);
		policy_done(&p);
	}
}

/* Against a list kept the plain way. */
static void lru_gives_the_longest_unused(void **state)
{
	uint32_t order[N], rng = 1;
	struct policy p;

	(void)state;
	assert_int_equal(policy_init(&p, POLICY_LRU, N), 0);
	for (uint32_t i = 0; i < N; i++) {
		insert(&p, i, i + 1);
		order[i] = i;
	}
	for (int step = 0; step < 2000; step++) {
		uint32_t at = (rng = rng * 1664525 + 1013904223) % N, f = order[at];

		if (step % 3 == 0) {
			assert_int_equal(evict(&p), order[0]);
			f = order[at = 0];
			insert(&p, f, f + 1);
		} else {
			p.ops->hit(&p, f);
		}
		memmove(&order[at], &order[at + 1], (N - 1 - at) * sizeof order[0]);
		order[N - 1] = f;
	}
	policy_done(&p);
}

static void clock_gives_a_hit_frame_another_round(void **state)
{
	struct policy p;

	(void)state;
	assert_int_equal(policy_init(&p, POLICY_CLOCK, N), 0);
	for (uint32_t i = 0; i < 4; i++)
		p.ops->insert(&p, i, true);
	p.ops->hit(&p, 0);
	p.ops->hit(&p, 2);
	assert_int_equal(evict(&p), 1);
	assert_int_equal(evict(&p), 3);
	assert_int_equal(evict(&p), 0);
	assert_int_equal(evict(&p), 2);
	policy_done(&p);
}

static void s3fifo_keeps_hot_frames_through_a_scan(void **state)
{
	bool gone[20] = { false };
	struct policy p;
	uint64_t key = N;

	(void)state;
	assert_int_equal(policy_init(&p, POLICY_S3FIFO, N), 0);
	for (uint32_t i = 0; i < N; i++)
		insert(&p, i, i + 1);
	for (uint32_t hot = 0; hot < 20; hot++)
		p.ops->hit(&p, hot);
	for (uint32_t round = 0; round < 10 * N; round++) {
		uint32_t f;

		for (uint32_t hot = 0; hot < 20; hot++)
			if (round % 10 == 0)
				p.ops->hit(&p, hot);
		f = evict(&p);
		if (f < 20)
			gone[f] = true;
		insert(&p, f, ++key);
	}
	for (uint32_t hot = 0; hot < 20; hot++)
		assert_false(gone[hot]);
	policy_done(&p);
}

static void s3fifo_remembers_what_left_too_early(void **state)
{
	struct policy p;
	uint32_t f;

	(void)state;
	assert_int_equal(policy_init(&p, POLICY_S3FIFO, N), 0);
	insert(&p, 0, 77);
	f = evict(&p);
	assert_int_equal(f, 0);
	insert(&p, 0, 77);
	assert_int_equal(p.node[0].queue, 2);
	insert(&p, 1, 78);
	assert_int_equal(p.node[1].queue, 1);
	policy_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_policy_gives_each_frame_once),
		cmocka_unit_test(busy_frames_are_passed_over_within_the_limit),
		cmocka_unit_test(lru_gives_the_longest_unused),
		cmocka_unit_test(clock_gives_a_hit_frame_another_round),
		cmocka_unit_test(s3fifo_keeps_hot_frames_through_a_scan),
		cmocka_unit_test(s3fifo_remembers_what_left_too_early),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
