/* SPDX-License-Identifier: Apache-2.0 */
/* The journal (journal.h, J1 to J8) over a fake device: what it writes, in which order, and what is left when the power
 * goes. Errors are in test_journal_errors.c, threads in test_journal_threads.c. */
#include "tests/unit/backends/ext4_test.h"

#include <pthread.h>

#include "common/clock.h"

static struct fixture x;

static int up(void **state)
{
	(void)state;
	fixture_device(&x, SMALL_1K, 8, NULL);
	return 0;
}

static int down(void **state)
{
	(void)state;
	fixture_done(&x);
	return 0;
}

static void test_a_commit_survives_and_both_recoveries_agree(void **state)
{
	struct image ours, theirs;
	struct jrn_recovered r;
	struct err err = { "" };
	uint32_t tid;

	(void)state;
	fixture_open(&x, 1 << 20);
	tid = put_blocks(&x, 0, 5, 0x5a);
	assert_int_equal(jrn_wait(x.j, tid), 0);
	put_blocks(&x, 3, 5, 0x77); /* is not waited for */
	ours = fixture_durable(&x);
	fixture_abandon(&x);
	assert_false(block_is(&x, ours.bytes, 0, 0x5a));
	theirs = image_copy_of(ours.bytes, ours.size);
	if (image_recover(&ours, &r, &err))
		fail_msg("%s", err.text);
	assert_int_equal(r.transactions, 1);
	assert_int_equal(r.blocks, 5);
	for (unsigned i = 0; i < 5; i++)
		assert_true(block_is(&x, ours.bytes, i, 0x5a));
	assert_false(block_is(&x, ours.bytes, 5, 0x77));
	assert_in_range(image_e2fsck(&theirs, "-y -E journal_only"), 0, 1);
	assert_true(same_files(&ours, &theirs, &x.super));
	assert_int_equal(image_e2fsck(&ours, "-fn"), 0);
	assert_int_equal(image_e2fsck(&theirs, "-fn"), 0);
	image_done(&ours);
	image_done(&theirs);
}

static void test_a_clean_end_leaves_nothing_to_recover(void **state)
{
	struct image im;
	struct ext4_super s;
	struct err err;

	(void)state;
	fixture_open(&x, 1 << 20);
	put_blocks(&x, 0, 9, 0x31);
	assert_int_equal(fixture_close(&x), 0);
	im = fixture_durable(&x);
	for (unsigned i = 0; i < 9; i++)
		assert_true(block_is(&x, im.bytes, i, 0x31));
	assert_int_equal(ext4_super_read(x.dev, &s, &err), 0);
	assert_false(s.needs_recovery);
	ext4_super_done(&s);
	assert_int_equal(image_e2fsck(&im, "-fn"), 0);
	image_done(&im);
}

/* ---- order on the device ------------------------------------------------------- */

static bool is_log_write(const struct fake_device_seen *e)
{
	uint64_t bs = x.super.block_size, first = x.super.journal[0].phys * bs;

	return e->op == BD_WRITE && e->off > first && e->off < first + x.super.journal_blocks * bs;
}

/* Index of the next event from i on that fits, or -1. */
static int next_event(unsigned i, enum bd_op op, unsigned flags, bool log)
{
	for (; i < fake_device_count(x.f); i++) {
		struct fake_device_seen e = fake_device_seen(x.f, i);

		if (e.op == op && e.flags == flags && (!log || is_log_write(&e)))
			return (int)i;
	}
	return -1;
}

static void test_j1_the_commit_block_follows_a_flush_of_the_rest(void **state)
{
	int blocks, flush, commit;

	(void)state;
	fixture_open(&x, 1 << 20);
	assert_int_equal(jrn_wait(x.j, put_blocks(&x, 0, 40, 1)), 0);
	fake_device_clear(x.f);
	assert_int_equal(jrn_wait(x.j, put_blocks(&x, 0, 20, 2)), 0);
	blocks = next_event(0, BD_WRITE, 0, true);
	flush = next_event(0, BD_FLUSH, 0, false);
	commit = next_event(0, BD_WRITE, BD_FUA, true);
	assert_true(blocks >= 0 && flush > blocks && commit > flush);
	/* One write for a transaction that lies together, and one sector that cannot be torn. */
	assert_int_equal(fake_device_count_op(x.f, BD_WRITE), 2);
	assert_int_equal(fake_device_count_op(x.f, BD_FLUSH), 1);
	assert_int_equal(fake_device_seen(x.f, (unsigned)commit).len, 512);
}

