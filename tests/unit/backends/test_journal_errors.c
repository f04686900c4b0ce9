/* SPDX-License-Identifier: Apache-2.0 */
/* The nth request of the device fails, for every n until none does (journal.h, J7): nothing is acknowledged afterwards, what
 * was acknowledged before is there, and no half of a transaction is. */
#include "tests/unit/backends/ext4_test.h"

#include "common/clock.h"

#define TXNS 6u
#define WIDTH 5u

static struct fixture x;
static struct image pristine;
static _Atomic int aborted;

static void on_aborted(void *arg, int error)
{
	(void)arg;
	assert_int_equal(aborted, 0); /* once */
	aborted = error;
}

static const struct jrn_client client = { .aborted = on_aborted };

static int up(void **state)
{
	(void)state;
	pristine = image_make(SMALL_1K, 4);
	return 0;
}

static int down(void **state)
{
	(void)state;
	image_done(&pristine);
	return 0;
}

static void attach(void)
{
	struct err err;

	x = (struct fixture){ .im = image_copy_of(pristine.bytes, pristine.size) };
	x.dev = device_with(&x.im, NULL, &x.f);
	assert_int_equal(ext4_super_read(x.dev, &x.super, &err), 0);
	x.payload = x.super.blocks - PAYLOAD;
	x.conf.client = &client;
	aborted = 0;
}

static int open_journal(void)
{
	struct bufs_conf bc = {
		.dev = x.dev,
		.block_size = x.super.block_size,
		.blocks = x.super.blocks,
		.memory = 1 << 20,
	};
	struct err err = { "" };
	int rc;

	assert_int_equal(bufs_new(&bc, &x.bs), 0);
	x.conf.dev = x.dev;
	x.conf.bufs = x.bs;
	x.conf.super = &x.super;
	rc = jrn_open(&x.conf, &x.j, &err);
	if (rc)
		assert_true(err.text[0]);
	return rc;
}

/* All blocks of the payload say the same number. Its own handle may be refused: -errno. */
static int put_all(int fill, uint32_t *tid)
{
	struct txn t;
	int rc = txn_begin(x.j, WIDTH, &t);

	for (unsigned i = 0; !rc && i < WIDTH; i++) {
		struct buf *b = NULL;

		rc = buf_get_new(x.bs, x.payload + i, PLAIN, &b);
		if (rc == -EBUSY) /* dirty: it is in memory */
			rc = buf_get(x.bs, x.payload + i, PLAIN, &b);
		assert_int_equal(rc, 0);
		buf_lock(b);
		memset(buf_change(&t, b, 0, x.super.block_size), fill, x.super.block_size);
		buf_unlock(b);
		buf_put(b);
	}
	if (!rc)
		*tid = txn_end(&t);
	return rc;
}

/* Runs until something fails; the last number that was acknowledged. */
static int workload(int *error)
{
	int acknowledged = 0, rc = 0;

	for (unsigned i = 1; !rc && i <= TXNS; i++) {
		uint32_t tid = 0;

		rc = put_all((int)i, &tid);
		if (!rc && i % 2 == 0)
			rc = jrn_wait(x.j, tid);
		if (!rc && i % 2 == 0)
			acknowledged = (int)i;
		if (!rc && i == 4)
			rc = jrn_checkpoint(x.j);
		if (!rc && i == 5)
			rc = jrn_barrier(x.j);
	}
	*error = rc;
	return acknowledged;
}

/* Whoever meets the error may be quicker than the thread that tells the client. */
static void wait_aborted(int error)
{
	uint64_t until = clock_ms() + 20000;

	while (!aborted && clock_ms() < until)
		usleep(100);
	assert_int_equal(aborted, error);
}

static void stays_stopped(int error)
{
	struct txn t;

	assert_int_equal(jrn_error(x.j), error);
	wait_aborted(error);
	assert_int_equal(txn_begin(x.j, 1, &t), error);
	assert_int_equal(jrn_commit(x.j), error);
	assert_int_equal(jrn_wait(x.j, 1), error);
	assert_int_equal(jrn_barrier(x.j), error);
	assert_int_equal(jrn_checkpoint(x.j), error);
}

/* Which number the blocks have; all the same. */
static int fill_of(const struct image *im)
{
	int fill = im->bytes[x.payload * x.super.block_size];

	for (unsigned i = 0; i < WIDTH; i++)
		assert_true(block_is(&x, im->bytes, i, fill));
	return fill;
}

