/* SPDX-License-Identifier: Apache-2.0 */
/* Unstable writes, commits, and servers that lose what they had (D1). */
#include "tests/unit/cache/cache_test.h"

static struct fx *unstable_fx(enum fake_mode mode)
{
	struct fx *x = fx_backend(mode);

	x->fb->stable = BE_UNSTABLE;
	x->fb->be.limits.caps = BE_CAP_BLOCKING | BE_CAP_SLOW_COMMIT;
	fx_cache(x, 0);
	return x;
}

static int fsync_now(struct fx *x)
{
	return cache_fsync(x->f, true, x->cred, false);
}

static void fsync_makes_durable(void **state)
{
	struct fx *x = unstable_fx(FAKE_INLINE);
	struct cache_usage u;

	(void)state;
	put(x, 0, 3 * PAGE, 1);
	assert_int_equal(cache_flush(x->f, false), 0);
	cache_usage(x->c, &u);
	assert_int_equal(u.dirty_bytes, 0);
	assert_int_equal(u.unstable_bytes, 3 * PAGE);
	assert_int_equal(u.held_frames, 3);
	assert_int_equal(fsync_now(x), 0);
	expect_stored(x, 0, 3 * PAGE, 1, true);
	assert_int_equal(fake_calls(x->fb, FAKE_COMMIT), 1);
	fx_done(x);
}

static void submit(struct fx *x)
{
	bool skipped;

	assert_int_equal(wb_submit_file(x->f, false, true, &skipped), 0);
}

/* More is dirty, and stays so: the store holds back the last write. */
static void much_unstable_data_is_committed_unasked(void **state)
{
	struct fx *x = unstable_fx(FAKE_QUEUED);
	struct call c;

	(void)state;
	x->c->commit_bytes = 4 * PAGE;
	put(x, 0, 4 * PAGE, 1);
	submit(x);
	fake_complete_all(x->fb);
	put(x, 4 * PAGE, PAGE, 1);
	mutex_lock(&x->f->lock);
	file_hurry_locked(x->f);
	mutex_unlock(&x->f->lock);
	assert_true(fake_wait_calls(x->fb, FAKE_COMMIT, 1));
	assert_true(cache_file_dirty(x->f));
	fsync_begin(&c, x);
	assert_int_equal(call_end_completing(&c, x), 0);
	expect_stored(x, 0, 5 * PAGE, 1, true);
	fx_done(x);
}

/* It never keeps for long what is not committed: only durable writes help. */
static void a_server_that_restarts_all_the_time_is_outlasted(void **state)
{
	struct fx *x = unstable_fx(FAKE_QUEUED);
	struct call c;

	(void)state;
	put(x, 0, 3 * PAGE, 4);
	fsync_begin(&c, x);
	while (!waiting_over(&c.w)) {
		fake_crash(x->fb);
		if (!fake_complete_next(x->fb))
			sched_yield();
	}
	assert_int_equal(call_end(&c), 0);
	expect_stored(x, 0, 3 * PAGE, 4, true);
	fx_done(x);
}

static atomic_bool told;

static void *told_fsync(void *arg)
{
	cache_interruptible(&told);
	return call_fsync(arg);
}

/* n: requests that the store answers before. The first is a WRITE, the next the COMMIT. */
static void interrupted_after(unsigned n)
{
	struct fx *x = unstable_fx(FAKE_QUEUED);
	struct call c;

	told = false;
	put(x, 0, PAGE, 1);
	call_begin(&c, x, told_fsync);
	assert_true(fake_wait_calls(x->fb, FAKE_WRITE, 1));
	if (n) {
		assert_true(fake_complete_next(x->fb));
		assert_true(fake_wait_calls(x->fb, FAKE_COMMIT, 1));
	}
	told = true;
	assert_int_equal(call_end(&c), -EINTR);
	assert_true(cache_file_owes(x->f));
	fsync_begin(&c, x);
	assert_int_equal(call_end_completing(&c, x), 0);
	expect_stored(x, 0, PAGE, 1, true);
	fx_done(x);
}

static void an_interrupted_fsync_goes_on_without_its_caller(void **state)
{
	(void)state;
	interrupted_after(0);
	interrupted_after(1);
}

static void fsync_of_a_clean_file_asks_nothing(void **state)
{
	struct fx *x = unstable_fx(FAKE_INLINE);

	(void)state;
	assert_int_equal(fsync_now(x), 0);
	assert_int_equal(cache_fsync(x->f, false, NULL, true), 0);
	assert_int_equal(fake_calls(x->fb, FAKE_COMMIT), 0);
	fx_done(x);
}