static void *committer(void *arg)
{
	return jrn_commit(arg) ? arg : NULL;
}

static void test_j1_nothing_is_acknowledged_while_the_flush_is_under_way(void **state)
{
	pthread_t waiter;
	uint32_t tid;

	(void)state;
	fixture_open(&x, 1 << 20);
	assert_int_equal(jrn_wait(x.j, put_blocks(&x, 0, 1, 1)), 0);
	fake_device_hold_only(x.f, BD_FLUSH);
	fake_device_hold(x.f, true);
	fake_device_clear(x.f);
	tid = put_blocks(&x, 0, 3, 2);
	assert_int_equal(pthread_create(&waiter, NULL, committer, x.j), 0);
	fake_device_wait(x.f, 1);
	assert_int_equal(next_event(0, BD_WRITE, BD_FUA, true), -1);
	assert_false(jrn_durable(x.j, tid));
	/* The next transaction runs meanwhile, also on the same blocks. */
	assert_int_equal(put_blocks(&x, 0, 3, 3), tid + 1);
	fake_device_hold(x.f, false);
	pthread_join(waiter, NULL);
	assert_true(jrn_durable(x.j, tid));
	assert_false(jrn_durable(x.j, tid + 1));
}

/* What the disk says: where the log begins. */
static uint32_t durable_start(void)
{
	struct image im = fixture_durable(&x);
	struct jbd2_super s;

	memcpy(&s, log_at(im.bytes, &x.super, 0), offsetof(struct jbd2_super, error));
	image_done(&im);
	return be32toh(s.start);
}

/* What lies there before may look like a transaction with just the number that is next. */
static void test_a_log_is_empty_until_its_first_transaction_is_durable(void **state)
{
	int flush, begin, commit;

	(void)state;
	fixture_open(&x, 1 << 20);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(durable_start(), 0);
		fake_device_clear(x.f);
		assert_int_equal(jrn_wait(x.j, put_blocks(&x, 0, 3, 1)), 0);
		flush = next_event(0, BD_FLUSH, 0, false);
		begin = next_event(0, BD_WRITE, BD_FUA, false);
		commit = next_event(0, BD_WRITE, BD_FUA, true);
		assert_true(flush > 0 && begin > flush && commit > begin);
		assert_int_equal(fake_device_seen(x.f, (unsigned)begin).off,
				 x.super.journal[0].phys * x.super.block_size);
		assert_int_equal(durable_start(), i ? 6 : 1);
		assert_int_equal(jrn_checkpoint(x.j), 0);
	}
}

static void test_j2_home_is_flushed_before_the_tail_moves(void **state)
{
	uint64_t bs, home, super;
	int wrote = -1, flushed = -1, moved = -1;

	(void)state;
	fixture_open(&x, 1 << 20);
	bs = x.super.block_size;
	home = (x.payload + 4) * bs;
	super = x.super.journal[0].phys * bs;
	assert_int_equal(jrn_wait(x.j, put_blocks(&x, 0, 10, 1)), 0);
	fake_device_clear(x.f);
	assert_int_equal(jrn_checkpoint(x.j), 0);
	for (unsigned i = 0; i < fake_device_count(x.f); i++) {
		struct fake_device_seen e = fake_device_seen(x.f, i);

		if (e.op == BD_WRITE && e.off <= home && e.off + e.len > home) {
			wrote = (int)i;
			assert_int_equal(e.len, 10 * bs); /* neighbours go together */
		}
		if (e.op == BD_FLUSH && wrote >= 0 && flushed < 0)
			flushed = (int)i;
		if (e.op == BD_WRITE && e.off == super) {
			moved = (int)i;
			assert_int_equal(e.flags, BD_FUA);
		}
	}
	assert_true(wrote >= 0 && flushed > wrote && moved > flushed);
}

