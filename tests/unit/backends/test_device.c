/* SPDX-License-Identifier: Apache-2.0 */
/* The core of devices (device.h, B1 to B6) over a fake transport; reconnects are in test_device_keep.c. */
#include "tests/unit/backends/device_test.h"

#define KIB 1024ull

static struct {
	struct bd *dev;
	struct fake_device *f;
} t;

static void open_with(const struct fake_device_conf *conf, const struct bd_env *env)
{
	t.dev = fake_device_open(conf, env, &t.f);
}

static int up(void **state)
{
	(void)state;
	open_with(&(struct fake_device_conf){ .size = 0 }, NULL);
	return 0;
}

static int down(void **state)
{
	(void)state;
	bd_close(t.dev);
	t.dev = NULL;
	return 0;
}

static void reopen(const struct fake_device_conf *conf, const struct bd_env *env)
{
	bd_close(t.dev);
	open_with(conf, env);
}

static struct bd_counts counts(void)
{
	struct bd_counts c;

	bd_counts(t.dev, &c);
	return c;
}

/* ---- what is refused ---------------------------------------------------- */

static void test_ranges_off_the_blocks_or_the_end_are_refused(void **state)
{
	uint64_t size = FAKE_DEVICE_SIZE;

	(void)state;
	assert_int_equal(refusal(t.dev, BD_READ, 0, 1, 512), -EINVAL);
	assert_int_equal(refusal(t.dev, BD_READ, 0, 0, 511), -EINVAL);
	assert_int_equal(refusal(t.dev, BD_READ, 0, 0, 0), -EINVAL);
	assert_int_equal(refusal(t.dev, BD_WRITE, 0, size, 512), -EINVAL);
	assert_int_equal(refusal(t.dev, BD_WRITE, 0, size - 512, 1024), -EINVAL);
	assert_int_equal(refusal(t.dev, BD_ZERO, 0, UINT64_MAX - 511, 1024), -EINVAL);
	assert_int_equal(refusal(t.dev, BD_ZERO, 0, 512, UINT64_MAX - 511), -EINVAL);
	assert_int_equal(fake_device_count(t.f), 0);
	assert_int_equal(counts().refused, 7);
}

static void test_flags_that_an_operation_does_not_have_are_refused(void **state)
{
	(void)state;
	assert_int_equal(refusal(t.dev, BD_READ, BD_FUA, 0, 512), -EINVAL);
	assert_int_equal(refusal(t.dev, BD_FLUSH, BD_FUA, 0, 0), -EINVAL);
	assert_int_equal(refusal(t.dev, BD_WRITE, BD_UNMAP, 0, 512), -EINVAL);
	assert_int_equal(refusal(t.dev, BD_DISCARD, BD_FUA, 0, 512), -EINVAL);
	assert_int_equal(refusal(t.dev, BD_ZERO, 4, 0, 512), -EINVAL);
	assert_int_equal(refusal(t.dev, BD_OPS, 0, 0, 512), -EINVAL);
	assert_int_equal(refusal(t.dev, BD_FLUSH, 0, 0, 512), -EINVAL);
	assert_int_equal(refusal(t.dev, BD_DISCARD, 0, 0, 512), -ENOTSUP);
}

static void test_pieces_are_checked(void **state)
{
	struct iovec many[BD_IOV_MAX + 1], two[2];
	struct treq *r = treq_new(BD_WRITE, 0, 0, 4096, 1);

	(void)state;
	reopen(&(struct fake_device_conf){ .limits = { .align = 512 } }, NULL);
	r->rq.niov = 0;
	assert_int_equal(bd_submit(t.dev, &r->rq), -EINVAL);
	r->rq.niov = 1;
	r->rq.iov = NULL;
	assert_int_equal(bd_submit(t.dev, &r->rq), -EINVAL);
	r->rq.iov = two;
	r->rq.niov = 2;
	two[0] = (struct iovec){ r->buf, 2048 };
	two[1] = (struct iovec){ r->buf + 2048, 1536 }; /* too short */
	assert_int_equal(bd_submit(t.dev, &r->rq), -EINVAL);
	two[1].iov_len = 2560; /* too long */
	assert_int_equal(bd_submit(t.dev, &r->rq), -EINVAL);
	two[1].iov_len = SIZE_MAX - 511; /* wraps */
	assert_int_equal(bd_submit(t.dev, &r->rq), -EINVAL);
	two[0].iov_len = 2000; /* not aligned */
	two[1].iov_len = 2096;
	assert_int_equal(bd_submit(t.dev, &r->rq), -EINVAL);
	two[0] = (struct iovec){ r->buf + 256, 2048 };
	two[1] = (struct iovec){ r->buf + 2048, 2048 };
	assert_int_equal(bd_submit(t.dev, &r->rq), -EINVAL);
	for (unsigned i = 0; i <= BD_IOV_MAX; i++)
		many[i] = (struct iovec){ r->buf, 512 };
	r->rq.iov = many;
	r->rq.niov = BD_IOV_MAX + 1;
	r->rq.len = 512ull * (BD_IOV_MAX + 1);
	assert_int_equal(bd_submit(t.dev, &r->rq), -EINVAL);
	r->rq.niov = BD_IOV_MAX;
	r->rq.len = 512ull * BD_IOV_MAX;
	assert_int_equal(bd_submit(t.dev, &r->rq), 0);
	assert_int_equal(treq_end(r), 0);
	assert_true(all_are(fake_device_bytes(t.f), 512ull * BD_IOV_MAX, 1));
}

