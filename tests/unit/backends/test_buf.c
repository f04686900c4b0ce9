/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata buffers (buf.h, F1 to F4) over a fake device. */
#include "tests/unit/backends/ext4_test.h"

#include <pthread.h>

static struct fixture x;
static _Atomic unsigned checks;
static uint64_t unsound; /* check() refuses this block */

static int on_check(void *arg, const struct buf *b)
{
	(void)arg;
	checks++;
	return b->block == unsound ? -EUCLEAN : 0;
}

static int up(void **state)
{
	struct bufs_conf conf;

	(void)state;
	fixture_device(&x, SMALL_1K, 4, NULL);
	checks = 0;
	unsound = 0;
	conf = (struct bufs_conf){
		.dev = x.dev,
		.block_size = x.super.block_size,
		.blocks = x.super.blocks,
		.memory = 8 * 1024,
		.check = on_check,
	};
	assert_int_equal(bufs_new(&conf, &x.bs), 0);
	fake_device_clear(x.f);
	return 0;
}

static int down(void **state)
{
	(void)state;
	if (x.bs && !x.j)
		bufs_free(x.bs);
	fixture_done(&x);
	return 0;
}

static void open_journal(void)
{
	struct err err = { "" };

	x.conf.dev = x.dev;
	x.conf.bufs = x.bs;
	x.conf.super = &x.super;
	if (jrn_open(&x.conf, &x.j, &err))
		fail_msg("%s", err.text);
	fake_device_clear(x.f);
}

static struct buf *get(unsigned n)
{
	struct buf *b;

	assert_int_equal(buf_get(x.bs, x.payload + n, PLAIN, &b), 0);
	return b;
}

static struct bufs_counts counts(void)
{
	struct bufs_counts c;

	bufs_counts(x.bs, &c);
	return c;
}

static void test_f1_a_block_has_one_buffer(void **state)
{
	struct buf *a, *b;

	(void)state;
	a = get(0);
	b = get(0);
	assert_ptr_equal(a, b);
	assert_int_equal(fake_device_count_op(x.f, BD_READ), 1);
	assert_int_equal(counts().hits, 1);
	assert_int_equal(counts().held, 1);
	buf_put(a);
	buf_put(b);
	assert_int_equal(counts().held, 0);
}

static void test_what_is_read_is_checked_once(void **state)
{
	struct buf *b;

	(void)state;
	buf_put(get(0));
	buf_put(get(0));
	assert_int_equal(checks, 1);
	unsound = x.payload + 1;
	assert_int_equal(buf_get(x.bs, unsound, PLAIN, &b), -EUCLEAN);
	unsound = 0;
	buf_put(get(1));
	assert_int_equal(buf_get(x.bs, x.super.blocks, PLAIN, &b), -EINVAL);
}

static void test_memory_is_bounded_and_the_oldest_go(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100; i++)
		buf_put(get(i));
	assert_true(counts().bytes <= 8 * 1024);
	assert_int_equal(counts().evictions, 92);
	fake_device_clear(x.f);
	buf_put(get(99));
	buf_put(get(92));
	assert_int_equal(fake_device_count(x.f), 0);
	buf_put(get(91));
	assert_int_equal(fake_device_count_op(x.f, BD_READ), 1);
}

static void test_what_is_held_stays(void **state)
{
	struct buf *b = get(500);

	(void)state;
	for (unsigned i = 0; i < 50; i++)
		buf_put(get(i));
	fake_device_clear(x.f);
	buf_put(get(500));
	assert_int_equal(fake_device_count(x.f), 0);
	buf_put(b);
}

static void test_what_is_dirty_stays_until_it_is_logged(void **state)
{
	(void)state;
	open_journal();
	put_blocks(&x, 0, 50, 0x21);
	assert_int_equal(counts().held, 50);
	assert_int_equal(jrn_commit(x.j), 0);
	assert_true(counts().bytes <= 8 * 1024);
	assert_int_equal(counts().held, 0);
}

/* F4: more than once, and after the image went home. */
static void test_f4_dropped_buffers_come_back_as_they_were(void **state)
{
	struct buf *b;

	(void)state;
	open_journal();
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < 100; i += 50)
			put_blocks(&x, i, 50, (int)(round + i + 1));
		assert_int_equal(jrn_commit(x.j), 0);
		if (round == 2)
			assert_int_equal(jrn_checkpoint(x.j), 0);
		for (unsigned i = 0; i < 100; i++) {
			b = get(i);
			assert_int_equal(b->data[1023], round + i / 50 * 50 + 1);
			buf_put(b);
		}
	}
}

