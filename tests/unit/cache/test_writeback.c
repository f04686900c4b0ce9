/* SPDX-License-Identifier: Apache-2.0 */
/* Taking dirty data to the backend: runs, age, pressure, errors, draining. */
#include "tests/unit/cache/cache_test.h"

static void neighbours_go_together_in_file_order(void **state)
{
	struct fx *x = fx_backend(FAKE_INLINE);
	uint64_t at = 0;

	(void)state;
	x->fb->be.limits.write_max = 2 * PAGE;
	fx_cache(x, 0);
	for (int i = 3; i >= 0; i--)
		put(x, (uint64_t)i * PAGE, PAGE, 1);
	put(x, 10 * PAGE, 100, 2);
	assert_int_equal(cache_flush(x->f, false), 0);
	assert_int_equal(fake_calls(x->fb, FAKE_WRITE), 2 + 1);
	for (unsigned i = 0; i < 2; i++) {
		struct fake_log l = fake_logged(x->fb, FAKE_WRITE, i);

		assert_int_equal(l.off, at);
		assert_int_equal(l.len, 2 * PAGE);
		assert_false(l.background);
		at += l.len;
	}
	assert_int_equal(fake_logged(x->fb, FAKE_WRITE, 2).len, 100);
	expect_stored(x, 0, 4 * PAGE, 1, false);
	fx_done(x);
}

static void old_data_is_written_without_being_asked(void **state)
{
	struct fx *x = fx_backend(FAKE_INLINE);

	(void)state;
	x->tun.dirty_age_ms = 5000;
	fx_cache(x, 0);
	put(x, 0, PAGE, 1);
	wb_kick(x->c);
	sched_yield();
	assert_int_equal(fake_calls(x->fb, FAKE_WRITE), 0);
	clock_skew_ms = 6000;
	wb_kick(x->c);
	assert_true(fake_wait_calls(x->fb, FAKE_WRITE, 1));
	assert_true(fake_logged(x->fb, FAKE_WRITE, 0).background);
	while (cache_file_owes(x->f))
		sched_yield();
	fx_done(x);
}

static void pressure_starts_writing(void **state)
{
	struct fx *x = fx_backend(FAKE_INLINE);

	(void)state;
	x->tun.background_percent = 10; /* six frames */
	fx_cache(x, 0);
	put(x, 0, 5 * PAGE, 1);
	wb_kick(x->c);
	sched_yield();
	assert_int_equal(fake_calls(x->fb, FAKE_WRITE), 0);
	put(x, 5 * PAGE, PAGE, 1);
	assert_true(fake_wait_calls(x->fb, FAKE_WRITE, 1));
	while (cache_file_owes(x->f))
		sched_yield();
	fx_done(x);
}

/* Long before the background limit, and not because of its age. */
static void what_is_written_on_end_goes_out_early(void **state)
{
	struct fx *x = fx_backend(FAKE_INLINE);

	(void)state;
	x->tun.background_percent = 90;
	fx_cache(x, 0);
	x->c->stream_bytes = 4 * PAGE;
	for (unsigned i = 0; i < 3; i++)
		put(x, i * PAGE, PAGE, 1);
	put(x, 9 * PAGE, PAGE, 1); /* elsewhere: not on end */
	put(x, 3 * PAGE, PAGE, 1);
	wb_kick(x->c);
	sched_yield();
	assert_int_equal(fake_calls(x->fb, FAKE_WRITE), 0);
	for (unsigned i = 4; i < 7; i++)
		put(x, i * PAGE, PAGE, 1);
	assert_true(fake_wait_calls(x->fb, FAKE_WRITE, 1));
	while (cache_file_owes(x->f))
		sched_yield();
	fx_done(x);
}

static void data_written_during_a_write_is_written_again(void **state)
{
	struct fx *x = fx_new(FAKE_QUEUED, 0);
	struct call c;
	bool skipped = false;

	(void)state;
	put(x, 0, PAGE, 1);
	assert_int_equal(wb_submit_file(x->f, false, true, &skipped), 0);
	put(x, UNIT, 10, 2);
	assert_int_equal(wb_submit_file(x->f, false, true, &skipped), 0);
	assert_true(skipped);
	assert_int_equal(fake_queued(x->fb), 1); /* never two at once for one unit */
	fsync_begin(&c, x);
	assert_int_equal(call_end_completing(&c, x), 0);
	expect_stored(x, UNIT, 10, 2, true);
	expect_stored(x, UNIT + 10, UNIT - 10, 1, true);
	fx_done(x);
}