static void test_a_readonly_device_takes_no_changes(void **state)
{
	struct bd_env env = { .readonly = true };

	(void)state;
	reopen(&(struct fake_device_conf){ .limits = { .max_discard = 4096 } }, &env);
	assert_int_equal(refusal(t.dev, BD_WRITE, 0, 0, 512), -EROFS);
	assert_int_equal(refusal(t.dev, BD_ZERO, 0, 0, 512), -EROFS);
	assert_int_equal(refusal(t.dev, BD_DISCARD, 0, 0, 512), -EROFS);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_READ, 0, 0, 512, 0)), 0);
	reopen(&(struct fake_device_conf){ .limits = { .readonly = true } }, NULL);
	assert_int_equal(refusal(t.dev, BD_WRITE, 0, 0, 512), -EROFS);
}

static void test_limits_that_make_no_sense_are_refused_at_the_open(void **state)
{
	static const struct fake_device_conf bad[] = {
		{ .limits = { .block = 256 } },
		{ .limits = { .block = 8192 } },
		{ .limits = { .block = 1000 } },
		{ .limits = { .align = 3 } },
		{ .limits = { .align = 8192 } },
		{ .limits = { .depth = BD_DEPTH_MAX + 1 } },
		{ .limits = { .block = 4096, .max_transfer = 2048 } },
		{ .limits = { .max_zero = 100 } },
		{ .limits = { .max_discard = 511 } },
		{ .size = 511 },
		{ .size = 1000 },
		{ .size = BD_SIZE_MAX + 512 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err err = { "" };
		struct bd *dev = NULL;
		struct fake_device *f = NULL;

		assert_int_equal(fake_device_try(&bad[i], NULL, &dev, &f, &err), -EINVAL);
		assert_non_null(strstr(err.text, "fake: "));
	}
}

/* ---- B2 ------------------------------------------------------------------ */

static void test_overlaps_in_flight_are_refused_but_of_reads(void **state)
{
	struct treq *w, *r, *again, *next;

	(void)state;
	reopen(&(struct fake_device_conf){ .limits = { .max_discard = 1 << 20,
						       .max_zero = 1 << 20 } },
	       NULL);
	fake_device_hold(t.f, true);
	w = treq_submit(t.dev, BD_WRITE, 0, 4 * KIB, 4 * KIB, 1);
	r = treq_submit(t.dev, BD_READ, 0, 16 * KIB, 4 * KIB, 0);
	assert_int_equal(refusal(t.dev, BD_READ, 0, 0, 4 * KIB + 512), -EBUSY);
	assert_int_equal(refusal(t.dev, BD_WRITE, 0, 8 * KIB - 512, 512), -EBUSY);
	assert_int_equal(refusal(t.dev, BD_WRITE, 0, 0, 64 * KIB), -EBUSY);
	assert_int_equal(refusal(t.dev, BD_DISCARD, 0, 16 * KIB, 512), -EBUSY);
	assert_int_equal(refusal(t.dev, BD_ZERO, 0, 20 * KIB - 512, 1024), -EBUSY);
	again = treq_submit(t.dev, BD_READ, 0, 16 * KIB, 4 * KIB, 0);
	next = treq_submit(t.dev, BD_WRITE, 0, 8 * KIB, 8 * KIB,
			   2); /* touches both, overlaps none */
	fake_device_hold(t.f, false);
	assert_int_equal(treq_end(w) | treq_end(r) | treq_end(again) | treq_end(next), 0);
	/* What is done is no longer in the way. */
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, 0, 4 * KIB, 4 * KIB, 3)), 0);
}

static void test_an_overlap_with_what_waits_in_the_queue_is_refused(void **state)
{
	struct treq *first, *second;

	(void)state;
	reopen(&(struct fake_device_conf){ .limits = { .depth = 1 } }, NULL);
	fake_device_hold(t.f, true);
	first = treq_submit(t.dev, BD_READ, 0, 0, 512, 0);
	second = treq_submit(t.dev, BD_WRITE, 0, 512, 512, 0);
	assert_int_equal(counts().waiting, 1);
	assert_int_equal(refusal(t.dev, BD_READ, 0, 512, 512), -EBUSY);
	fake_device_hold(t.f, false);
	assert_int_equal(treq_end(first) | treq_end(second), 0);
}