static void test_j6_the_flag_is_durable_before_anything_is_logged(void **state)
{
	struct image im;
	struct jrn_counts c;

	(void)state;
	fixture_open(&x, 1 << 20);
	im = fixture_durable(&x);
	assert_int_equal(im.bytes[EXT4_SUPER_OFFSET + 0x60] & 4, 4);
	jrn_counts(x.j, &c);
	assert_int_equal(c.log_used, 0);
	assert_int_equal(fake_device_seen(x.f, fake_device_count(x.f) - 1).len, 512);
	assert_in_range(image_e2fsck(&im, "-y -E journal_only"), 0, 1);
	assert_int_equal(image_e2fsck(&im, "-fn"), 0);
	image_done(&im);
}

/* ---- the log -------------------------------------------------------------------- */

static void test_j5_numbers_go_on_over_clean_and_unclean_ends(void **state)
{
	struct jrn_recovered r;
	struct err err;
	struct image im;
	uint32_t first, tid;

	(void)state;
	fixture_open(&x, 1 << 20);
	first = put_blocks(&x, 0, 1, 1);
	assert_int_equal(jrn_wait(x.j, first), 0);
	assert_int_equal(fixture_close(&x), 0);
	fixture_open(&x, 1 << 20);
	tid = put_blocks(&x, 0, 1, 2);
	assert_int_equal(tid, first + 1);
	assert_int_equal(jrn_wait(x.j, tid), 0);
	im = fixture_durable(&x);
	assert_int_equal(image_recover(&im, &r, &err), 0);
	assert_int_equal(r.next_sequence, tid + 2); /* tid + 1 may have been begun */
	image_done(&im);
}

static void test_a_recovered_log_can_be_written_again(void **state)
{
	struct jrn_recovered r;
	struct err err;
	struct image im;
	struct fake_device *f;
	uint32_t tid;

	(void)state;
	fixture_open(&x, 1 << 20);
	assert_int_equal(jrn_wait(x.j, put_blocks(&x, 0, 1, 1)), 0);
	im = fixture_durable(&x);
	fixture_abandon(&x);
	assert_int_equal(image_recover(&im, &r, &err), 0);
	bd_close(x.dev);
	x.dev = device_with(&im, NULL, &f);
	x.f = f;
	image_done(&im);
	fixture_open(&x, 1 << 20);
	tid = put_blocks(&x, 1, 1, 2);
	assert_int_equal(tid, r.next_sequence);
	assert_int_equal(fixture_close(&x), 0);
	im = fixture_durable(&x);
	assert_true(block_is(&x, im.bytes, 0, 1));
	assert_true(block_is(&x, im.bytes, 1, 2));
	assert_int_equal(image_e2fsck(&im, "-fn"), 0);
	image_done(&im);
}

static void test_an_unrecovered_log_is_not_opened(void **state)
{
	struct err err = { "" };
	struct bufs_conf bc = { .memory = 1 << 20 };

	(void)state;
	fixture_open(&x, 1 << 20);
	assert_int_equal(jrn_wait(x.j, put_blocks(&x, 0, 1, 1)), 0);
	fixture_abandon(&x);
	bc.dev = x.dev;
	bc.block_size = x.super.block_size;
	bc.blocks = x.super.blocks;
	assert_int_equal(bufs_new(&bc, &x.bs), 0);
	x.conf.bufs = x.bs;
	assert_int_equal(jrn_open(&x.conf, &x.j, &err), -EUCLEAN);
	assert_non_null(strstr(err.text, "recovered"));
	bufs_free(x.bs);
}

static void test_devices_and_buffers_that_do_not_fit_are_refused(void **state)
{
	struct bufs_conf bc = { .block_size = 512, .memory = 1 << 20 };
	struct jrn *second = NULL;
	struct err err = { "" };

	(void)state;
	bc.dev = x.dev;
	bc.blocks = x.super.blocks;
	assert_int_equal(bufs_new(&bc, &x.bs), 0);
	x.conf.dev = x.dev;
	x.conf.bufs = x.bs;
	x.conf.super = &x.super;
	assert_int_equal(jrn_open(&x.conf, &x.j, &err), -EINVAL);
	assert_non_null(strstr(err.text, "512"));
	bufs_free(x.bs);
	fixture_open(&x, 1 << 20);
	/* One journal for these buffers. */
	assert_int_equal(jrn_open(&x.conf, &second, &err), -EBUSY);
	assert_null(second);
	assert_int_equal(fixture_close(&x), 0);
}