static void check_after(int acknowledged)
{
	struct image im = fixture_durable(&x);
	struct jrn_recovered r;
	struct err err = { "" };

	if (image_recover(&im, &r, &err))
		fail_msg("%s", err.text);
	assert_in_range(fill_of(&im), acknowledged, TXNS);
	image_done(&im);
}

/* One run; false: nothing failed any more. */
static bool run(enum bd_op op, unsigned nth, unsigned times)
{
	int acknowledged, error, closed;

	attach();
	assert_int_equal(open_journal(), 0);
	fake_device_fail(x.f, op, nth, times, -EIO);
	acknowledged = workload(&error);
	if (error)
		stays_stopped(error);
	else
		assert_int_equal(acknowledged, TXNS);
	closed = jrn_close(x.j);
	x.j = NULL;
	if (error)
		assert_int_equal(closed, error);
	check_after(acknowledged);
	bufs_free(x.bs);
	x.bs = NULL;
	fixture_done(&x);
	return error || closed;
}

static void every_nth(enum bd_op op, unsigned times, unsigned least)
{
	unsigned n = 1;

	while (run(op, n, times))
		n++;
	assert_true(n > least);
}

static void test_a_write_that_fails_once_stops_the_journal(void **state)
{
	(void)state;
	every_nth(BD_WRITE, 1, 15);
}

static void test_writes_that_fail_for_ever_stop_the_journal(void **state)
{
	(void)state;
	every_nth(BD_WRITE, 0, 15);
}

static void test_a_flush_that_fails_stops_the_journal(void **state)
{
	(void)state;
	every_nth(BD_FLUSH, 1, 5);
	every_nth(BD_FLUSH, 0, 5);
}

static void test_an_open_that_fails_leaves_the_image_sound(void **state)
{
	static const enum bd_op ops[] = { BD_READ, BD_WRITE };
	int rc;

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(ops); i++) {
		unsigned n = 1;

		do {
			attach();
			fake_device_fail(x.f, ops[i], n++, 1, -EIO);
			rc = open_journal();
			if (rc) {
				assert_int_equal(rc, -EIO);
				x.j = NULL;
			} else {
				fake_device_fail(x.f, ops[i], 1u << 20, 1, -EIO); /* never */
				assert_int_equal(jrn_close(x.j), 0);
				x.j = NULL;
			}
			check_after(0);
			bufs_free(x.bs);
			fixture_done(&x);
		} while (rc);
		assert_true(n > 2);
	}
}

static void test_the_error_is_noted_in_the_journal_superblock(void **state)
{
	struct jbd2_super js;
	struct image im;
	uint32_t tid;

	(void)state;
	attach();
	assert_int_equal(open_journal(), 0);
	fake_device_fail(x.f, BD_WRITE, 2, 1, -EIO);
	assert_int_equal(put_all(1, &tid), 0);
	assert_int_equal(jrn_wait(x.j, tid), -EIO);
	assert_int_equal(fixture_close(&x), -EIO);
	im = fixture_durable(&x);
	memcpy(&js, log_at(im.bytes, &x.super, 0), sizeof js);
	assert_int_equal((int32_t)be32toh(js.error), -EIO);
	assert_in_range(image_e2fsck(&im, "-y -E journal_only"), 0, 1);
	image_done(&im);
	fixture_done(&x);
}

static void test_a_buffer_that_cannot_be_read_says_so_and_can_be_tried_again(void **state)
{
	struct buf *b;

	(void)state;
	attach();
	assert_int_equal(open_journal(), 0);
	fake_device_fail(x.f, BD_READ, 1, 1, -EIO);
	assert_int_equal(buf_get(x.bs, x.payload, PLAIN, &b), -EIO);
	assert_int_equal(buf_get(x.bs, x.payload, PLAIN, &b), 0);
	buf_put(b);
	assert_int_equal(jrn_error(x.j), 0);
	assert_int_equal(fixture_close(&x), 0);
	fixture_done(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_write_that_fails_once_stops_the_journal),
		cmocka_unit_test(test_writes_that_fail_for_ever_stop_the_journal),
		cmocka_unit_test(test_a_flush_that_fails_stops_the_journal),
		cmocka_unit_test(test_an_open_that_fails_leaves_the_image_sound),
		cmocka_unit_test(test_the_error_is_noted_in_the_journal_superblock),
		cmocka_unit_test(test_a_buffer_that_cannot_be_read_says_so_and_can_be_tried_again),
	};

	return cmocka_run_group_tests(tests, up, down);
}