/* ---- depth and limits ------------------------------------------------------ */

static void test_what_is_beyond_the_depth_waits_in_order(void **state)
{
	struct treq *r[10];

	(void)state;
	reopen(&(struct fake_device_conf){ .limits = { .depth = 3 } }, NULL);
	fake_device_hold(t.f, true);
	for (unsigned i = 0; i < 10; i++)
		r[i] = treq_submit(t.dev, BD_WRITE, 0, i * 512, 512, (int)i);
	assert_int_equal(fake_device_held(t.f), 3);
	assert_int_equal(counts().in_flight, 3);
	assert_int_equal(counts().waiting, 7);
	for (unsigned i = 0; i < 10; i++) {
		fake_device_wait(t.f, i < 7 ? 3 : 10 - i);
		assert_int_equal(fake_device_at(t.f, 0).off, i * 512);
		fake_device_release(t.f, 0);
		assert_int_equal(treq_end(r[i]), 0);
	}
	assert_int_equal(fake_device_most(t.f), 3);
	assert_int_equal(counts().ops[BD_WRITE], 10);
	assert_int_equal(counts().bytes[BD_WRITE], 10 * 512);
}

static void check_cut(enum bd_op op, uint64_t off, uint64_t len, uint64_t max)
{
	struct treq *r;
	unsigned parts = (unsigned)((len + max - 1) / max);

	fake_device_clear(t.f);
	r = treq_submit(t.dev, op, 0, off, len, 0x5a);
	if (op == BD_WRITE) {
		for (uint64_t i = 0; i < len; i++)
			r->buf[i] = (uint8_t)(i / 512);
	}
	fake_device_hold(t.f, false);
	assert_int_equal(treq_wait(r), 0);
	assert_int_equal(fake_device_count(t.f), parts);
	for (unsigned i = 0; i < parts; i++)
		assert_int_equal(fake_device_seen(t.f, i).off, off + i * max);
	if (op == BD_READ || op == BD_WRITE)
		assert_memory_equal(fake_device_bytes(t.f) + off, r->buf, len);
	treq_free(r);
	fake_device_hold(t.f, true);
}

static void test_requests_are_cut_at_the_limits_and_done_once(void **state)
{
	struct fake_device_conf conf = { .limits = { .max_transfer = 4096 + 511,
						     .max_zero = 8192,
						     .max_discard = 16384,
						     .depth = 2 } };

	(void)state;
	reopen(&conf, NULL);
	fake_device_hold(t.f, true);
	check_cut(BD_WRITE, 0, 4096, 4096);
	check_cut(BD_WRITE, 512, 4096 + 512, 4096);
	check_cut(BD_WRITE, 0, 1 << 20, 4096);
	check_cut(BD_READ, 512, 64 * KIB - 1024, 4096);
	check_cut(BD_ZERO, 512, 64 * KIB, 8192);
	check_cut(BD_DISCARD, 1024, 128 * KIB, 16384);
	assert_int_equal(fake_device_most(t.f), 2);
	assert_int_equal(counts().ops[BD_WRITE], 3);
}

static void test_a_discard_is_cut_where_its_granules_end(void **state)
{
	struct fake_device_conf conf = { .limits = { .max_discard = 64 * KIB,
						     .discard_granularity = 16 * KIB } };

	(void)state;
	reopen(&conf, NULL);
	assert_int_equal(bd_discard(t.dev, 4 * KIB, 128 * KIB), 0);
	assert_int_equal(fake_device_seen(t.f, 0).len, 60 * KIB);
	assert_int_equal(fake_device_seen(t.f, 1).off, 64 * KIB);
	assert_int_equal(fake_device_seen(t.f, 1).len, 64 * KIB);
	assert_int_equal(fake_device_seen(t.f, 2).off, 128 * KIB);
}

static void test_pieces_are_cut_in_their_middle(void **state)
{
	struct treq *r = treq_new(BD_WRITE, 0, 1024, 10 * KIB, 0);
	struct iovec iov[4];
	size_t lens[4] = { 512, 5120, 1536, 3072 }, at = 0;

	(void)state;
	reopen(&(struct fake_device_conf){ .limits = { .max_transfer = 2048 } }, NULL);
	for (unsigned i = 0; i < 4; i++) {
		iov[i] = (struct iovec){ r->buf + at, lens[i] };
		memset(r->buf + at, (int)i + 1, lens[i]);
		at += lens[i];
	}
	r->rq.iov = iov;
	r->rq.niov = 4;
	assert_int_equal(bd_submit(t.dev, &r->rq), 0);
	assert_int_equal(treq_wait(r), 0);
	assert_memory_equal(fake_device_bytes(t.f) + 1024, r->buf, 10 * KIB);
	assert_int_equal(fake_device_count(t.f), 5);
	treq_free(r);
}

