/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks that are freed and used again (journal.h, J3 and J4), what the client of a journal is told, and images on their
 * way home. */
#include "tests/unit/backends/ext4_test.h"

#include <pthread.h>

#include "common/clock.h"

static struct fixture x;

static struct {
	_Atomic uint32_t committed;
	_Atomic int aborted;
	unsigned packs, seals, redos;
	int pack_error;
	uint64_t redo_sum;
	struct buf *packed; /* pack() changes it */
	bool pack_now;
} client;

static void on_committed(void *arg, uint32_t tid)
{
	(void)arg;
	client.committed = tid;
}

static void on_aborted(void *arg, int error)
{
	(void)arg;
	client.aborted = error;
}

static int on_pack(void *arg, struct txn *t)
{
	(void)arg;
	client.packs++;
	if (client.packed && client.pack_now) {
		client.pack_now = false;
		buf_lock(client.packed);
		memset(buf_change(t, client.packed, 8, 4), 0xcc, 4);
		buf_unlock(client.packed);
	}
	return client.pack_error;
}

/* The last byte of an image is the sum of the others. */
static void on_seal(void *arg, const struct buf *b, uint8_t *image)
{
	uint8_t sum = 0;

	(void)arg;
	for (unsigned i = 0; i < x.super.block_size - 1; i++)
		sum = (uint8_t)(sum + image[i]);
	image[x.super.block_size - 1] = sum;
	assert_int_equal(b->type, BUF_PLAIN);
	client.seals++;
}

static void on_redo(void *arg, uint32_t tid, uint64_t block, uint32_t off, uint32_t len,
		    const uint8_t *bytes)
{
	(void)arg;
	assert_true(tid > 0);
	client.redos++;
	client.redo_sum += (block - x.payload) * 1000000 + off * 1000ull + len * 10ull + bytes[0];
}

static const struct jrn_client simple = { .committed = on_committed, .aborted = on_aborted };
static const struct jrn_client full = {
	.pack = on_pack,
	.seal = on_seal,
	.redo = on_redo,
	.committed = on_committed,
	.aborted = on_aborted,
};

static int up(void **state)
{
	(void)state;
	fixture_device(&x, SMALL_1K, 8, NULL);
	memset(&client, 0, sizeof client);
	x.conf.client = &simple;
	return 0;
}

static int down(void **state)
{
	(void)state;
	fixture_done(&x);
	return 0;
}

static uint32_t forget(unsigned first, unsigned n)
{
	struct txn t;

	assert_int_equal(txn_begin(x.j, 1 + n / 100, &t), 0);
	for (unsigned i = 0; i < n; i++)
		txn_forget(&t, x.payload + first + i);
	return txn_end(&t);
}

static void wait_committed(uint32_t tid)
{
	uint64_t until = clock_ms() + 20000;

	while (client.committed < tid && clock_ms() < until)
		usleep(500);
	assert_true(client.committed >= tid);
}

/* A file's data, written beside the journal. */
static void write_data(unsigned n, int fill)
{
	uint32_t bs = x.super.block_size;
	uint8_t mem[4096];

	memset(mem, fill, sizeof mem);
	assert_int_equal(bd_write(x.dev, mem, bs, (x.payload + n) * bs, BD_FUA), 0);
}

static void both_recover(struct image *im, struct jrn_recovered *r)
{
	struct image other = image_copy_of(im->bytes, im->size);
	struct err err = { "" };

	if (image_recover(im, r, &err))
		fail_msg("%s", err.text);
	assert_in_range(image_e2fsck(&other, "-y -E journal_only"), 0, 1);
	assert_true(same_files(im, &other, &x.super));
	image_done(&other);
}

static uint64_t revokes(void)
{
	struct jrn_counts c;

	jrn_counts(x.j, &c);
	return c.revokes;
}

