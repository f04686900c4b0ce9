/* SPDX-License-Identifier: Apache-2.0 */
/* Taking a program's data: edges, ends, limits, waiting. */
#include "tests/unit/cache/cache_test.h"

static void whole_units_need_no_read(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, 4 * PAGE);

	(void)state;
	put(x, UNIT, 2 * PAGE, 1);
	assert_int_equal(fake_calls(x->fb, FAKE_READ), 0);
	assert_int_equal(cache_flush(x->f, false), 0);
	expect_original(x, 0, UNIT, UNIT);
	expect_stored(x, UNIT, 2 * PAGE, 1, false);
	fx_done(x);
}

/* off, length, units that must be read */
static void edges_cost_one_unit_each(void **state)
{
	static const struct {
		uint32_t off, len, reads;
	} cases[] = {
		{ 10, 20, 1 },
		{ 0, UNIT + 10, 1 },
		{ UNIT - 10, UNIT + 10, 1 },
		{ 10, 2 * UNIT, 2 },
		{ 0, PAGE + 10, 1 },
		{ PAGE + 7, PAGE, 2 },
		{ 3 * PAGE - 10, PAGE + 10, 1 },
		{ 4 * PAGE - 10, 10, 1 },
		{ 4 * PAGE - 2 * UNIT, 2 * UNIT, 0 },
		{ PAGE, 3 * PAGE, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct fx *x = fx_new(FAKE_INLINE, 4 * PAGE);
		uint32_t off = cases[i].off, end = off + cases[i].len;

		put(x, off, cases[i].len, 0xee);
		assert_int_equal(fake_calls(x->fb, FAKE_READ), cases[i].reads);
		for (unsigned n = 0; n < cases[i].reads; n++)
			assert_int_equal(fake_logged(x->fb, FAKE_READ, n).len, UNIT);
		expect_read(x, off, cases[i].len, cases[i].len, 0xee);
		if (off)
			expect_original(x, 0, off, (ssize_t)off);
		if (end < 4 * PAGE)
			expect_original(x, end, 4 * PAGE, 4 * PAGE - (ssize_t)end);
		assert_int_equal(cache_flush(x->f, false), 0);
		expect_stored(x, off, cases[i].len, 0xee, false);
		fx_done(x);
	}
}

static void tail_that_covers_the_end_of_file_needs_no_read(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, UNIT + 100);

	(void)state;
	put(x, UNIT, 100, 1);
	assert_int_equal(fake_calls(x->fb, FAKE_READ), 0);
	assert_int_equal(cache_flush(x->f, false), 0);
	assert_int_equal(fake_size(x->n), UNIT + 100);
	fx_done(x);
}

static void bytes_beyond_the_end_are_zeros(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, 100);

	(void)state;
	put(x, 3 * PAGE + 5, 10, 1);
	assert_int_equal(fake_calls(x->fb, FAKE_READ), 0);
	expect_original(x, 0, 100, 100);
	expect_read(x, 100, 3 * PAGE - 95, 3 * PAGE - 95, 0);
	put(x, 3 * PAGE + 20, 1, 2);
	expect_read(x, 3 * PAGE + 15, 5, 5, 0);
	assert_int_equal(cache_flush(x->f, false), 0);
	assert_int_equal(fake_size(x->n), 3 * PAGE + 21);
	expect_stored(x, 100, 3 * PAGE - 95, 0, false);
	fx_done(x);
}

static ssize_t append(struct fx *x, struct writing *w, uint32_t len, const uint8_t *src)
{
	ssize_t rc;

	waiting_init(&w->w);
	w->wr = (struct cache_wr){ .file = x->f,
				   .len = len,
				   .src = src,
				   .cred = x->cred,
				   .append = true,
				   .done = writing_ended };
	rc = cache_write(&w->wr, true);
	if (rc != -EINPROGRESS)
		waiting_end(&w->w, rc);
	return rc;
}

static void append_goes_to_the_end(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, 10);
	struct writing w;

	(void)state;
	assert_int_equal(append(x, &w, 3, (const uint8_t *)"abc"), 3);
	assert_int_equal(w.wr.off, 10);
	assert_int_equal(append(x, &w, 3, (const uint8_t *)"def"), 3);
	assert_int_equal(w.wr.off, 13);
	assert_int_equal(cache_flush(x->f, false), 0);
	assert_int_equal(fake_size(x->n), 16);
	fx_done(x);
}