static void data_lost_before_the_commit_is_written_again(void **state)
{
	struct fx *x = unstable_fx(FAKE_INLINE);

	(void)state;
	put(x, 0, 2 * PAGE, 2);
	assert_int_equal(cache_flush(x->f, false), 0);
	fake_crash(x->fb);
	assert_int_equal(fsync_now(x), 0);
	expect_stored(x, 0, 2 * PAGE, 2, true);
	assert_int_equal(fake_calls(x->fb, FAKE_WRITE), 2);
	fx_done(x);
}

static void other_verifier_of_a_write_sends_its_neighbours_again(void **state)
{
	struct fx *x = unstable_fx(FAKE_INLINE);

	(void)state;
	put(x, 0, UNIT, 3);
	assert_int_equal(cache_flush(x->f, false), 0);
	fake_crash(x->fb);
	put(x, UNIT, UNIT, 4);
	assert_int_equal(cache_flush(x->f, false), 0);
	assert_int_equal(fsync_now(x), 0);
	expect_stored(x, 0, UNIT, 3, true);
	expect_stored(x, UNIT, UNIT, 4, true);
	fx_done(x);
}

/* The write of fsync itself brings the news of a restart: all of the page is dirty again. */
static void fsync_that_learns_of_a_loss_while_it_writes_goes_on(void **state)
{
	struct fx *x = unstable_fx(FAKE_INLINE);

	(void)state;
	put(x, 0, UNIT, 3);
	assert_int_equal(cache_flush(x->f, false), 0);
	fake_crash(x->fb);
	put(x, 0, UNIT, 4);
	assert_int_equal(fsync_now(x), 0);
	assert_false(cache_file_dirty(x->f));
	expect_stored(x, 0, UNIT, 4, true);
	fx_done(x);
}

/* Attributes from after a restart show the file without what was not committed. */
static void a_size_that_the_backend_lost_is_not_taken_over(void **state)
{
	struct fx *x = unstable_fx(FAKE_INLINE);
	struct be_attr attr = { .mode = S_IFREG | 0644 };

	(void)state;
	put(x, 0, UNIT, 3);
	put(x, UNIT, UNIT, 4);
	assert_int_equal(cache_flush(x->f, false), 0);
	fake_crash(x->fb);
	cache_merge_attr(x->f, &attr, cache_change_seq(x->f));
	assert_int_equal(attr.size, 2 * UNIT);
	attr.size = 0;
	assert_true(cache_revalidate(x->f, &attr, cache_change_seq(x->f)));
	assert_int_equal(cache_file_size(x->f), 2 * UNIT);
	assert_int_equal(fsync_now(x), 0);
	expect_stored(x, 0, UNIT, 3, true);
	expect_stored(x, UNIT, UNIT, 4, true);
	attr.size = UNIT; /* now it is somebody's truncation */
	cache_merge_attr(x->f, &attr, cache_change_seq(x->f));
	assert_int_equal(cache_file_size(x->f), UNIT);
	fx_done(x);
}

/* The write's reply brings the new verifier into the frame while a commit of
 * older units is on its way; the commit's reply then looks like a match. */
static void commit_overtaken_by_a_write_to_a_new_instance_is_no_proof(void **state)
{
	struct fx *x = unstable_fx(FAKE_QUEUED);
	struct call c;

	(void)state;
	put(x, 0, UNIT, 5);
	submit(x);
	assert_true(fake_complete_kind(x->fb, FAKE_WRITE));
	assert_true(wb_commit_start(x->f, true, x->cred));
	fake_crash(x->fb);
	put(x, UNIT, UNIT, 6);
	submit(x);
	assert_true(fake_complete_kind(x->fb, FAKE_WRITE));
	assert_true(fake_complete_kind(x->fb, FAKE_COMMIT));
	fsync_begin(&c, x);
	assert_int_equal(call_end_completing(&c, x), 0);
	expect_stored(x, 0, UNIT, 5, true);
	expect_stored(x, UNIT, UNIT, 6, true);
	fx_done(x);
}

static void units_rewritten_during_a_commit_wait_for_the_next(void **state)
{
	struct fx *x = unstable_fx(FAKE_QUEUED);
	struct call c;

	(void)state;
	put(x, 0, UNIT, 5);
	submit(x);
	fake_complete_all(x->fb);
	assert_true(wb_commit_start(x->f, true, x->cred));
	put(x, 0, UNIT, 6);
	submit(x);
	assert_true(fake_complete_kind(x->fb, FAKE_WRITE));
	assert_true(fake_complete_kind(x->fb, FAKE_COMMIT));
	assert_int_equal(x->c->unstable_units, 1);
	fake_crash(x->fb);
	fsync_begin(&c, x);
	assert_int_equal(call_end_completing(&c, x), 0);
	expect_stored(x, 0, UNIT, 6, true);
	fx_done(x);
}