static void test_j3_a_freed_block_keeps_its_new_data(void **state)
{
	struct jrn_recovered r;
	struct image im;
	uint32_t tid;

	(void)state;
	fixture_open(&x, 1 << 20);
	assert_int_equal(jrn_wait(x.j, put_blocks(&x, 0, 4, 1)), 0);
	tid = forget(1, 2);
	assert_int_equal(jrn_wait(x.j, tid), 0);
	wait_committed(tid);
	write_data(1, 0xd1);
	write_data(2, 0xd2);
	im = fixture_durable(&x);
	both_recover(&im, &r);
	assert_int_equal(r.revoked, 2);
	assert_true(block_is(&x, im.bytes, 0, 1));
	assert_true(block_is(&x, im.bytes, 1, 0xd1));
	assert_true(block_is(&x, im.bytes, 2, 0xd2));
	assert_true(block_is(&x, im.bytes, 3, 1));
	image_done(&im);
	/* Nor does a checkpoint write over it. */
	assert_int_equal(fixture_close(&x), 0);
	assert_true(block_is(&x, fake_device_bytes(x.f), 1, 0xd1));
	assert_true(block_is(&x, fake_device_bytes(x.f), 3, 1));
}

static void test_j3_an_image_that_is_home_is_revoked_as_long_as_the_log_has_it(void **state)
{
	struct jrn_recovered r;
	struct image im;
	uint32_t tid;

	(void)state;
	fixture_open(&x, 1 << 20);
	assert_int_equal(jrn_wait(x.j, put_blocks(&x, 0, 2, 1)), 0);
	assert_int_equal(jrn_wait(x.j, put_blocks(&x, 0, 2, 2)), 0); /* the first image is void */
	tid = forget(0, 2);
	assert_int_equal(jrn_wait(x.j, tid), 0);
	wait_committed(tid);
	write_data(0, 0xd0);
	im = fixture_durable(&x);
	both_recover(&im, &r);
	assert_int_equal(r.revoked, 4);
	assert_true(block_is(&x, im.bytes, 0, 0xd0));
	image_done(&im);
	assert_int_equal(jrn_checkpoint(x.j), 0);
	/* The log has it no more. */
	assert_int_equal(revokes(), 2);
	assert_int_equal(jrn_wait(x.j, forget(0, 2)), 0);
	assert_int_equal(revokes(), 2);
}

static void test_j3_a_revoke_is_taken_back_when_the_block_is_logged_again(void **state)
{
	struct jrn_recovered r;
	struct image im;
	struct txn t;

	(void)state;
	fixture_open(&x, 1 << 20);
	assert_int_equal(jrn_wait(x.j, put_blocks(&x, 0, 3, 1)), 0);
	assert_int_equal(txn_begin(x.j, 5, &t), 0);
	txn_forget(&t, x.payload);
	txn_forget(&t, x.payload + 1);
	put_block(&x, &t, 1, 2);
	assert_int_equal(jrn_wait(x.j, txn_end(&t)), 0);
	assert_int_equal(revokes(), 1);
	im = fixture_durable(&x);
	both_recover(&im, &r);
	assert_true(block_is(&x, im.bytes, 1, 2));
	assert_true(block_is(&x, im.bytes, 2, 1));
	image_done(&im);
}

static void test_a_block_logged_in_a_later_transaction_lives(void **state)
{
	struct jrn_recovered r;
	struct image im;

	(void)state;
	fixture_open(&x, 1 << 20);
	assert_int_equal(jrn_wait(x.j, put_blocks(&x, 0, 2, 1)), 0);
	assert_int_equal(jrn_wait(x.j, forget(0, 2)), 0);
	assert_int_equal(jrn_wait(x.j, put_blocks(&x, 0, 1, 3)), 0);
	im = fixture_durable(&x);
	both_recover(&im, &r);
	assert_true(block_is(&x, im.bytes, 0, 3));
	assert_false(block_is(&x, im.bytes, 1, 1));
	image_done(&im);
}