static void test_an_error_of_one_part_is_the_requests_and_stops_the_rest(void **state)
{
	struct treq *r;

	(void)state;
	reopen(&(struct fake_device_conf){ .limits = { .max_transfer = 512, .depth = 2 } }, NULL);
	fake_device_hold(t.f, true);
	fake_device_fail(t.f, BD_WRITE, 1, 1, -ENOSPC);
	r = treq_submit(t.dev, BD_WRITE, 0, 0, 8 * KIB, 1);
	fake_device_wait(t.f, 2);
	fake_device_release(t.f, 0);
	assert_false(treq_is_done(r)); /* the other part may still land */
	assert_int_equal(fake_device_held(t.f), 1);
	fake_device_release(t.f, 0);
	assert_int_equal(treq_end(r), -ENOSPC);
	assert_int_equal(fake_device_count(t.f), 2);
	assert_int_equal(counts().errors, 1);
	assert_int_equal(bd_failed(t.dev), 0);
}

/* ---- FUA, flush, zero --------------------------------------------------------- */

static void test_fua_is_passed_to_a_transport_that_has_it(void **state)
{
	(void)state;
	reopen(&(struct fake_device_conf){ .limits = { .fua = true, .max_transfer = 4096 } }, NULL);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, BD_FUA, 0, 8192, 7)), 0);
	assert_int_equal(fake_device_count(t.f), 2);
	assert_int_equal(fake_device_seen(t.f, 0).flags, BD_FUA);
	assert_int_equal(fake_device_seen(t.f, 1).flags, BD_FUA);
	assert_true(all_are(fake_device_durable(t.f), 8192, 7));
}

static void test_without_fua_a_flush_follows_when_all_parts_are_written(void **state)
{
	struct treq *r;

	(void)state;
	reopen(&(struct fake_device_conf){ .limits = { .max_transfer = 4096 } }, NULL);
	fake_device_hold(t.f, true);
	r = treq_submit(t.dev, BD_WRITE, BD_FUA, 0, 8192, 7);
	fake_device_wait(t.f, 2);
	fake_device_release(t.f, 1);
	assert_int_equal(fake_device_count(t.f), 2);
	fake_device_release(t.f, 0);
	fake_device_wait(t.f, 1);
	assert_int_equal(fake_device_at(t.f, 0).op, BD_FLUSH);
	assert_false(treq_is_done(r));
	fake_device_release(t.f, 0);
	assert_int_equal(treq_end(r), 0);
	assert_true(all_are(fake_device_durable(t.f), 8192, 7));
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(fake_device_seen(t.f, i).flags, 0);
}

static void test_zeros_with_fua_are_flushed_even_where_writes_have_it(void **state)
{
	(void)state;
	reopen(&(struct fake_device_conf){ .limits = { .fua = true, .max_zero = 4096 } }, NULL);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, BD_FUA, 0, 8192, 1)), 0);
	assert_int_equal(bd_zero(t.dev, 0, 8192, BD_FUA | BD_UNMAP), 0);
	assert_int_equal(fake_device_count(t.f), 4);
	assert_int_equal(fake_device_seen(t.f, 2).flags, BD_UNMAP);
	assert_int_equal(fake_device_seen(t.f, 3).op, BD_FLUSH);
	assert_true(all_are(fake_device_durable(t.f), 8192, 0));
}

static void test_without_a_volatile_cache_fua_and_flush_cost_nothing(void **state)
{
	struct treq *flush;

	(void)state;
	reopen(&(struct fake_device_conf){ .write_through = true }, NULL);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, BD_FUA, 0, 512, 7)), 0);
	flush = treq_submit(t.dev, BD_FLUSH, 0, 0, 0, 0);
	assert_int_equal(treq_wait(flush), 0);
	assert_false(pthread_equal(flush->on, pthread_self())); /* B6 */
	treq_free(flush);
	assert_int_equal(fake_device_count(t.f), 1);
	assert_int_equal(fake_device_seen(t.f, 0).flags, 0);
	assert_int_equal(counts().ops[BD_FLUSH], 1);
}

static void test_zeros_are_written_where_there_is_no_command(void **state)
{
	uint64_t len = 3 * KIB * KIB + 512;

	(void)state;
	reopen(&(struct fake_device_conf){ .size = 4 << 20,
					   .limits = { .max_transfer = 4 << 20, .align = 512 } },
	       NULL);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, 0, 0, 4 << 20, 7)), 0);
	assert_int_equal(bd_zero(t.dev, 512, len, BD_UNMAP), 0);
	assert_int_equal(fake_device_count_op(t.f, BD_ZERO), 0);
	assert_int_equal(fake_device_seen(t.f, 1).len, 1 << 20); /* no larger at once */
	assert_true(all_are(fake_device_bytes(t.f) + 512, len, 0));
	assert_true(all_are(fake_device_bytes(t.f), 512, 7));
	assert_true(all_are(fake_device_bytes(t.f) + 512 + len, 512, 7));
}