static void test_f2_readers_and_a_writer_take_turns(void **state)
{
	struct buf *b = get(0);

	(void)state;
	buf_lock_shared(b);
	assert_int_equal(pthread_rwlock_trywrlock(&b->lock), EBUSY);
	buf_lock_shared(b);
	buf_unlock(b);
	buf_unlock(b);
	buf_lock(b);
	assert_int_equal(pthread_rwlock_tryrdlock(&b->lock), EBUSY);
	buf_unlock(b);
	buf_put(b);
}

static void test_a_new_block_is_not_read(void **state)
{
	struct buf *b, *other;
	struct txn t;

	(void)state;
	open_journal();
	assert_int_equal(buf_get_new(x.bs, x.payload, PLAIN, &b), 0);
	assert_int_equal(buf_get_new(x.bs, x.payload, PLAIN, &other), -EBUSY);
	assert_int_equal(fake_device_count_op(x.f, BD_READ), 0);
	assert_int_equal(txn_begin(x.j, 1, &t), 0);
	buf_lock(b);
	memset(buf_change(&t, b, 0, 1024), 0x17, 1024);
	buf_unlock(b);
	buf_put(b);
	assert_int_equal(jrn_wait(x.j, txn_end(&t)), 0);
	b = get(0);
	assert_int_equal(b->data[77], 0x17);
	buf_put(b);
	/* One that was never written is not kept: its bytes are nobody's. */
	assert_int_equal(buf_get_new(x.bs, x.payload + 1, PLAIN, &b), 0);
	buf_put(b);
	fake_device_clear(x.f);
	buf_put(get(1));
	assert_int_equal(fake_device_count_op(x.f, BD_READ), 1);
}

static void test_the_owner_is_who_holds_it(void **state)
{
	struct buf_owner owner = { .type = BUF_EXTENTS, .ino = 12, .gen = 34 };
	struct buf *b;

	(void)state;
	buf_put(get(0));
	assert_int_equal(buf_get(x.bs, x.payload, owner, &b), 0);
	assert_int_equal(b->type, BUF_EXTENTS);
	assert_int_equal(b->owner_ino, 12);
	assert_int_equal(b->owner_gen, 34);
	buf_put(b);
}

/* ---- who comes while it is read ------------------------------------------------- */

struct getter {
	pthread_t thread;
	int rc;
	struct buf *b;
};

static void *getter_main(void *arg)
{
	struct getter *g = arg;

	g->rc = buf_get(x.bs, x.payload, PLAIN, &g->b);
	return NULL;
}

static void get_by_many(struct getter *g, unsigned n)
{
	fake_device_hold(x.f, true);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(pthread_create(&g[i].thread, NULL, getter_main, &g[i]), 0);
	fake_device_wait(x.f, 1);
	fake_device_hold(x.f, false);
	for (unsigned i = 0; i < n; i++)
		pthread_join(g[i].thread, NULL);
}

static void test_many_wait_for_one_read(void **state)
{
	struct getter g[6];

	(void)state;
	get_by_many(g, 6);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(g[i].rc, 0);
		assert_ptr_equal(g[i].b, g[0].b);
		buf_put(g[i].b);
	}
	assert_int_equal(fake_device_count_op(x.f, BD_READ), 1);
}

static void test_all_who_wait_for_a_read_that_fails_are_told(void **state)
{
	struct getter g[6];
	unsigned failed = 0;

	(void)state;
	fake_device_fail(x.f, BD_READ, 1, 1, -EIO);
	get_by_many(g, 6);
	for (unsigned i = 0; i < 6; i++) {
		assert_true(!g[i].rc || g[i].rc == -EIO); /* who came later reads anew */
		failed += g[i].rc != 0;
		if (!g[i].rc)
			buf_put(g[i].b);
	}
	assert_true(failed >= 1);
	assert_int_equal(counts().held, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_f1_a_block_has_one_buffer),
		T(test_what_is_read_is_checked_once),
		T(test_memory_is_bounded_and_the_oldest_go),
		T(test_what_is_held_stays),
		T(test_what_is_dirty_stays_until_it_is_logged),
		T(test_f4_dropped_buffers_come_back_as_they_were),
		T(test_f2_readers_and_a_writer_take_turns),
		T(test_a_new_block_is_not_read),
		T(test_the_owner_is_who_holds_it),
		T(test_many_wait_for_one_read),
		T(test_all_who_wait_for_a_read_that_fails_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