static void test_what_is_freed_in_its_own_transaction_is_never_logged(void **state)
{
	struct jrn_counts c;
	struct txn t;

	(void)state;
	fixture_open(&x, 1 << 20);
	assert_int_equal(txn_begin(x.j, 5, &t), 0);
	put_block(&x, &t, 0, 1);
	put_block(&x, &t, 1, 1);
	txn_forget(&t, x.payload);
	assert_int_equal(jrn_wait(x.j, txn_end(&t)), 0);
	jrn_counts(x.j, &c);
	assert_int_equal(c.blocks, 1);
	assert_int_equal(c.revokes, 0);
}

static void test_many_revokes_fill_several_blocks(void **state)
{
	struct jrn_recovered r;
	struct image im;
	unsigned n = 400; /* 125 fit into a block */

	(void)state;
	fixture_open(&x, 1 << 20);
	for (unsigned i = 0; i < n; i += 100)
		put_blocks(&x, i, 100, 1);
	assert_int_equal(jrn_commit(x.j), 0);
	assert_int_equal(jrn_wait(x.j, forget(0, n)), 0);
	assert_int_equal(revokes(), n);
	im = fixture_durable(&x);
	both_recover(&im, &r);
	assert_int_equal(r.revoked, n);
	assert_int_equal(r.blocks, 0);
	image_done(&im);
}

static void test_freed_blocks_are_given_back_only_when_it_is_durable(void **state)
{
	uint32_t tid;

	(void)state;
	fixture_open(&x, 1 << 20);
	assert_int_equal(jrn_wait(x.j, put_blocks(&x, 0, 2, 1)), 0);
	wait_committed(1);
	tid = forget(0, 1);
	assert_true(client.committed < tid);
	assert_int_equal(jrn_wait(x.j, tid), 0);
	wait_committed(tid);
}

/* ---- J4: with an image on its way home ---------------------------------------------- */

static void *checkpointer(void *arg)
{
	return jrn_checkpoint(arg) ? arg : NULL;
}

static void test_j4_freed_blocks_wait_for_images_on_their_way_home(void **state)
{
	pthread_t thread;
	uint32_t tid;
	void *failed;

	(void)state;
	fixture_open(&x, 1 << 20);
	assert_int_equal(jrn_wait(x.j, put_blocks(&x, 0, 1, 1)), 0);
	fake_device_hold(x.f, true);
	assert_int_equal(pthread_create(&thread, NULL, checkpointer, x.j), 0);
	fake_device_wait(x.f, 1); /* the home write */
	assert_int_equal(fake_device_at(x.f, 0).off, x.payload * x.super.block_size);
	tid = forget(0, 1);
	/* Its commit: the log's blocks, a flush, the commit block; the home write stays. */
	pthread_t waiter;
	assert_int_equal(pthread_create(&waiter, NULL, checkpointer, x.j), 0);
	for (unsigned i = 0; i < 3; i++) {
		fake_device_wait(x.f, 2);
		fake_device_release(x.f, 1);
	}
	assert_int_equal(jrn_wait(x.j, tid), 0);
	assert_true(client.committed < tid);
	fake_device_hold(x.f, false);
	wait_committed(tid);
	pthread_join(thread, &failed);
	assert_null(failed);
	pthread_join(waiter, &failed);
	assert_null(failed);
}

/* ---- the client ------------------------------------------------------------------------ */

