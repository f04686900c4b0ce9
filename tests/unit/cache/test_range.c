/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes and bytes that change below the cache: freeze, truncate, punch, discard. */
#include "tests/unit/cache/cache_test.h"

static void truncate_to(struct fx *x, uint64_t size)
{
	assert_int_equal(cache_freeze(x->f, false, false), 0);
	fake_truncate(x->n, size);
	cache_set_size(x->f, size);
	cache_thaw(x->f);
	verify_file(x->f);
}

static void truncate_drops_dirty_data_beyond_the_end(void **state)
{
	static const uint64_t sizes[] = { 0,        1,    UNIT - 1, UNIT,    UNIT + 1,
					  PAGE - 1, PAGE, PAGE + 1, 3 * PAGE };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct fx *x = fx_new(FAKE_INLINE, 0);

		put(x, 0, 3 * PAGE, 1);
		truncate_to(x, sizes[i]);
		assert_int_equal(cache_file_size(x->f), sizes[i]);
		assert_int_equal(cache_flush(x->f, false), 0);
		assert_int_equal(fake_size(x->n), sizes[i]);
		expect_read(x, 0, 4 * PAGE, (ssize_t)sizes[i], 1);
		expect_stored(x, 0, (uint32_t)sizes[i] + !sizes[i], sizes[i] ? 1 : 0, false);
		fx_done(x);
	}
}

static void what_lies_behind_a_truncation_comes_back_as_zeros(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, 3 * PAGE);

	(void)state;
	expect_original(x, 0, 3 * PAGE, 3 * PAGE);
	truncate_to(x, UNIT + 100);
	truncate_to(x, 3 * PAGE);
	expect_original(x, 0, UNIT + 100, UNIT + 100);
	expect_read(x, UNIT + 100, 3 * PAGE, 3 * PAGE - UNIT - 100, 0);
	fx_done(x);
}

static void write_beyond_a_truncated_end_leaves_zeros_between(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, 2 * PAGE);

	(void)state;
	expect_original(x, 0, 2 * PAGE, 2 * PAGE);
	truncate_to(x, 100);
	put(x, PAGE + 10, 20, 5);
	expect_original(x, 0, 100, 100);
	expect_read(x, 100, PAGE - 90, PAGE - 90, 0);
	assert_int_equal(cache_flush(x->f, false), 0);
	expect_stored(x, 100, PAGE - 90, 0, false);
	expect_stored(x, PAGE + 10, 20, 5, false);
	assert_int_equal(fake_size(x->n), PAGE + 30);
	fx_done(x);
}

/* The writeback thread, too, keeps its hands off a frozen file. */
static void nothing_is_submitted_while_frozen(void **state)
{
	struct fx *x = fx_new(FAKE_QUEUED, 0);
	bool skipped;

	(void)state;
	put(x, 0, PAGE, 1);
	assert_int_equal(cache_freeze(x->f, false, false), 0);
	assert_int_equal(wb_submit_file(x->f, true, false, &skipped), -EAGAIN);
	assert_int_equal(fake_queued(x->fb), 0);
	assert_int_equal(cache_flush(x->f, true), -EAGAIN);
	assert_int_equal(cache_fsync(x->f, true, x->cred, true), -EAGAIN);
	assert_int_equal(fake_queued(x->fb), 0);
	fake_truncate(x->n, 0);
	cache_set_size(x->f, 0);
	cache_thaw(x->f);
	fx_done(x);
}

static void no_commit_begins_while_frozen(void **state)
{
	struct fx *x = fx_backend(FAKE_QUEUED);
	struct call c;
	bool skipped;

	(void)state;
	x->fb->stable = BE_UNSTABLE;
	fx_cache(x, 0);
	put(x, 0, PAGE, 1);
	assert_int_equal(wb_submit_file(x->f, false, true, &skipped), 0);
	fake_complete_all(x->fb);
	assert_int_equal(cache_freeze(x->f, false, false), 0);
	assert_false(wb_commit_start(x->f, true, NULL));
	assert_int_equal(fake_queued(x->fb), 0);
	cache_thaw(x->f);
	fsync_begin(&c, x);
	assert_int_equal(call_end_completing(&c, x), 0);
	fx_done(x);
}