static void test_a_superblock_that_is_held_is_left_as_it_is(void **state)
{
	uint64_t super = EXT4_SUPER_OFFSET / 1024;
	struct jrn *second = NULL;
	struct ext4_super now;
	struct err err = { "" };
	struct buf *b;

	(void)state;
	fixture_open(&x, 1 << 20);
	assert_int_equal(jrn_close(x.j), 0);
	x.j = NULL;
	assert_int_equal(buf_get(x.bs, super, PLAIN, &b), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(jrn_open(&x.conf, &second, &err), -EBUSY);
		assert_int_equal(ext4_super_read(x.dev, &now, &err), 0);
		assert_false(now.needs_recovery);
		ext4_super_done(&now);
	}
	buf_put(b);
	assert_int_equal(jrn_open(&x.conf, &x.j, &err), 0);
	assert_int_equal(fixture_close(&x), 0);
}

/* More laps than one; after each commit a power cut would leave what was committed. */
static void test_the_log_wraps_and_each_state_recovers(void **state)
{
	struct jrn_recovered r;
	struct err err = { "" };
	struct jrn_counts c;
	uint32_t tid;

	(void)state;
	fixture_open(&x, 1 << 20);
	for (unsigned i = 0; i < 60; i++) {
		unsigned n = 1 + i * 37 % 150;

		tid = put_blocks(&x, i * 11 % 400, n, (int)i);
		assert_int_equal(jrn_wait(x.j, tid), 0);
		if (i % 15 == 11) {
			struct image im = fixture_durable(&x), other = fixture_durable(&x);

			if (image_recover(&im, &r, &err))
				fail_msg("%s", err.text);
			for (unsigned k = 0; k < n; k++)
				assert_true(block_is(&x, im.bytes, i * 11 % 400 + k, (int)i));
			assert_in_range(image_e2fsck(&other, "-y -E journal_only"), 0, 1);
			assert_true(same_files(&im, &other, &x.super));
			image_done(&im);
			image_done(&other);
		}
	}
	jrn_counts(x.j, &c);
	assert_true(c.blocks > 2 * c.log_blocks);
	assert_int_equal(c.commits, 60);
}

static void test_blocks_that_begin_with_the_magic_are_escaped(void **state)
{
	uint32_t magic = htobe32(JBD2_MAGIC), tid;
	struct jrn_recovered r;
	struct image im, other;
	struct jrn_counts c;
	struct err err;
	struct txn t;
	struct buf *b;

	(void)state;
	fixture_open(&x, 0); /* nothing is kept: read again from the image */
	assert_int_equal(txn_begin(x.j, 1, &t), 0);
	assert_int_equal(buf_get(x.bs, x.payload, PLAIN, &b), 0);
	buf_lock(b);
	memset(buf_change(&t, b, 0, 1024), 0x42, 1024);
	memcpy(buf_change(&t, b, 0, 4), &magic, 4);
	buf_unlock(b);
	buf_put(b);
	tid = txn_end(&t);
	assert_int_equal(jrn_wait(x.j, tid), 0);
	jrn_counts(x.j, &c);
	assert_int_equal(c.escapes, 1);
	assert_int_equal(buf_get(x.bs, x.payload, PLAIN, &b), 0);
	assert_memory_equal(b->data, &magic, 4);
	buf_put(b);
	im = fixture_durable(&x);
	other = fixture_durable(&x);
	assert_int_equal(image_recover(&im, &r, &err), 0);
	assert_memory_equal(im.bytes + x.payload * 1024, &magic, 4);
	assert_in_range(image_e2fsck(&other, "-y -E journal_only"), 0, 1);
	assert_true(same_files(&im, &other, &x.super));
	image_done(&im);
	image_done(&other);
	assert_int_equal(jrn_checkpoint(x.j), 0);
	assert_memory_equal(fake_device_bytes(x.f) + x.payload * 1024, &magic, 4);
}