static void test_zeros_are_written_when_the_transport_learns_that_it_cannot(void **state)
{
	(void)state;
	reopen(&(struct fake_device_conf){ .limits = { .max_zero = 4096 } }, NULL);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, 0, 0, 16384, 7)), 0);
	fake_device_clear(t.f);
	fake_device_fail(t.f, BD_ZERO, 3, 0, -ENOTSUP);
	assert_int_equal(bd_zero(t.dev, 0, 16384, 0), 0);
	assert_true(all_are(fake_device_bytes(t.f), 16384, 0));
	assert_int_equal(fake_device_count_op(t.f, BD_WRITE), 1);
	fake_device_clear(t.f);
	assert_int_equal(bd_zero(t.dev, 0, 16384, 0), 0); /* and it is not asked again */
	assert_int_equal(fake_device_count_op(t.f, BD_ZERO), 0);
}

static void test_a_flush_makes_durable_what_was_done_before(void **state)
{
	(void)state;
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, 0, 0, 512, 1)), 0);
	assert_int_equal(bd_flush(t.dev), 0);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, 0, 512, 512, 2)), 0);
	fake_device_lose(t.f);
	assert_true(all_are(fake_device_bytes(t.f), 512, 1));
	assert_true(all_are(fake_device_bytes(t.f) + 512, 512, 0));
}

/* ---- B3 ----------------------------------------------------------------------- */

static void test_a_failed_flush_fails_all_later_changes_but_no_reads(void **state)
{
	struct treq *flush, *waits, *in_flight;

	(void)state;
	reopen(&(struct fake_device_conf){ .limits = { .depth = 2 } }, NULL);
	fake_device_hold(t.f, true);
	fake_device_fail(t.f, BD_FLUSH, 1, 1, -EIO);
	flush = treq_submit(t.dev, BD_FLUSH, 0, 0, 0, 0);
	in_flight = treq_submit(t.dev, BD_WRITE, 0, 0, 512, 1);
	waits = treq_submit(t.dev, BD_WRITE, 0, 512, 512, 1);
	fake_device_wait(t.f, 2);
	fake_device_release(t.f, 0);
	assert_int_equal(treq_end(flush), -EIO);
	assert_int_equal(treq_end(waits), -EIO);
	assert_int_equal(bd_failed(t.dev), -EIO);
	assert_int_equal(refusal(t.dev, BD_WRITE, 0, 4096, 512), -EIO);
	assert_int_equal(refusal(t.dev, BD_FLUSH, 0, 0, 0), -EIO);
	assert_int_equal(refusal(t.dev, BD_ZERO, 0, 4096, 512), -EIO);
	fake_device_hold(t.f, false);
	assert_int_equal(treq_end(in_flight), 0);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_READ, 0, 0, 512, 0)), 0);
}

/* Else the success of one could be told after the failure of the other, whose data it does not have. */
static void test_one_flush_is_out_at_a_time_and_its_failure_is_all_of_theirs(void **state)
{
	struct treq *first, *second, *third, *fua;

	(void)state;
	fake_device_hold_only(t.f, BD_FLUSH);
	fake_device_fail(t.f, BD_FLUSH, 2, 1, -EIO);
	first = treq_submit(t.dev, BD_FLUSH, 0, 0, 0, 0);
	second = treq_submit(t.dev, BD_FLUSH, 0, 0, 0, 0);
	third = treq_submit(t.dev, BD_FLUSH, 0, 0, 0, 0);
	fua = treq_submit(t.dev, BD_WRITE, BD_FUA, 0, 512, 1);
	fake_device_wait(t.f, 1);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_READ, 0, 4096, 512, 0)), 0);
	assert_int_equal(fake_device_held(t.f), 1);
	fake_device_release(t.f, 0);
	assert_int_equal(treq_end(first), 0);
	fake_device_wait(t.f, 1);
	assert_int_equal(fake_device_held(t.f), 1);
	assert_false(treq_is_done(second) || treq_is_done(third) || treq_is_done(fua));
	fake_device_release(t.f, 0);
	assert_int_equal(treq_end(second), -EIO);
	assert_int_equal(treq_end(third), -EIO);
	assert_int_equal(treq_end(fua), -EIO);
	assert_int_equal(fake_device_count_op(t.f, BD_FLUSH), 2);
}