static void crash_once(struct fake *fb, enum fake_kind kind, void *arg)
{
	unsigned *crashes = arg;

	if (kind == FAKE_COMMIT && *crashes) {
		--*crashes;
		fake_crash(fb);
	}
}

static void fsync_goes_on_until_one_instance_has_it_all(void **state)
{
	struct fx *x = unstable_fx(FAKE_INLINE);
	unsigned crashes = 1;

	(void)state;
	x->fb->hook = crash_once;
	x->fb->hook_arg = &crashes;
	put(x, 0, 4 * PAGE, 7);
	assert_int_equal(fsync_now(x), 0);
	assert_int_equal(crashes, 0);
	expect_stored(x, 0, 4 * PAGE, 7, true);
	fx_done(x);
}

static void fsync_gives_up_on_a_server_that_always_forgets(void **state)
{
	struct fx *x = unstable_fx(FAKE_INLINE);
	unsigned crashes = 100;

	(void)state;
	x->fb->never_sure = true;
	x->fb->hook = crash_once;
	x->fb->hook_arg = &crashes;
	put(x, 0, UNIT, 7);
	assert_int_equal(fsync_now(x), -EIO);
	crashes = 0;
	assert_int_equal(fsync_now(x), 0);
	expect_stored(x, 0, UNIT, 7, true);
	fx_done(x);
}

static void write_once_more(struct fake *fb, enum fake_kind kind, void *arg)
{
	struct fx *x = arg;

	(void)fb;
	if (kind == FAKE_COMMIT)
		put(x, 5 * PAGE, UNIT, 9);
}

static void fsync_of_a_busy_file_ends_well(void **state)
{
	struct fx *x = unstable_fx(FAKE_INLINE);

	(void)state;
	x->fb->hook = write_once_more;
	x->fb->hook_arg = x;
	put(x, 0, UNIT, 8);
	assert_int_equal(fsync_now(x), 0);
	expect_stored(x, 0, UNIT, 8, true);
	x->fb->hook = NULL;
	assert_int_equal(fsync_now(x), 0);
	fx_done(x);
}

static void failed_commit_is_told_and_tried_again(void **state)
{
	struct fx *x = unstable_fx(FAKE_INLINE);
	uint32_t seen = cache_error_seq(x->f), late;

	(void)state;
	put(x, 0, UNIT, 1);
	fake_fail(x->fb, FAKE_COMMIT, 1, 1, -EIO);
	assert_int_equal(fsync_now(x), -EIO);
	assert_int_equal(x->c->unstable_units, 1);
	late = cache_error_seq(x->f);
	assert_int_equal(cache_error(x->f, &seen), -EIO);
	assert_int_equal(cache_error(x->f, &seen), 0);
	assert_int_equal(cache_error(x->f, &late), 0);
	assert_int_equal(fsync_now(x), 0);
	expect_stored(x, 0, UNIT, 1, true);
	fx_done(x);
}

static void writes_are_taken_again_after_a_commit_that_failed_once(void **state)
{
	struct fx *x = unstable_fx(FAKE_INLINE);

	(void)state;
	put(x, 0, UNIT, 1);
	fake_fail(x->fb, FAKE_COMMIT, 1, 1, -EIO);
	assert_int_equal(fsync_now(x), -EIO);
	assert_int_equal(fsync_now(x), 0);
	put(x, 0, UNIT, 2);
	assert_int_equal(fsync_now(x), 0);
	expect_stored(x, 0, UNIT, 2, true);
	fx_done(x);
}

static void host_stable_data_is_not_kept_for_a_rewrite(void **state)
{
	struct fx *x = fx_backend(FAKE_INLINE);

	(void)state;
	x->fb->stable = BE_UNSTABLE;
	x->fb->be.limits.caps = BE_CAP_HOST_STABLE;
	fx_cache(x, 0);
	put(x, 0, UNIT, 1);
	assert_int_equal(cache_flush(x->f, false), 0);
	verify_clean(x->c);
	assert_int_equal(fsync_now(x), 0);
	assert_int_equal(fake_calls(x->fb, FAKE_COMMIT), 1);
	assert_int_equal(fsync_now(x), 0);
	assert_int_equal(fake_calls(x->fb, FAKE_COMMIT), 1);
	assert_int_equal(cache_fsync(x->f, false, x->cred, false), 0);
	assert_int_equal(fake_calls(x->fb, FAKE_COMMIT), 2);
	expect_stored(x, 0, UNIT, 1, true);
	fx_done(x);
}