static void fsync_of_a_frozen_file_waits_for_the_thaw(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, 0);
	struct call c;

	(void)state;
	put(x, 0, PAGE, 1);
	assert_int_equal(cache_freeze(x->f, false, false), 0);
	fsync_begin(&c, x);
	for (int i = 0; i < 1000; i++)
		sched_yield();
	assert_false(waiting_over(&c.w));
	cache_thaw(x->f);
	assert_int_equal(call_end(&c), 0);
	expect_stored(x, 0, PAGE, 1, true);
	fx_done(x);
}

static void freeze_waits_for_what_is_in_flight(void **state)
{
	struct fx *x = fx_new(FAKE_QUEUED, 0);
	struct call c;
	bool skipped;

	(void)state;
	put(x, 0, PAGE, 1);
	assert_int_equal(wb_submit_file(x->f, false, true, &skipped), 0);
	assert_int_equal(cache_freeze(x->f, false, true), -EAGAIN);
	assert_int_equal(cache_freeze(x->f, true, true), -EAGAIN);
	freeze_begin(&c, x);
	for (int i = 0; i < 1000; i++)
		sched_yield();
	assert_false(waiting_over(&c.w));
	assert_true(fake_complete_next(x->fb));
	assert_int_equal(call_end(&c), 0);
	cache_thaw(x->f);
	fx_done(x);
}

static void readers_and_writers_wait_for_the_thaw(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, PAGE);
	uint8_t buf[100], byte = 9;
	struct reading r;
	struct writing w;

	(void)state;
	assert_int_equal(cache_freeze(x->f, true, false), 0);
	read_begin(&r, x->f, x->cred, 0, sizeof buf);
	write_begin(&w, x->f, x->cred, 50, 1, &byte);
	assert_false(waiting_over(&r.w));
	assert_false(waiting_over(&w.w));
	assert_int_equal(cache_freeze(x->f, true, true), -EAGAIN);
	fake_truncate(x->n, 60);
	cache_set_size(x->f, 60);
	cache_thaw(x->f);
	assert_int_equal(read_end(&r, buf), 60);
	assert_int_equal(write_end(&w), 1);
	assert_int_equal(cache_flush(x->f, false), 0);
	expect_stored(x, 50, 1, 9, true);
	fx_done(x);
}

static void waiting_for_the_thaw_can_be_cancelled(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, PAGE);
	struct reading r;
	struct writing w;
	uint8_t byte = 9;

	(void)state;
	assert_int_equal(cache_freeze(x->f, true, false), 0);
	read_begin(&r, x->f, x->cred, 0, 10);
	write_begin(&w, x->f, x->cred, 50, 1, &byte);
	assert_true(cache_read_cancel(&r.rd));
	assert_true(cache_write_cancel(&w.wr));
	assert_false(cache_write_cancel(&w.wr));
	cache_thaw(x->f);
	assert_false(waiting_over(&r.w));
	assert_false(waiting_over(&w.w));
	fx_done(x);
}

static void punched_bytes_are_read_anew(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, 4 * PAGE);

	(void)state;
	expect_original(x, 0, 4 * PAGE, 4 * PAGE);
	assert_int_equal(cache_freeze(x->f, true, false), 0);
	pthread_mutex_lock(&x->fb->lock);
	memset(x->n->live + PAGE - 10, 0, PAGE);
	pthread_mutex_unlock(&x->fb->lock);
	cache_forget_range(x->f, PAGE - 10, PAGE, 4 * PAGE);
	cache_thaw(x->f);
	expect_original(x, 0, PAGE - 10, PAGE - 10);
	expect_read(x, PAGE - 10, PAGE, PAGE, 0);
	expect_original(x, 2 * PAGE - 10, PAGE, PAGE);
	fx_done(x);
}

static void growth_below_the_cache_is_seen(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, 100);

	(void)state;
	expect_original(x, 0, PAGE, 100);
	assert_int_equal(cache_freeze(x->f, true, false), 0);
	fake_truncate(x->n, 5000);
	cache_forget_range(x->f, 0, 0, 5000);
	cache_thaw(x->f);
	expect_read(x, 100, PAGE, 4900, 0);
	fx_done(x);
}