static void test_the_client_packs_seals_and_hears_of_ranges(void **state)
{
	struct txn t;
	struct buf *b;
	uint32_t tid;

	(void)state;
	x.conf.client = &full;
	fixture_open(&x, 1 << 20);
	jrn_set_pack_credits(x.j, 1);
	assert_int_equal(buf_get(x.bs, x.payload + 7, PLAIN, &client.packed), 0);
	client.pack_now = true;
	assert_int_equal(txn_begin(x.j, 2, &t), 0);
	assert_int_equal(buf_get(x.bs, x.payload + 3, PLAIN, &b), 0);
	buf_lock(b);
	memset(buf_change(&t, b, 100, 10), 0x11, 10);
	memset(buf_change(&t, b, 110, 5), 0x11, 5); /* joins the one before */
	memset(buf_change(&t, b, 200, 1), 0x22, 1);
	tid = txn_end(&t); /* with the lock held */
	buf_unlock(b);
	assert_int_equal(client.redos, 2);
	assert_int_equal(client.redo_sum, 6000000 + 300000 + 160 + 0x11 + 0x22);
	assert_int_equal(jrn_wait(x.j, tid), 0);
	assert_int_equal(client.seals, 2);
	assert_true(client.packs >= 1);
	assert_int_equal(b->data[1023], (uint8_t)(15 * 0x11 + 0x22)); /* the live one has it, too */
	buf_put(b);
	buf_put(client.packed);
	assert_int_equal(jrn_checkpoint(x.j), 0);
	assert_int_equal(fake_device_bytes(x.f)[(x.payload + 7) * 1024 + 8], 0xcc);
	assert_int_equal(fake_device_bytes(x.f)[(x.payload + 7) * 1024 + 1023],
			 (uint8_t)(4 * 0xcc));
}

/* A shared block: one handle changes it, another one frees it before the first ends. */
static void test_ranges_of_a_block_that_another_handle_frees_are_not_told(void **state)
{
	struct txn a, b;
	struct buf *shared;

	(void)state;
	x.conf.client = &full;
	fixture_open(&x, 1 << 20);
	assert_int_equal(txn_begin(x.j, 1, &a), 0);
	assert_int_equal(buf_get(x.bs, x.payload + 3, PLAIN, &shared), 0);
	buf_lock(shared);
	*buf_change(&a, shared, 100, 1) = 1;
	buf_unlock(shared);
	buf_put(shared);
	assert_int_equal(txn_begin(x.j, 1, &b), 0);
	txn_forget(&b, x.payload + 3);
	assert_int_equal(txn_end(&b), a.tid);
	txn_end(&a);
	assert_int_equal(client.redos, 0);
	assert_int_equal(jrn_commit(x.j), 0);
}

static void test_pack_credits_that_do_not_fit_wait_for_a_commit(void **state)
{
	struct jrn_counts c;
	unsigned most;
	struct txn t;

	(void)state;
	fixture_open(&x, 1 << 20);
	jrn_counts(x.j, &c);
	most = c.log_blocks / JRN_TRANSACTION_PART;
	assert_int_equal(txn_begin(x.j, 10, &t), 0);
	assert_int_equal(jrn_set_pack_credits(x.j, most), -EAGAIN);
	assert_int_equal(jrn_set_pack_credits(x.j, 20), 0);
	txn_end(&t);
	/* More than a transaction holds, with what pack() wants and nothing to commit. */
	assert_int_equal(txn_begin(x.j, most - 10, &t), -ENOSPC);
	assert_int_equal(jrn_set_pack_credits(x.j, 0), 0);
	assert_int_equal(txn_begin(x.j, most - 10, &t), 0);
	txn_end(&t);
}

static void test_what_only_pack_knows_is_committed_by_a_wait(void **state)
{
	struct txn t;
	uint32_t tid;

	(void)state;
	x.conf.client = &full;
	fixture_open(&x, 1 << 20);
	jrn_set_pack_credits(x.j, 1);
	assert_int_equal(buf_get(x.bs, x.payload, PLAIN, &client.packed), 0);
	client.pack_now = true;
	assert_int_equal(txn_begin(x.j, 1, &t), 0);
	tid = txn_end(&t);
	assert_int_equal(jrn_wait(x.j, tid), 0);
	assert_true(jrn_durable(x.j, tid));
	buf_put(client.packed);
}