static void host_stable_commit_that_failed_does_not_stop_writes(void **state)
{
	struct fx *x = fx_backend(FAKE_INLINE);

	(void)state;
	x->fb->stable = BE_UNSTABLE;
	x->fb->be.limits.caps = BE_CAP_HOST_STABLE;
	fx_cache(x, 0);
	put(x, 0, UNIT, 1);
	fake_fail(x->fb, FAKE_COMMIT, 1, 1, -EIO);
	assert_int_equal(fsync_now(x), -EIO);
	put(x, 0, UNIT, 2);
	assert_int_equal(fsync_now(x), 0);
	assert_int_equal(fake_calls(x->fb, FAKE_COMMIT), 2);
	expect_stored(x, 0, UNIT, 2, true);
	fx_done(x);
}

static void nowait_fsync_leaves_a_slow_commit_to_others(void **state)
{
	struct fx *x = unstable_fx(FAKE_INLINE);

	(void)state;
	put(x, 0, UNIT, 1);
	assert_int_equal(cache_fsync(x->f, true, x->cred, true), -EAGAIN);
	assert_int_equal(fake_calls(x->fb, FAKE_COMMIT), 0);
	assert_int_equal(fsync_now(x), 0);
	fx_done(x);
}

static void discarded_file_forgets_a_commit_that_fails(void **state)
{
	struct fx *x = unstable_fx(FAKE_QUEUED);

	(void)state;
	put(x, 0, UNIT, 1);
	submit(x);
	fake_complete_all(x->fb);
	assert_true(wb_commit_start(x->f, true, x->cred));
	cache_file_discard(x->f);
	fake_fail(x->fb, FAKE_COMMIT, 0, 1, -ESTALE); /* the one under way */
	fake_complete_all(x->fb);
	verify_clean(x->c);
	fx_done(x);
}

/* The end of a commit is what makes room: nobody else need come by. */
static void commit_releases_writers_that_were_held(void **state)
{
	struct fx *x = fx_backend(FAKE_QUEUED);
	struct writing w;
	uint8_t byte = 1;

	(void)state;
	x->fb->stable = BE_UNSTABLE;
	x->fb->be.limits.caps = BE_CAP_BLOCKING;
	x->tun.limit_percent = 5; /* three frames */
	fx_cache(x, 0);
	put(x, 0, 3 * PAGE, 1);
	write_begin(&w, x->f, x->cred, 8 * PAGE, 1, &byte);
	assert_false(waiting_over(&w.w));
	mutex_lock(&x->c->wb_lock);
	mutex_unlock(&x->c->wb_lock);
	submit(x);
	while (fake_complete_kind(x->fb, FAKE_WRITE))
		;
	wb_commit_start(x->f, true, x->cred);
	assert_true(fake_complete_kind(x->fb, FAKE_COMMIT));
	assert_true(waiting_over(&w.w));
	assert_int_equal(write_end(&w), 1);
	x->fb->stable = BE_FILE_SYNC;
	submit(x);
	fake_complete_all(x->fb);
	fx_done(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fsync_makes_durable),
		cmocka_unit_test(much_unstable_data_is_committed_unasked),
		cmocka_unit_test(a_server_that_restarts_all_the_time_is_outlasted),
		cmocka_unit_test(an_interrupted_fsync_goes_on_without_its_caller),
		cmocka_unit_test(fsync_of_a_clean_file_asks_nothing),
		cmocka_unit_test(data_lost_before_the_commit_is_written_again),
		cmocka_unit_test(other_verifier_of_a_write_sends_its_neighbours_again),
		cmocka_unit_test(a_size_that_the_backend_lost_is_not_taken_over),
		cmocka_unit_test(fsync_that_learns_of_a_loss_while_it_writes_goes_on),
		cmocka_unit_test(commit_overtaken_by_a_write_to_a_new_instance_is_no_proof),
		cmocka_unit_test(units_rewritten_during_a_commit_wait_for_the_next),
		cmocka_unit_test(fsync_goes_on_until_one_instance_has_it_all),
		cmocka_unit_test(fsync_gives_up_on_a_server_that_always_forgets),
		cmocka_unit_test(fsync_of_a_busy_file_ends_well),
		cmocka_unit_test(failed_commit_is_told_and_tried_again),
		cmocka_unit_test(writes_are_taken_again_after_a_commit_that_failed_once),
		cmocka_unit_test(host_stable_data_is_not_kept_for_a_rewrite),
		cmocka_unit_test(host_stable_commit_that_failed_does_not_stop_writes),
		cmocka_unit_test(nowait_fsync_leaves_a_slow_commit_to_others),
		cmocka_unit_test(discarded_file_forgets_a_commit_that_fails),
		cmocka_unit_test(commit_releases_writers_that_were_held),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