/* Both find that the last unit has to be read first. */
static void appends_that_wait_do_not_meet(void **state)
{
	struct fx *x = fx_new(FAKE_QUEUED, 10);
	struct writing a, b;

	(void)state;
	assert_int_equal(append(x, &a, 3, (const uint8_t *)"abc"), -EINPROGRESS);
	assert_int_equal(append(x, &b, 3, (const uint8_t *)"def"), -EINPROGRESS);
	fake_complete_all(x->fb);
	assert_int_equal(write_end(&a), 3);
	assert_int_equal(write_end(&b), 3);
	assert_int_equal(cache_file_size(x->f), 16);
	assert_int_not_equal(a.wr.off, b.wr.off);
	assert_int_equal(cache_flush(x->f, true), -EAGAIN);
	fake_complete_all(x->fb);
	fx_done(x);
}

static void append_beyond_the_largest_file_is_refused(void **state)
{
	struct fx *x = fx_backend(FAKE_INLINE);
	struct writing w;

	(void)state;
	x->fb->be.limits.file_max = 100;
	fx_cache(x, 99);
	assert_int_equal(append(x, &w, 2, (const uint8_t *)"ab"), -EFBIG);
	assert_int_equal(append(x, &w, 1, (const uint8_t *)"a"), 1);
	assert_int_equal(cache_flush(x->f, false), 0);
	fx_done(x);
}

static void too_large_offsets_are_refused(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, 0);
	uint8_t b = 1;

	(void)state;
	assert_int_equal(write_wait(x, FAKE_FILE_MAX, 1, &b), -EFBIG);
	assert_int_equal(write_wait(x, UINT64_MAX, 1, &b), -EFBIG);
	assert_int_equal(write_wait(x, 5, 0, &b), 0);
	assert_int_equal(cache_file_size(x->f), 0);
	fx_done(x);
}

static void write_waits_for_a_fill_of_its_unit(void **state)
{
	struct fx *x = fx_new(FAKE_QUEUED, PAGE);
	struct reading r;
	struct writing w;
	uint8_t buf[PAGE], b = 0xee;

	(void)state;
	read_begin(&r, x->f, x->cred, 0, UNIT);
	write_begin(&w, x->f, x->cred, 100, 1, &b);
	assert_false(waiting_over(&w.w));
	fake_complete_all(x->fb);
	assert_int_equal(write_end(&w), 1);
	assert_int_equal(read_end(&r, buf), UNIT);
	assert_int_equal(buf[99], fake_byte(99));
	assert_int_equal(fake_calls(x->fb, FAKE_READ), 1);
	assert_int_equal(cache_flush(x->f, true), -EAGAIN);
	fake_complete_all(x->fb);
	expect_stored(x, 100, 1, 0xee, false);
	fx_done(x);
}

static void failed_read_of_an_edge_fails_the_write(void **state)
{
	struct fx *x = fx_new(FAKE_QUEUED, PAGE);
	struct writing w;
	uint8_t b = 1;

	(void)state;
	write_begin(&w, x->f, x->cred, 100, 1, &b);
	fake_fail(x->fb, FAKE_READ, 0, 1, -EIO);
	fake_complete_all(x->fb);
	assert_int_equal(write_end(&w), -EIO);
	assert_false(cache_file_dirty(x->f));
	fx_done(x);
}

static void nowait_write_resumes_where_it_stopped(void **state)
{
	struct fx *x = fx_new(FAKE_QUEUED, 4 * PAGE);
	uint8_t *src = malloc(PAGE + 10);
	struct writing w;

	(void)state;
	assert_non_null(src);
	memset(src, 3, PAGE + 10);
	waiting_init(&w.w);
	w.wr = (struct cache_wr){ .file = x->f,
				  .off = 0,
				  .len = PAGE + 10,
				  .src = src,
				  .cred = x->cred,
				  .done = writing_ended };
	assert_int_equal(cache_write(&w.wr, false), -EAGAIN);
	assert_int_equal(fake_queued(x->fb), 1);
	assert_int_equal(cache_write_resume(&w.wr), -EINPROGRESS);
	fake_complete_all(x->fb);
	assert_int_equal(write_end(&w), PAGE + 10);
	free(src);
	assert_int_equal(cache_flush(x->f, true), -EAGAIN);
	fake_complete_all(x->fb);
	expect_stored(x, 0, PAGE + 10, 3, false);
	fx_done(x);
}

static struct fx *limited_fx(enum fake_mode mode)
{
	struct fx *x = fx_backend(mode);

	x->tun.limit_percent = 5; /* of 64 frames: three */
	fx_cache(x, 0);
	put(x, 0, 3 * PAGE, 1);
	return x;
}