static void test_flushes_that_wait_need_only_one_more(void **state)
{
	struct treq *first, *later[5];

	(void)state;
	fake_device_hold(t.f, true);
	first = treq_submit(t.dev, BD_FLUSH, 0, 0, 0, 0);
	fake_device_wait(t.f, 1);
	for (unsigned i = 0; i < 5; i++)
		later[i] = treq_submit(t.dev, i % 2 ? BD_WRITE : BD_FLUSH, i % 2 ? BD_FUA : 0,
				       i % 2 * 512ull * i, i % 2 * 512ull, 7);
	fake_device_wait(t.f, 3);
	fake_device_release(t.f, 1);
	fake_device_release(t.f, 1);
	assert_int_equal(fake_device_held(t.f), 1);
	fake_device_release(t.f, 0);
	assert_int_equal(treq_end(first), 0);
	fake_device_wait(t.f, 1);
	assert_int_equal(fake_device_at(t.f, 0).op, BD_FLUSH);
	for (unsigned i = 0; i < 5; i++)
		assert_false(treq_is_done(later[i]));
	fake_device_release(t.f, 0);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(treq_end(later[i]), 0);
	assert_int_equal(fake_device_count_op(t.f, BD_FLUSH), 2);
	assert_true(all_are(fake_device_durable(t.f) + 512, 512, 7));
	assert_true(all_are(fake_device_durable(t.f) + 1536, 512, 7));
	assert_int_equal(counts().ops[BD_FLUSH], 4);
}

static void test_a_flush_that_succeeds_on_a_device_that_failed_is_none(void **state)
{
	struct treq *flush, *fua;

	(void)state;
	fake_device_hold_only(t.f, BD_FLUSH);
	flush = treq_submit(t.dev, BD_FLUSH, 0, 0, 0, 0);
	fake_device_wait(t.f, 1);
	bd_fail(t.dev, -EIO);
	fake_device_release(t.f, 0);
	assert_int_equal(treq_end(flush), -EIO);
	reopen(&(struct fake_device_conf){ .size = 0 }, NULL);
	fake_device_hold_only(t.f, BD_FLUSH);
	fua = treq_submit(t.dev, BD_WRITE, BD_FUA, 0, 512, 1);
	fake_device_wait(t.f, 1);
	bd_fail(t.dev, -EIO);
	fake_device_release(t.f, 0);
	assert_int_equal(treq_end(fua), -EIO);
}

static void test_a_cancel_ends_flushes_that_wait_for_another(void **state)
{
	struct treq *r[4];

	(void)state;
	fake_device_hold(t.f, true);
	for (unsigned i = 0; i < 3; i++)
		r[i] = treq_submit(t.dev, BD_FLUSH, 0, 0, 0, 0);
	fake_device_wait(t.f, 1);
	fake_device_release(t.f, 0);
	assert_int_equal(treq_end(r[0]), 0);
	fake_device_wait(t.f, 1); /* r[1], and r[2] goes with it */
	r[3] = treq_submit(t.dev, BD_FLUSH, 0, 0, 0, 0);
	bd_cancel(t.dev);
	for (unsigned i = 1; i < 4; i++)
		assert_int_equal(treq_end(r[i]), -ECANCELED);
}

static void test_a_failed_flush_in_place_of_fua_fails_the_device(void **state)
{
	(void)state;
	fake_device_fail(t.f, BD_FLUSH, 1, 1, -ENOSPC);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, BD_FUA, 0, 512, 1)), -ENOSPC);
	assert_int_equal(bd_flush(t.dev), -ENOSPC);
	assert_int_equal(fake_device_count_op(t.f, BD_FLUSH), 1);
}

static void test_the_first_failure_is_the_one_that_stays(void **state)
{
	(void)state;
	bd_fail(t.dev, -ETIMEDOUT);
	bd_fail(t.dev, -EIO);
	assert_int_equal(bd_failed(t.dev), -ETIMEDOUT);
	assert_int_equal(bd_flush(t.dev), -ETIMEDOUT);
}

static void test_a_cut_write_on_a_device_that_failed_stops(void **state)
{
	struct treq *r;

	(void)state;
	reopen(&(struct fake_device_conf){ .limits = { .max_transfer = 512, .depth = 2 } }, NULL);
	fake_device_hold(t.f, true);
	r = treq_submit(t.dev, BD_WRITE, 0, 0, 4096, 1);
	fake_device_wait(t.f, 2);
	bd_fail(t.dev, -EIO);
	fake_device_release(t.f, 0);
	assert_int_equal(fake_device_count(t.f), 2); /* no more of it is sent */
	fake_device_release(t.f, 0);
	assert_int_equal(treq_end(r), -EIO);
	assert_int_equal(fake_device_count(t.f), 2);
}

/* ---- B6 ----------------------------------------------------------------------- */

struct chain {
	struct treq *r;
	unsigned left;
	sem_t end;
};

static void chain_done(struct bd_req *rq)
{
	struct chain *ch = rq->arg;

	if (rq->result || ch->left-- == 0 || bd_submit(t.dev, rq))
		sem_post(&ch->end);
}