static void refused_data_is_kept_told_and_retried(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, 0);
	uint32_t a = cache_error_seq(x->f), b = a;
	uint8_t byte = 2;
	struct cache_usage u;

	(void)state;
	put(x, 0, PAGE, 1);
	fake_fail(x->fb, FAKE_WRITE, 1, 2, -EIO);
	assert_int_equal(cache_flush(x->f, false), -EIO);
	assert_true(cache_file_dirty(x->f));
	cache_usage(x->c, &u);
	assert_int_equal(u.files_failing, 1);
	assert_int_equal(cache_error(x->f, &a), -EIO);
	assert_int_equal(cache_error(x->f, &a), 0);
	assert_int_equal(write_wait(x, 0, 1, &byte), -EIO);
	assert_int_equal(cache_fsync(x->f, true, x->cred, false), -EIO);
	assert_int_equal(cache_error(x->f, &a), -EIO);
	assert_int_equal(cache_fsync(x->f, true, x->cred, false), 0);
	assert_int_equal(cache_error(x->f, &b), -EIO);
	assert_int_equal(cache_error(x->f, &b), 0);
	expect_stored(x, 0, PAGE, 1, true);
	assert_int_equal(write_wait(x, 0, 1, &byte), 1);
	assert_int_equal(cache_flush(x->f, false), 0);
	fx_done(x);
}

static void refused_data_is_retried_by_the_thread(void **state)
{
	struct fx *x = fx_backend(FAKE_INLINE);

	(void)state;
	x->tun.dirty_age_ms = 0;
	fx_cache(x, 0);
	fake_fail(x->fb, FAKE_WRITE, 1, 1, -EIO);
	put(x, 0, PAGE, 1);
	wb_kick(x->c);
	assert_true(fake_wait_calls(x->fb, FAKE_WRITE, 1));
	while (!cache_error_seq(x->f))
		sched_yield();
	clock_skew_ms = RETRY_MAX_MS;
	wb_kick(x->c);
	assert_true(fake_wait_calls(x->fb, FAKE_WRITE, 2));
	while (cache_file_owes(x->f))
		sched_yield();
	expect_stored(x, 0, PAGE, 1, true);
	fx_done(x);
}

/* Several writes at once, all refused for the one, all welcome from the other. */
static void another_writers_credential_is_tried(void **state)
{
	struct fx *x = fx_backend(FAKE_INLINE);
	struct writing w;
	uint8_t byte = 3;

	(void)state;
	x->fb->be.limits.write_max = PAGE;
	fx_cache(x, 0);
	put(x, 0, 8 * PAGE, 1);
	write_begin(&w, x->f, x->cred_b, 9 * PAGE, 1, &byte);
	assert_int_equal(write_end(&w), 1);
	fake_refuse_uid(x->fb, UID_A);
	assert_int_equal(cache_flush(x->f, false), 0);
	assert_int_equal(cache_error_seq(x->f), 0);
	expect_stored(x, 0, 8 * PAGE, 1, true);
	fx_done(x);
}

static void refusal_of_everybody_is_an_error(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, 0);
	struct writing w;
	uint8_t byte = 3;

	(void)state;
	put(x, 0, PAGE, 1);
	write_begin(&w, x->f, x->cred_b, 9 * PAGE, 1, &byte);
	assert_int_equal(write_end(&w), 1);
	fake_fail(x->fb, FAKE_WRITE, 1, 1000, -EACCES);
	assert_int_equal(cache_flush(x->f, false), -EACCES);
	fake_fail(x->fb, FAKE_WRITE, 1, 0, 0);
	assert_int_equal(cache_flush(x->f, false), 0);
	fx_done(x);
}

/* Nobody else is asked for a commit: the refusal is the answer. */
static void refused_commit_is_an_error(void **state)
{
	struct fx *x = fx_backend(FAKE_INLINE);
	struct writing w;
	uint8_t byte = 3;

	(void)state;
	x->fb->stable = BE_UNSTABLE;
	fx_cache(x, 0);
	put(x, 0, PAGE, 1);
	write_begin(&w, x->f, x->cred_b, 9 * PAGE, 1, &byte);
	assert_int_equal(write_end(&w), 1);
	fake_fail(x->fb, FAKE_COMMIT, 1, 1, -EACCES);
	assert_int_equal(cache_fsync(x->f, true, x->cred, false), -EACCES);
	assert_int_equal(cache_fsync(x->f, true, x->cred, false), 0);
	expect_stored(x, 0, PAGE, 1, true);
	fx_done(x);
}