static void writers_at_the_limit_are_released_in_order(void **state)
{
	struct fx *x = limited_fx(FAKE_QUEUED);
	struct writing w[6];
	uint8_t b = 2;
	bool skipped;

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		write_begin(&w[i], x->f, x->cred, (10 + i) * PAGE, 1, &b);
		assert_false(waiting_over(&w[i].w));
	}
	assert_int_equal(x->c->nheld, 6);
	for (unsigned done = 0; done < 6;) {
		assert_int_equal(wb_submit_file(x->f, false, true, &skipped), 0);
		while (fake_complete_next(x->fb))
			;
		/* The thread releases, too: what has ended is among the first in line. */
		for (unsigned i = done; i < 6; i++)
			if (waiting_over(&w[i].w))
				assert_true(i < 6 - x->c->nheld);
		while (done < 6 - x->c->nheld)
			assert_int_equal(write_end(&w[done++]), 1);
		assert_in_range(x->c->held_frames, 0, 3);
	}
	assert_int_equal(wb_submit_file(x->f, false, true, &skipped), 0);
	fake_complete_all(x->fb);
	fx_done(x);
}

static void held_writer_can_be_cancelled(void **state)
{
	struct fx *x = limited_fx(FAKE_INLINE);
	struct writing a, b;
	uint8_t byte = 2;

	(void)state;
	write_begin(&a, x->f, x->cred, 10 * PAGE, 1, &byte);
	write_begin(&b, x->f, x->cred, 11 * PAGE, 1, &byte);
	assert_true(cache_write_cancel(&a.wr));
	assert_false(cache_write_cancel(&a.wr));
	assert_int_equal(cache_flush(x->f, false), 0);
	assert_int_equal(write_end(&b), 1);
	assert_false(waiting_over(&a.w));
	assert_int_equal(cache_flush(x->f, false), 0);
	assert_int_equal(fake_size(x->n), 11 * PAGE + 1);
	fx_done(x);
}

static void nowait_writer_is_not_parked_at_the_limit(void **state)
{
	struct fx *x = limited_fx(FAKE_INLINE);
	uint8_t byte = 2;
	struct cache_wr wr = {
		.file = x->f, .off = 9 * PAGE, .len = 1, .src = &byte, .cred = x->cred
	};

	(void)state;
	assert_int_equal(cache_write(&wr, false), -EAGAIN);
	assert_int_equal(x->c->nheld, 0);
	assert_int_equal(cache_flush(x->f, false), 0);
	assert_int_equal(cache_write(&wr, false), 1);
	assert_int_equal(cache_flush(x->f, false), 0);
	fx_done(x);
}

/* With nothing that could be written, waiting for room would never end. */
static void writers_held_by_a_refusing_backend_get_its_error(void **state)
{
	struct fx *x = limited_fx(FAKE_INLINE);
	struct cache_file *g;
	struct writing w;
	uint8_t byte = 2;

	(void)state;
	assert_int_equal(cache_file_new(x->c, &x->n->node, 0, 8, &g), 0);
	fake_fail(x->fb, FAKE_WRITE, 1, 1000, -ENOSPC);
	assert_int_equal(cache_flush(x->f, false), -ENOSPC);
	write_begin(&w, g, x->cred, 0, 1, &byte);
	assert_int_equal(write_end(&w), -ENOSPC);
	file_free(g);
	fake_fail(x->fb, FAKE_WRITE, 1, 0, 0);
	assert_int_equal(cache_flush(x->f, false), 0);
	fx_done(x);
}

static void big_unaligned_writes_arrive_whole(void **state)
{
	struct fx *x = fx_new(FAKE_THREAD, 40 * PAGE);

	(void)state;
	put(x, 12345, 30 * PAGE + 77, 0xab);
	expect_read(x, 12345, 30 * PAGE + 77, 30 * PAGE + 77, 0xab);
	assert_int_equal(cache_flush(x->f, false), 0);
	expect_stored(x, 12345, 30 * PAGE + 77, 0xab, false);
	expect_original(x, 0, 12345, 12345);
	expect_original(x, 12345 + 30 * PAGE + 77, UNIT, UNIT);
	fx_done(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_units_need_no_read),
		cmocka_unit_test(edges_cost_one_unit_each),
		cmocka_unit_test(tail_that_covers_the_end_of_file_needs_no_read),
		cmocka_unit_test(bytes_beyond_the_end_are_zeros),
		cmocka_unit_test(append_goes_to_the_end),
		cmocka_unit_test(appends_that_wait_do_not_meet),
		cmocka_unit_test(append_beyond_the_largest_file_is_refused),
		cmocka_unit_test(too_large_offsets_are_refused),
		cmocka_unit_test(write_waits_for_a_fill_of_its_unit),
		cmocka_unit_test(failed_read_of_an_edge_fails_the_write),
		cmocka_unit_test(nowait_write_resumes_where_it_stopped),
		cmocka_unit_test(writers_at_the_limit_are_released_in_order),
		cmocka_unit_test(held_writer_can_be_cancelled),
		cmocka_unit_test(nowait_writer_is_not_parked_at_the_limit),
		cmocka_unit_test(writers_held_by_a_refusing_backend_get_its_error),
		cmocka_unit_test(big_unaligned_writes_arrive_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