static void test_a_pack_that_fails_stops_the_journal(void **state)
{
	(void)state;
	x.conf.client = &full;
	fixture_open(&x, 1 << 20);
	client.pack_error = -EIO;
	assert_int_equal(jrn_wait(x.j, put_blocks(&x, 0, 1, 1)), -EIO);
	assert_int_equal(jrn_error(x.j), -EIO);
	assert_int_equal(fixture_close(&x), -EIO);
	assert_int_equal(client.aborted, -EIO);
}

/* ---- images and buffers ------------------------------------------------------------------ */

static void test_a_newer_image_replaces_an_older_one(void **state)
{
	struct jrn_counts c;

	(void)state;
	fixture_open(&x, 1 << 20);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(jrn_wait(x.j, put_blocks(&x, 0, 10, (int)i)), 0);
	assert_int_equal(jrn_checkpoint(x.j), 0);
	jrn_counts(x.j, &c);
	assert_int_equal(c.home_writes, 10);
	assert_int_equal(c.log_used, 0);
	assert_true(block_is(&x, fake_device_bytes(x.f), 5, 9));
}

static void test_an_uncommitted_change_never_goes_home(void **state)
{
	struct txn t;

	(void)state;
	fixture_open(&x, 1 << 20);
	assert_int_equal(jrn_wait(x.j, put_blocks(&x, 0, 1, 1)), 0);
	put_blocks(&x, 0, 1, 2);
	fake_device_hold_only(x.f, BD_FLUSH); /* the commit of 2 stays before its flush */
	fake_device_hold(x.f, true);
	pthread_t thread;
	void *failed;
	assert_int_equal(pthread_create(&thread, NULL, checkpointer, x.j), 0);
	fake_device_wait(x.f, 1);
	assert_int_equal(txn_begin(x.j, 1, &t), 0);
	put_block(&x, &t, 0, 3);
	txn_end(&t);
	assert_false(block_is(&x, fake_device_bytes(x.f), 0, 2));
	assert_false(block_is(&x, fake_device_bytes(x.f), 0, 3));
	fake_device_hold(x.f, false);
	pthread_join(thread, &failed);
	assert_null(failed);
	fixture_abandon(&x);
	assert_true(block_is(&x, fake_device_bytes(x.f), 0, 2));
}

static void test_a_dropped_buffer_is_read_from_its_image(void **state)
{
	struct buf *b;

	(void)state;
	fixture_open(&x, 0);
	assert_int_equal(jrn_wait(x.j, put_blocks(&x, 0, 1, 0x66)), 0);
	assert_false(block_is(&x, fake_device_bytes(x.f), 0, 0x66));
	fake_device_clear(x.f);
	assert_int_equal(buf_get(x.bs, x.payload, PLAIN, &b), 0);
	assert_int_equal(b->data[17], 0x66);
	assert_int_equal(fake_device_count(x.f), 0);
	buf_put(b);
}

/* ---- a full log, and numbers that wrap ----------------------------------------------------- */

static _Atomic bool pumping;

static bool in_journal(uint64_t off)
{
	uint64_t block = off / x.super.block_size;

	for (unsigned i = 0; i < x.super.njournal; i++)
		if (block >= x.super.journal[i].phys &&
		    block - x.super.journal[i].phys < x.super.journal[i].len)
			return true;
	return false;
}

/* Lets all go but what goes home. */
static void *pump(void *arg)
{
	(void)arg;
	while (pumping) {
		unsigned n = fake_device_held(x.f), i = 0;

		while (i < n && !in_journal(fake_device_at(x.f, i).off))
			i++;
		if (i < n)
			fake_device_release(x.f, i);
		else
			usleep(200);
	}
	return NULL;
}

static void *committer(void *arg)
{
	return jrn_commit(arg) ? arg : NULL;
}