/* ---- handles --------------------------------------------------------------------- */

static void test_a_handle_that_never_fits_is_refused(void **state)
{
	struct jrn_counts c;
	struct txn t;

	(void)state;
	fixture_open(&x, 1 << 20);
	jrn_counts(x.j, &c);
	assert_int_equal(txn_begin(x.j, c.log_blocks / JRN_TRANSACTION_PART, &t), -ENOSPC);
	assert_int_equal(txn_begin(x.j, UINT32_MAX, &t), -ENOSPC);
	assert_int_equal(txn_begin(x.j, 200, &t), 0);
	assert_int_equal(txn_extend(&t, 100), -EAGAIN);
	assert_int_equal(txn_extend(&t, 20), 0);
	assert_int_equal(t.credits, 220);
	txn_end(&t);
}

static void test_a_full_transaction_is_committed_by_who_comes_next(void **state)
{
	uint32_t first, second;

	(void)state;
	fixture_open(&x, 1 << 20);
	first = put_blocks(&x, 0, 200, 1);
	second = put_blocks(&x, 200, 200, 2); /* does not fit beside the other */
	assert_int_equal(second, first + 1);
	assert_int_equal(jrn_wait(x.j, first), 0);
}

static void test_unused_credits_are_given_back(void **state)
{
	struct txn t;
	uint32_t tid = 0;

	(void)state;
	fixture_open(&x, 1 << 20);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(txn_begin(x.j, 200, &t), 0);
		put_block(&x, &t, 0, (int)i);
		assert_true(!i || t.tid == tid);
		tid = txn_end(&t);
	}
}

static void test_waiting_for_a_transaction_without_changes_ends(void **state)
{
	struct jrn_counts before, c;
	struct txn t;
	uint32_t tid;

	(void)state;
	fixture_open(&x, 1 << 20);
	jrn_counts(x.j, &before);
	assert_int_equal(txn_begin(x.j, 5, &t), 0);
	tid = txn_end(&t);
	/* Data that was written before is as durable as after a commit. */
	assert_int_equal(jrn_wait(x.j, tid), 0);
	jrn_counts(x.j, &c);
	assert_int_equal(c.flushes, before.flushes + 1);
	assert_int_equal(jrn_commit(x.j), 0);
	jrn_counts(x.j, &c);
	assert_int_equal(c.flushes, before.flushes + 2);
	assert_int_equal(c.commits, 0);
	assert_int_equal(c.running, tid);
	assert_int_equal(jrn_wait(x.j, tid + 5), -EINVAL);
	assert_int_equal(put_blocks(&x, 0, 1, 1), tid);
	assert_int_equal(jrn_wait(x.j, tid), 0);
	assert_true(jrn_durable(x.j, tid));
}

static void test_a_transaction_is_committed_when_it_is_old(void **state)
{
	struct jrn_counts c;
	uint32_t tid;
	uint64_t until = clock_ms() + 20000;

	(void)state;
	x.conf.commit_ms = 30;
	fixture_open(&x, 1 << 20);
	tid = put_blocks(&x, 0, 1, 1);
	while (!jrn_durable(x.j, tid) && clock_ms() < until)
		usleep(1000);
	jrn_counts(x.j, &c);
	assert_int_equal(c.durable, tid);
}

static void test_a_barrier_is_a_flush_and_needs_no_commit(void **state)
{
	struct jrn_counts c;

	(void)state;
	fixture_open(&x, 1 << 20);
	fake_device_clear(x.f);
	put_blocks(&x, 0, 1, 1);
	assert_int_equal(jrn_barrier(x.j), 0);
	assert_int_equal(fake_device_count_op(x.f, BD_FLUSH), 1);
	jrn_counts(x.j, &c);
	assert_int_equal(c.commits, 0);
}