static void truncation_gives_a_refused_file_back(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, 0);
	uint8_t byte = 1;

	(void)state;
	put(x, 0, PAGE, 1);
	fake_fail(x->fb, FAKE_WRITE, 1, 1, -ENOSPC);
	assert_int_equal(cache_flush(x->f, false), -ENOSPC);
	assert_int_equal(write_wait(x, 0, 1, &byte), -ENOSPC);
	truncate_to(x, 0);
	assert_int_equal(write_wait(x, 0, 1, &byte), 1);
	assert_int_equal(cache_flush(x->f, false), 0);
	fx_done(x);
}

static void discard_drops_what_is_dirty_and_in_flight(void **state)
{
	struct fx *x = fx_new(FAKE_QUEUED, 0);
	bool skipped;

	(void)state;
	put(x, 0, PAGE, 1);
	assert_int_equal(wb_submit_file(x->f, false, true, &skipped), 0);
	put(x, 0, PAGE, 2);
	put(x, 5 * PAGE, PAGE, 2);
	assert_false(cache_file_try_free(x->f));
	cache_file_discard(x->f);
	cache_file_revive(x->f);
	fake_fail(x->fb, FAKE_WRITE, 0, 1, -ESTALE);
	fake_complete_all(x->fb);
	verify_clean(x->c);
	fx_done(x);
}

/* Another machine cuts the file while pages of it are on their way. */
static void fill_beyond_a_new_end_does_not_keep_the_file(void **state)
{
	struct fx *x = fx_new(FAKE_QUEUED, 8 * PAGE);
	struct be_attr attr = { .size = 0 };
	uint8_t buf[PAGE];
	struct reading r;

	(void)state;
	read_begin(&r, x->f, x->cred, 6 * PAGE, PAGE);
	fake_truncate(x->n, 0);
	cache_merge_attr(x->f, &attr, cache_change_seq(x->f));
	assert_int_equal(cache_file_size(x->f), 0);
	fake_complete_all(x->fb);
	assert_int_equal(read_end(&r, buf), 0);
	fx_done(x);
}

/* ... and it grows again, with other bytes: no page of before may come back. */
static void invalidation_reaches_pages_beyond_the_end(void **state)
{
	struct fx *x = fx_new(FAKE_QUEUED, 8 * PAGE);
	struct be_attr attr = { .size = PAGE };
	struct reading r;
	uint8_t buf[PAGE];

	(void)state;
	read_begin(&r, x->f, x->cred, 6 * PAGE, PAGE);
	fake_complete_all(x->fb);
	assert_int_equal(read_end(&r, buf), PAGE);
	read_begin(&r, x->f, x->cred, 7 * PAGE, PAGE);
	cache_merge_attr(x->f, &attr, cache_change_seq(x->f));
	fake_complete_all(x->fb);
	assert_int_equal(read_end(&r, buf), 0);
	pthread_mutex_lock(&x->fb->lock);
	memset(x->n->live, 0x77, 8 * PAGE);
	pthread_mutex_unlock(&x->fb->lock);
	attr.size = 8 * PAGE;
	cache_merge_attr(x->f, &attr, cache_change_seq(x->f));
	for (unsigned p = 6; p < 8; p++) {
		read_begin(&r, x->f, x->cred, p * PAGE, PAGE);
		fake_complete_all(x->fb);
		assert_int_equal(read_end(&r, buf), PAGE);
		assert_int_equal(buf[0], 0x77);
	}
	fx_done(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(truncate_drops_dirty_data_beyond_the_end),
		cmocka_unit_test(what_lies_behind_a_truncation_comes_back_as_zeros),
		cmocka_unit_test(write_beyond_a_truncated_end_leaves_zeros_between),
		cmocka_unit_test(nothing_is_submitted_while_frozen),
		cmocka_unit_test(no_commit_begins_while_frozen),
		cmocka_unit_test(fsync_of_a_frozen_file_waits_for_the_thaw),
		cmocka_unit_test(freeze_waits_for_what_is_in_flight),
		cmocka_unit_test(readers_and_writers_wait_for_the_thaw),
		cmocka_unit_test(waiting_for_the_thaw_can_be_cancelled),
		cmocka_unit_test(punched_bytes_are_read_anew),
		cmocka_unit_test(growth_below_the_cache_is_seen),
		cmocka_unit_test(truncation_gives_a_refused_file_back),
		cmocka_unit_test(discard_drops_what_is_dirty_and_in_flight),
		cmocka_unit_test(fill_beyond_a_new_end_does_not_keep_the_file),
		cmocka_unit_test(invalidation_reaches_pages_beyond_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