static void test_a_commit_waits_while_the_log_is_full(void **state)
{
	uint64_t until = clock_ms() + 20000;
	pthread_t pumper, waiter;
	struct jrn_counts c;
	uint32_t tid;
	void *failed;

	(void)state;
	fixture_open(&x, 1 << 20);
	put_blocks(&x, 0, 190, 1);
	fake_device_hold_only(x.f, BD_WRITE);
	fake_device_hold(x.f, true);
	pumping = true;
	assert_int_equal(pthread_create(&pumper, NULL, pump, NULL), 0);
	for (unsigned i = 1; i <= 5; i++) {
		assert_int_equal(jrn_commit(x.j), 0);
		tid = put_blocks(&x, i * 200, 190, (int)i + 1);
	}
	/* Five are in the log, the sixth has no room. */
	assert_int_equal(pthread_create(&waiter, NULL, committer, x.j), 0);
	do {
		jrn_counts(x.j, &c);
		usleep(500);
	} while (c.running != tid + 1 && clock_ms() < until);
	assert_int_equal(c.running, tid + 1);
	assert_true(c.log_used > c.log_blocks * 3 / 4);
	assert_false(jrn_durable(x.j, tid));
	pumping = false;
	pthread_join(pumper, NULL);
	fake_device_hold(x.f, false);
	pthread_join(waiter, &failed);
	assert_null(failed);
	assert_true(jrn_durable(x.j, tid));
}

static void test_numbers_of_transactions_wrap(void **state)
{
	struct jrn_recovered r;
	struct fake_device *f;
	struct image im = fixture_durable(&x);
	uint32_t before = htobe32(UINT32_MAX - 3), tid = 0;

	(void)state;
	memcpy(log_at(im.bytes, &x.super, 0) + 0x18, &before, 4);
	bd_close(x.dev);
	x.dev = device_with(&im, NULL, &f);
	x.f = f;
	image_done(&im);
	fixture_open(&x, 1 << 20);
	for (unsigned i = 0; i < 6; i++) {
		tid = put_blocks(&x, i, 2, (int)i + 1);
		assert_int_equal(tid, UINT32_MAX - 2 + i + (i > 3));
		assert_int_equal(jrn_wait(x.j, tid), 0);
		if (i == 3)
			assert_int_equal(jrn_wait(x.j, forget(1, 1)), 0); /* number 1 */
	}
	assert_false(jrn_durable(x.j, tid + 2));
	im = fixture_durable(&x);
	both_recover(&im, &r);
	assert_int_equal(r.transactions, 7);
	assert_true(block_is(&x, im.bytes, 0, 1));
	assert_false(block_is(&x, im.bytes, 1, 1));
	assert_true(block_is(&x, im.bytes, 6, 6));
	image_done(&im);
	assert_int_equal(fixture_close(&x), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_j3_a_freed_block_keeps_its_new_data),
		T(test_j3_an_image_that_is_home_is_revoked_as_long_as_the_log_has_it),
		T(test_j3_a_revoke_is_taken_back_when_the_block_is_logged_again),
		T(test_a_block_logged_in_a_later_transaction_lives),
		T(test_what_is_freed_in_its_own_transaction_is_never_logged),
		T(test_many_revokes_fill_several_blocks),
		T(test_freed_blocks_are_given_back_only_when_it_is_durable),
		T(test_j4_freed_blocks_wait_for_images_on_their_way_home),
		T(test_the_client_packs_seals_and_hears_of_ranges),
		T(test_ranges_of_a_block_that_another_handle_frees_are_not_told),
		T(test_pack_credits_that_do_not_fit_wait_for_a_commit),
		T(test_what_only_pack_knows_is_committed_by_a_wait),
		T(test_a_pack_that_fails_stops_the_journal),
		T(test_a_newer_image_replaces_an_older_one),
		T(test_an_uncommitted_change_never_goes_home),
		T(test_a_commit_waits_while_the_log_is_full),
		T(test_numbers_of_transactions_wrap),
		T(test_a_dropped_buffer_is_read_from_its_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