static void test_without_a_volatile_cache_nothing_is_flushed(void **state)
{
	struct fake_device_conf conf = { .limits.fua = true, .write_through = true };

	(void)state;
	fixture_done(&x);
	fixture_device(&x, SMALL_1K, 8, &conf);
	fixture_open(&x, 1 << 20);
	fake_device_clear(x.f);
	assert_int_equal(jrn_wait(x.j, put_blocks(&x, 0, 1, 1)), 0);
	assert_int_equal(jrn_barrier(x.j), 0);
	assert_int_equal(fixture_close(&x), 0);
	assert_int_equal(fake_device_count_op(x.f, BD_FLUSH), 0);
}

static void test_device_blocks_as_large_as_the_file_systems(void **state)
{
	struct fake_device_conf conf = {
		.limits = { .fua = true, .block = 4096, .align = 4096, .max_transfer = 16384 },
	};
	struct jrn_recovered r;
	struct image im;
	struct err err = { "" };

	(void)state;
	fixture_done(&x);
	fixture_device(&x, SMALL_4K, 24, &conf);
	fixture_open(&x, 1 << 20);
	for (unsigned i = 0; i < 12; i++)
		assert_int_equal(jrn_wait(x.j, put_blocks(&x, i * 50, 200, (int)i + 1)), 0);
	im = fixture_durable(&x);
	if (image_recover(&im, &r, &err))
		fail_msg("%s", err.text);
	assert_true(block_is(&x, im.bytes, 549, 11));
	assert_true(block_is(&x, im.bytes, 749, 12));
	image_done(&im);
	assert_int_equal(fixture_close(&x), 0);
	im = fixture_durable(&x);
	assert_int_equal(image_e2fsck(&im, "-fn"), 0);
	image_done(&im);
}

/* ---- many who wait ------------------------------------------------------------------ */

struct waiter {
	pthread_t thread;
	unsigned n;
	int rc;
};

static void *waiter_main(void *arg)
{
	struct waiter *w = arg;

	w->rc = jrn_wait(x.j, put_blocks(&x, w->n, 1, 7));
	return NULL;
}

static uint64_t commits(void)
{
	struct jrn_counts c;

	jrn_counts(x.j, &c);
	return c.commits;
}

static bool all_dirty(unsigned n)
{
	struct bufs_counts c;

	bufs_counts(x.bs, &c);
	return c.held >= n;
}

static void test_who_comes_during_a_commit_shares_the_next(void **state)
{
	struct waiter w[8], first = { .n = 100 };
	uint64_t until = clock_ms() + 20000;

	(void)state;
	fixture_open(&x, 1 << 20);
	assert_int_equal(jrn_wait(x.j, put_blocks(&x, 0, 8, 1)), 0);
	fake_device_hold_only(x.f, BD_FLUSH);
	fake_device_hold(x.f, true);
	assert_int_equal(pthread_create(&first.thread, NULL, waiter_main, &first), 0);
	fake_device_wait(x.f, 1);
	for (unsigned i = 0; i < 8; i++) {
		w[i] = (struct waiter){ .n = i };
		assert_int_equal(pthread_create(&w[i].thread, NULL, waiter_main, &w[i]), 0);
	}
	while (!all_dirty(8) && clock_ms() < until)
		usleep(500);
	assert_int_equal(commits(), 1);
	fake_device_hold(x.f, false);
	pthread_join(first.thread, NULL);
	for (unsigned i = 0; i < 8; i++) {
		pthread_join(w[i].thread, NULL);
		assert_int_equal(w[i].rc, 0);
	}
	assert_in_range(commits(), 3, 4); /* who was dirty, and not yet waiting, may be one more */
}

/* More than the log holds: images go home by themselves, and the tail follows. */
static void test_images_go_home_when_half_of_the_log_is_used(void **state)
{
	struct jrn_counts c;
	uint64_t until = clock_ms() + 20000;
	unsigned n = 0;

	(void)state;
	fixture_open(&x, 1 << 20);
	assert_int_equal(jrn_wait(x.j, put_blocks(&x, 0, 100, 1)), 0);
	assert_int_equal(jrn_checkpoint(x.j), 0);
	/* Different blocks each time, so that none is void: more than a lap. */
	for (; n < 6; n++)
		assert_int_equal(jrn_wait(x.j, put_blocks(&x, n * 200, 190, (int)n)), 0);
	do {
		jrn_counts(x.j, &c);
		usleep(500);
	} while (c.log_used > c.log_blocks / 2 && clock_ms() < until);
	assert_true(c.log_used <= c.log_blocks / 2);
	assert_true(c.home_writes >= 190);
}

