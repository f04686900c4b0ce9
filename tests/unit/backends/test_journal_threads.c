/* SPDX-License-Identifier: Apache-2.0 */
/* Eight threads with handles of their own, waits, barriers, checkpoints and blocks that are freed, over a buffer cache that
 * holds next to nothing. Each handle moves an amount from one block to another: whatever is recovered, the sum of all is 0. */
#include "tests/unit/backends/ext4_test.h"

#include <pthread.h>

#define THREADS 8u
#define ACCOUNTS 40u
#define OWN 100u /* first block of the threads' own, two for each */
#define ROUNDS 150u

static struct fixture x;

struct worker {
	pthread_t thread;
	unsigned n;
	uint32_t random;
	uint64_t written, acknowledged; /* of its own block */
};

static uint32_t next_random(struct worker *w)
{
	w->random = w->random * 1664525u + 1013904223u;
	return w->random >> 8;
}

static void add(struct txn *t, unsigned block, int64_t amount)
{
	struct buf *b;
	int64_t v;

	assert_int_equal(buf_get(x.bs, x.payload + block, PLAIN, &b), 0);
	buf_lock(b);
	memcpy(&v, b->data, sizeof v);
	v += amount;
	memcpy(buf_change(t, b, 0, sizeof v), &v, sizeof v);
	buf_unlock(b);
	buf_put(b);
}

static void move(struct worker *w, struct txn *t)
{
	unsigned from = next_random(w) % ACCOUNTS, to = next_random(w) % ACCOUNTS;
	int64_t amount = next_random(w) % 1000;

	add(t, from, -amount);
	add(t, to, amount);
}

/* A block of the thread's own comes and goes. */
static void own_life(struct worker *w, struct txn *t, unsigned round)
{
	unsigned block = OWN + 2 * w->n + 1;

	if (round % 3 == 2)
		txn_forget(t, x.payload + block);
	else
		put_block(&x, t, block, (int)round);
}

static void one_round(struct worker *w, unsigned round)
{
	struct txn t;
	uint32_t tid;

	assert_int_equal(txn_begin(x.j, 4, &t), 0);
	move(w, &t);
	add(&t, OWN + 2 * w->n, 1);
	w->written++;
	if (txn_extend(&t, 1) == 0)
		own_life(w, &t, round);
	tid = txn_end(&t);
	switch (next_random(w) % 12) {
	case 0:
	case 1:
	case 2:
		assert_int_equal(jrn_wait(x.j, tid), 0);
		w->acknowledged = w->written;
		break;
	case 3:
		assert_int_equal(jrn_barrier(x.j), 0);
		break;
	case 4:
		if (w->n == 0)
			assert_int_equal(jrn_checkpoint(x.j), 0);
		break;
	default:
		break;
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < ROUNDS; i++)
		one_round(w, i);
	return NULL;
}

static void run_all(struct worker *workers)
{
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .n = i, .random = 4711 * (i + 1) };
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
}

static int64_t value(const uint8_t *bytes, unsigned block)
{
	int64_t v;

	memcpy(&v, bytes + (x.payload + block) * x.super.block_size, sizeof v);
	return v;
}

static void check_sum(const uint8_t *bytes)
{
	int64_t sum = 0, moved = 0;

	for (unsigned i = 0; i < ACCOUNTS; i++) {
		sum += value(bytes, i);
		moved |= value(bytes, i);
	}
	assert_int_equal(sum, 0);
	assert_int_not_equal(moved, 0);
}

static int up(void **state)
{
	(void)state;
	fixture_device(&x, SMALL_1K, 4, NULL);
	fixture_open(&x, 16 * 1024);
	return 0;
}

static int down(void **state)
{
	(void)state;
	fixture_done(&x);
	return 0;
}

static void test_after_a_close_everything_is_home(void **state)
{
	struct worker workers[THREADS];
	struct jrn_counts c;

	(void)state;
	run_all(workers);
	jrn_counts(x.j, &c);
	assert_true(c.commits > 3);
	assert_true(c.commits < (uint64_t)THREADS * ROUNDS / 4); /* waits share commits */
	assert_int_equal(fixture_close(&x), 0);
	check_sum(fake_device_durable(x.f));
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(value(fake_device_durable(x.f), OWN + 2 * i), ROUNDS);
}

static void test_after_a_crash_what_was_acknowledged_is_there(void **state)
{
	struct worker workers[THREADS];
	struct jrn_recovered r;
	struct err err = { "" };
	struct image im;

	(void)state;
	run_all(workers);
	fixture_abandon(&x);
	im = fixture_durable(&x);
	if (image_recover(&im, &r, &err))
		fail_msg("%s", err.text);
	check_sum(im.bytes);
	for (unsigned i = 0; i < THREADS; i++)
		assert_in_range(value(im.bytes, OWN + 2 * i), workers[i].acknowledged,
				workers[i].written);
	image_done(&im);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_after_a_close_everything_is_home, up, down),
		cmocka_unit_test_setup_teardown(test_after_a_crash_what_was_acknowledged_is_there,
						up, down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