static void test_done_may_submit(void **state)
{
	struct chain ch = { .r = treq_new(BD_WRITE, BD_FUA, 0, 512, 1), .left = 1000 };

	(void)state;
	sem_init(&ch.end, 0, 0);
	ch.r->rq.done = chain_done;
	ch.r->rq.arg = &ch;
	assert_int_equal(bd_submit(t.dev, &ch.r->rq), 0);
	while (sem_wait(&ch.end))
		;
	assert_int_equal(ch.r->rq.result, 0);
	assert_int_equal(fake_device_count_op(t.f, BD_FLUSH), 1001);
	assert_true(bd_idle(t.dev, clock_ms() + TEST_WAIT_MS));
	sem_destroy(&ch.end);
	treq_free(ch.r);
}

static void test_a_row_is_kicked_once_and_ends_at_the_refused_one(void **state)
{
	struct treq *r[4];
	struct bd_req *rqs[4];
	int rc = 1;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		r[i] = treq_new(BD_WRITE, 0, i == 2 ? 1 : i * 512ull, 512, 1);
		rqs[i] = &r[i]->rq;
	}
	assert_int_equal(bd_submit_all(t.dev, rqs, 4, &rc), 2);
	assert_int_equal(rc, -EINVAL);
	assert_int_equal(fake_device_kicks(t.f), 1);
	assert_int_equal(treq_wait(r[0]) | treq_wait(r[1]), 0);
	assert_int_equal(bd_submit_all(t.dev, rqs + 3, 1, &rc), 1);
	assert_int_equal(rc, 0);
	assert_int_equal(treq_wait(r[3]), 0);
	for (unsigned i = 0; i < 4; i++)
		treq_free(r[i]);
}

/* ---- end ----------------------------------------------------------------------- */

static void test_cancel_ends_what_waits_and_refuses_what_comes(void **state)
{
	struct treq *first, *second;

	(void)state;
	reopen(&(struct fake_device_conf){ .limits = { .depth = 1 } }, NULL);
	fake_device_hold(t.f, true);
	first = treq_submit(t.dev, BD_READ, 0, 0, 512, 0);
	second = treq_submit(t.dev, BD_READ, 0, 0, 512, 0);
	bd_cancel(t.dev);
	bd_cancel(t.dev);
	assert_int_equal(treq_wait(second), -ECANCELED);
	assert_false(pthread_equal(second->on, pthread_self()));
	treq_free(second);
	assert_int_equal(treq_end(first), -ECANCELED); /* the transport can */
	assert_int_equal(refusal(t.dev, BD_READ, 0, 0, 512), -ESHUTDOWN);
	assert_int_equal(refusal(t.dev, BD_FLUSH, 0, 0, 0), -ESHUTDOWN);
	assert_int_equal(bd_failed(t.dev), 0);
}

static void test_close_ends_all_that_is_inside_and_waits(void **state)
{
	struct treq *r[8];

	(void)state;
	reopen(&(struct fake_device_conf){ .limits = { .depth = 2, .max_transfer = 1024 } }, NULL);
	fake_device_hold(t.f, true);
	for (unsigned i = 0; i < 8; i++)
		r[i] = treq_submit(t.dev, BD_WRITE, BD_FUA, i * 4096, 4096, 1);
	bd_close(t.dev);
	for (unsigned i = 0; i < 8; i++) {
		assert_true(treq_is_done(r[i]));
		assert_int_equal(treq_end(r[i]), -ECANCELED);
	}
	open_with(&(struct fake_device_conf){ .size = 0 }, NULL);
	bd_close(NULL);
}

static void test_idle_waits_for_what_is_inside_up_to_its_limit(void **state)
{
	struct treq *r;

	(void)state;
	assert_true(bd_idle(t.dev, clock_ms()));
	fake_device_hold(t.f, true);
	r = treq_submit(t.dev, BD_READ, 0, 0, 512, 0);
	assert_false(bd_idle(t.dev, clock_ms() + 20));
	fake_device_hold(t.f, false);
	assert_true(bd_idle(t.dev, clock_ms() + TEST_WAIT_MS));
	assert_true(treq_is_done(r));
	treq_free(r);
}

static void test_a_device_grows_but_never_shrinks(void **state)
{
	(void)state;
	fake_device_grow(t.f, FAKE_DEVICE_SIZE - 512);
	assert_int_equal(bd_resize(t.dev), -EIO);
	assert_int_equal(t.dev->size, FAKE_DEVICE_SIZE);
	fake_device_grow(t.f, FAKE_DEVICE_SIZE + 513);
	assert_int_equal(bd_resize(t.dev), 0);
	assert_int_equal(t.dev->size, FAKE_DEVICE_SIZE + 512);
	fake_device_grow(t.f, BD_SIZE_MAX + 512);
	assert_int_equal(bd_resize(t.dev), -EFBIG);
}