/* ---- formats ----------------------------------------------------------------------- */

static void one_format(const char *options, size_t mib)
{
	struct jrn_recovered r;
	struct image ours, theirs;
	struct err err = { "" };

	fixture_device(&x, options, mib, NULL);
	fixture_open(&x, 1 << 20);
	for (unsigned i = 0; i < 5; i++)
		put_blocks(&x, i * 60, 100, (int)i + 1);
	assert_int_equal(jrn_commit(x.j), 0);
	ours = fixture_durable(&x);
	theirs = fixture_durable(&x);
	if (image_recover(&ours, &r, &err))
		fail_msg("%s: %s", options, err.text);
	assert_true(r.blocks > 0);
	assert_true(block_is(&x, ours.bytes, 59, 1));
	assert_true(block_is(&x, ours.bytes, 339, 5));
	assert_in_range(image_e2fsck(&theirs, "-y -E journal_only"), 0, 1);
	assert_true(same_files(&ours, &theirs, &x.super));
	assert_int_equal(image_e2fsck(&ours, "-fn"), 0);
	image_done(&ours);
	image_done(&theirs);
	assert_int_equal(fixture_close(&x), 0);
	ours = fixture_durable(&x);
	assert_int_equal(image_e2fsck(&ours, "-fn"), 0);
	image_done(&ours);
	fixture_done(&x);
}

static void test_logs_of_all_formats_are_replayed_by_e2fsck_to_the_same_bytes(void **state)
{
	(void)state;
	fixture_done(&x);
	one_format("-b 1024 -J size=1 -O ^64bit", 8);
	one_format("-b 1024 -J size=1 -O ^metadata_csum", 8);
	one_format("-b 1024 -J size=1 -O ^metadata_csum,^64bit", 8);
	one_format("-b 2048 -J size=2 -O metadata_csum_seed", 12);
	one_format("-b 4096 -J size=4", 24);
	one_format("-b 4096 -J size=5 -O ^metadata_csum,^64bit", 24);
	fixture_device(&x, SMALL_1K, 8, NULL); /* for the teardown */
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_commit_survives_and_both_recoveries_agree),
		T(test_a_clean_end_leaves_nothing_to_recover),
		T(test_j1_the_commit_block_follows_a_flush_of_the_rest),
		T(test_j1_nothing_is_acknowledged_while_the_flush_is_under_way),
		T(test_a_log_is_empty_until_its_first_transaction_is_durable),
		T(test_j2_home_is_flushed_before_the_tail_moves),
		T(test_j6_the_flag_is_durable_before_anything_is_logged),
		T(test_j5_numbers_go_on_over_clean_and_unclean_ends),
		T(test_a_recovered_log_can_be_written_again),
		T(test_an_unrecovered_log_is_not_opened),
		T(test_devices_and_buffers_that_do_not_fit_are_refused),
		T(test_a_superblock_that_is_held_is_left_as_it_is),
		T(test_the_log_wraps_and_each_state_recovers),
		T(test_blocks_that_begin_with_the_magic_are_escaped),
		T(test_a_handle_that_never_fits_is_refused),
		T(test_a_full_transaction_is_committed_by_who_comes_next),
		T(test_unused_credits_are_given_back),
		T(test_waiting_for_a_transaction_without_changes_ends),
		T(test_a_transaction_is_committed_when_it_is_old),
		T(test_a_barrier_is_a_flush_and_needs_no_commit),
		T(test_without_a_volatile_cache_nothing_is_flushed),
		T(test_device_blocks_as_large_as_the_file_systems),
		T(test_who_comes_during_a_commit_shares_the_next),
		T(test_images_go_home_when_half_of_the_log_is_used),
		T(test_logs_of_all_formats_are_replayed_by_e2fsck_to_the_same_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