static void in_flight_writes_are_limited(void **state)
{
	struct fx *x = fx_backend(FAKE_QUEUED);
	struct call c;

	(void)state;
	x->fb->be.limits.inflight_max = 2;
	x->fb->be.limits.write_max = PAGE;
	fx_cache(x, 0);
	put(x, 0, 6 * PAGE, 1);
	fsync_begin(&c, x);
	assert_true(fake_wait_queued(x->fb, 2));
	for (int i = 0; i < 1000; i++)
		sched_yield();
	assert_int_equal(fake_queued(x->fb), 2);
	assert_int_equal(call_end_completing(&c, x), 0);
	fx_done(x);
}

/* Two files, the first refused; what a thread does to the list's order meanwhile
 * must not make the drain pass over the second. */
static bool rotate(void *arg, const struct cache_usage *u)
{
	struct fx *x = arg;

	(void)u;
	mutex_lock(&x->c->wb_lock);
	if (!list_empty(&x->c->dirty_files))
		list_push_back(&x->c->dirty_files, list_pop(&x->c->dirty_files));
	mutex_unlock(&x->c->wb_lock);
	return true;
}

static void drain_writes_all_that_can_be_written(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, 0);
	struct fake_node *n = fake_node_new(x->fb, 0);
	struct cache_file *g;
	struct writing w;
	uint8_t byte = 4;

	(void)state;
	assert_int_equal(cache_file_new(x->c, &n->node, 0, 8, &g), 0);
	put(x, 0, PAGE, 1);
	write_begin(&w, g, x->cred_b, 0, 1, &byte);
	assert_int_equal(write_end(&w), 1);
	fake_refuse_uid(x->fb, UID_A);
	assert_int_equal(cache_drain(x->c, rotate, x), -EACCES);
	assert_int_equal(fake_size(n), 1);
	file_free(g);
	fake_refuse_uid(x->fb, 0);
	assert_int_equal(cache_drain(x->c, NULL, NULL), 0);
	be_node_put(&n->node);
	fx_done(x);
}

static bool stop_at_once(void *arg, const struct cache_usage *u)
{
	*(uint64_t *)arg = u->dirty_bytes;
	return false;
}

static void drain_can_be_stopped(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, 0);
	uint64_t left = 1;

	(void)state;
	put(x, 0, PAGE, 1);
	assert_int_equal(cache_drain(x->c, stop_at_once, &left), -EINTR);
	assert_int_equal(left, 0);
	assert_int_equal(cache_drain(x->c, NULL, NULL), 0);
	fx_done(x);
}

/* The nth request of each kind fails, n = 1, 2, 3, ... until all goes well. */
static void any_single_failure_is_told_and_healed(void **state)
{
	(void)state;
	for (int kind = FAKE_WRITE; kind <= FAKE_COMMIT; kind++)
		for (unsigned n = 1;; n++) {
			struct fx *x = fx_backend(FAKE_INLINE);
			int rc;

			x->fb->be.limits.write_max = PAGE;
			x->fb->stable = BE_UNSTABLE;
			fx_cache(x, 0);
			put(x, 0, 4 * PAGE, 1);
			fake_fail(x->fb, (enum fake_kind)kind, n, 1, -EIO);
			rc = cache_fsync(x->f, false, x->cred, false);
			verify_file(x->f);
			assert_int_equal(rc, n <= (kind == FAKE_WRITE ? 4 : 1) ? -EIO : 0);
			assert_int_equal(cache_fsync(x->f, false, x->cred, false), 0);
			expect_stored(x, 0, 4 * PAGE, 1, true);
			fx_done(x);
			if (!rc)
				break;
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(neighbours_go_together_in_file_order),
		cmocka_unit_test(old_data_is_written_without_being_asked),
		cmocka_unit_test(pressure_starts_writing),
		cmocka_unit_test(what_is_written_on_end_goes_out_early),
		cmocka_unit_test(data_written_during_a_write_is_written_again),
		cmocka_unit_test(refused_data_is_kept_told_and_retried),
		cmocka_unit_test(refused_data_is_retried_by_the_thread),
		cmocka_unit_test(another_writers_credential_is_tried),
		cmocka_unit_test(refusal_of_everybody_is_an_error),
		cmocka_unit_test(refused_commit_is_an_error),
		cmocka_unit_test(in_flight_writes_are_limited),
		cmocka_unit_test(drain_writes_all_that_can_be_written),
		cmocka_unit_test(drain_can_be_stopped),
		cmocka_unit_test(any_single_failure_is_told_and_healed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