static void test_waiting_calls_copy_memory_that_is_not_aligned(void **state)
{
	size_t len = (2 << 20) + 4096;
	uint8_t *mem = malloc(len + 4096), *p = mem + 4096 - (uintptr_t)mem % 4096 - 3;

	(void)state;
	assert_non_null(mem);
	reopen(&(struct fake_device_conf){ .size = 4 << 20, .limits = { .align = 4096 } }, NULL);
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(i / 511);
	assert_int_equal(bd_write(t.dev, p, len, 4096, 0), 0);
	assert_memory_equal(fake_device_bytes(t.f) + 4096, p, len);
	memset(p, 0, len);
	assert_int_equal(bd_read(t.dev, p, len, 4096), 0);
	assert_memory_equal(fake_device_bytes(t.f) + 4096, p, len);
	assert_int_equal(bd_read(t.dev, p, 100, 0), -EINVAL);
	free(mem);
}

/* ---- many threads --------------------------------------------------------------- */

#define STORM_THREADS 4u
#define STORM_SHARE (64 * KIB)

static void *storm(void *arg)
{
	uint64_t base = *(unsigned *)arg * STORM_SHARE;
	unsigned seed = *(unsigned *)arg + 1;
	uint8_t shadow[STORM_SHARE], buf[8192];

	memset(shadow, 0, sizeof shadow);
	for (unsigned i = 0; i < 300; i++) {
		uint64_t len = 512ull * (1 + (unsigned)rand_r(&seed) % 16);
		uint64_t off = 512ull * ((unsigned)rand_r(&seed) %
					 (unsigned)((STORM_SHARE - len) / 512 + 1));
		unsigned what = (unsigned)rand_r(&seed) % 8;

		if (what < 4) {
			memset(buf, (int)i, len);
			assert_int_equal(bd_write(t.dev, buf, len, base + off, what ? 0 : BD_FUA),
					 0);
			memset(shadow + off, (int)i, len);
		} else if (what < 7) {
			assert_int_equal(bd_read(t.dev, buf, len, base + off), 0);
			assert_memory_equal(buf, shadow + off, len);
		} else {
			assert_int_equal(bd_zero(t.dev, base + off, len, 0), 0);
			memset(shadow + off, 0, len);
		}
	}
	return NULL;
}

static void test_threads_see_their_own_writes(void **state)
{
	pthread_t threads[STORM_THREADS];
	unsigned ids[STORM_THREADS];

	(void)state;
	reopen(&(struct fake_device_conf){ .limits = { .depth = 3, .max_transfer = 2048 } }, NULL);
	for (unsigned i = 0; i < STORM_THREADS; i++) {
		ids[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, storm, &ids[i]), 0);
	}
	for (unsigned i = 0; i < STORM_THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(counts().errors, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_ranges_off_the_blocks_or_the_end_are_refused),
		T(test_flags_that_an_operation_does_not_have_are_refused),
		T(test_pieces_are_checked),
		T(test_a_readonly_device_takes_no_changes),
		cmocka_unit_test(test_limits_that_make_no_sense_are_refused_at_the_open),
		T(test_overlaps_in_flight_are_refused_but_of_reads),
		T(test_an_overlap_with_what_waits_in_the_queue_is_refused),
		T(test_what_is_beyond_the_depth_waits_in_order),
		T(test_requests_are_cut_at_the_limits_and_done_once),
		T(test_a_discard_is_cut_where_its_granules_end),
		T(test_pieces_are_cut_in_their_middle),
		T(test_an_error_of_one_part_is_the_requests_and_stops_the_rest),
		T(test_fua_is_passed_to_a_transport_that_has_it),
		T(test_without_fua_a_flush_follows_when_all_parts_are_written),
		T(test_zeros_with_fua_are_flushed_even_where_writes_have_it),
		T(test_without_a_volatile_cache_fua_and_flush_cost_nothing),
		T(test_zeros_are_written_where_there_is_no_command),
		T(test_zeros_are_written_when_the_transport_learns_that_it_cannot),
		T(test_a_flush_makes_durable_what_was_done_before),
		T(test_a_failed_flush_fails_all_later_changes_but_no_reads),
		T(test_one_flush_is_out_at_a_time_and_its_failure_is_all_of_theirs),
		T(test_flushes_that_wait_need_only_one_more),
		T(test_a_flush_that_succeeds_on_a_device_that_failed_is_none),
		T(test_a_cancel_ends_flushes_that_wait_for_another),
		T(test_a_failed_flush_in_place_of_fua_fails_the_device),
		T(test_the_first_failure_is_the_one_that_stays),
		T(test_a_cut_write_on_a_device_that_failed_stops),
		T(test_done_may_submit),
		T(test_a_row_is_kicked_once_and_ends_at_the_refused_one),
		T(test_cancel_ends_what_waits_and_refuses_what_comes),
		T(test_close_ends_all_that_is_inside_and_waits),
		T(test_idle_waits_for_what_is_inside_up_to_its_limit),
		T(test_a_device_grows_but_never_shrinks),
		T(test_waiting_calls_copy_memory_that_is_not_aligned),
		T(test_threads_see_their_own_writes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
