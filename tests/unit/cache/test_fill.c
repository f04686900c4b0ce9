/* SPDX-License-Identifier: Apache-2.0 */
/* Reading: hits, misses, fills that fail or come too late, scarce frames. */
#include "tests/unit/cache/cache_test.h"

static void second_read_is_a_hit(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, 4 * PAGE);

	(void)state;
	expect_original(x, 5, 3 * PAGE, 3 * PAGE);
	fake_log_clear(x->fb);
	expect_original(x, 5, 3 * PAGE, 3 * PAGE);
	expect_original(x, PAGE + 1, 1, 1);
	assert_int_equal(fake_calls(x->fb, FAKE_READ), 0);
	fx_done(x);
}

static void only_missing_units_are_read(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, 4 * PAGE);

	(void)state;
	expect_original(x, UNIT, UNIT, UNIT);
	fake_log_clear(x->fb);
	expect_original(x, 0, PAGE, PAGE);
	assert_int_equal(fake_calls(x->fb, FAKE_READ), 2);
	assert_int_equal(fake_logged(x->fb, FAKE_READ, 0).len, UNIT);
	assert_int_equal(fake_logged(x->fb, FAKE_READ, 1).off, 2 * UNIT);
	assert_int_equal(fake_logged(x->fb, FAKE_READ, 1).len, 2 * UNIT);
	fx_done(x);
}

static void large_reads_are_cut_at_the_limit(void **state)
{
	struct fx *x = fx_backend(FAKE_THREAD);

	(void)state;
	x->fb->be.limits.read_max = 3 * UNIT;
	fx_cache(x, 10 * PAGE);
	expect_original(x, 0, 10 * PAGE, 10 * PAGE);
	fx_done(x);
}

static void reads_end_at_the_end_of_file(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, PAGE + 100);

	(void)state;
	expect_original(x, PAGE, PAGE, 100);
	expect_original(x, PAGE + 99, 50, 1);
	expect_read(x, PAGE + 100, 10, 0, 0);
	expect_read(x, UINT64_MAX - 5, 10, 0, 0);
	fx_done(x);
}

static void short_answers_become_zeros(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, 2 * PAGE);

	(void)state;
	fake_truncate(x->n, 100); /* behind our back */
	expect_original(x, 0, 100, 100);
	expect_read(x, 100, 2 * PAGE, 2 * PAGE - 100, 0);
	fx_done(x);
}

static void failed_fill_is_told_and_leaves_nothing_valid(void **state)
{
	struct fx *x = fx_new(FAKE_QUEUED, PAGE);
	struct reading a, b;
	uint8_t buf[PAGE];

	(void)state;
	read_begin(&a, x->f, x->cred, 0, UNIT);
	read_begin(&b, x->f, x->cred, 10, 10);
	assert_int_equal(fake_queued(x->fb), 1); /* one fill for two readers */
	fake_fail(x->fb, FAKE_READ, 0, 1, -EIO);
	fake_complete_all(x->fb);
	assert_int_equal(read_end(&a, buf), -EIO);
	assert_int_equal(read_end(&b, buf), -EIO);
	read_begin(&a, x->f, x->cred, 0, UNIT);
	fake_complete_all(x->fb);
	assert_int_equal(read_end(&a, buf), UNIT);
	assert_int_equal(buf[77], fake_byte(77));
	fx_done(x);
}

static void two_readers_share_one_fill(void **state)
{
	struct fx *x = fx_new(FAKE_QUEUED, PAGE);
	struct reading r[5];
	uint8_t buf[PAGE];

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		read_begin(&r[i], x->f, x->cred, i, UNIT - i);
	assert_int_equal(fake_calls(x->fb, FAKE_READ), 1);
	fake_complete_all(x->fb);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(read_end(&r[i], buf), UNIT - i);
	assert_int_equal(buf[0], fake_byte(4));
	fx_done(x);
}

static void bytes_invalidated_on_their_way_are_read_again(void **state)
{
	struct fx *x = fx_new(FAKE_QUEUED, PAGE);
	struct reading r;
	uint8_t buf[PAGE];

	(void)state;
	read_begin(&r, x->f, x->cred, 0, UNIT);
	cache_invalidate(x->f);
	assert_true(fake_complete_next(x->fb));
	assert_false(waiting_over(&r.w));
	pthread_mutex_lock(&x->fb->lock);
	memset(x->n->live, 9, PAGE);
	pthread_mutex_unlock(&x->fb->lock);
	fake_complete_all(x->fb);
	assert_int_equal(read_end(&r, buf), UNIT);
	assert_int_equal(buf[0], 9);
	fx_done(x);
}

static void parked_read_can_be_cancelled(void **state)
{
	struct fx *x = fx_new(FAKE_QUEUED, PAGE);
	struct reading r;

	(void)state;
	read_begin(&r, x->f, x->cred, 0, UNIT);
	assert_true(cache_read_cancel(&r.rd));
	assert_false(cache_read_cancel(&r.rd));
	fake_complete_all(x->fb);
	assert_false(waiting_over(&r.w));
	fx_done(x);
}

static void nowait_read_asks_and_comes_back(void **state)
{
	struct fx *x = fx_new(FAKE_QUEUED, PAGE);
	struct cache_rd rd = { .file = x->f, .len = 100, .cred = x->cred };

	(void)state;
	assert_int_equal(cache_read(&rd, false), -EAGAIN);
	assert_int_equal(fake_queued(x->fb), 1);
	fake_complete_all(x->fb);
	assert_int_equal(cache_read(&rd, false), 100);
	assert_int_equal(rd.niov, 1);
	cache_read_done(&rd);
	fx_done(x);
}

/* All frames but two are dirty: a read of ten goes through memory of its own. */
static void read_larger_than_the_free_frames_succeeds(void **state)
{
	struct fx *x = fx_backend(FAKE_INLINE);

	(void)state;
	x->tun.background_percent = x->tun.limit_percent = 100;
	fx_cache(x, 2 * FRAMES * PAGE);
	for (unsigned i = 0; i < FRAMES - 2; i++)
		put(x, (uint64_t)i * PAGE, PAGE, 1);
	expect_original(x, 100 * PAGE + 3, 10 * PAGE, 10 * PAGE);
	assert_int_equal(cache_flush(x->f, false), 0);
	fx_done(x);
}

static _Atomic unsigned wakes;

static void wake_again(struct cache_wait *w, int err)
{
	(void)err;
	if (++wakes < 1000000)
		wait_for_room((struct cache *)(void *)w->file, w);
}

static void waiting_for_a_frame_is_not_spinning(void **state)
{
	struct fx *x = fx_new(FAKE_INLINE, PAGE);
	struct cache_wait w = { .file = (struct cache_file *)(void *)x->c, .wake = wake_again };
	struct timespec until, now;

	(void)state;
	wakes = 0;
	list_init(&w.link);
	wait_for_room(x->c, &w);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += 200000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while (wakes < 1000 && timespec_cmp(&now, &until) < 0);
	assert_in_range(wakes, 2, 200);
	wakes = 1000000;
	while (wakes == 1000000)
		sched_yield();
	fx_done(x);
}

static void readahead_fills_before_it_is_asked(void **state)
{
	struct fx *x = fx_backend(FAKE_INLINE);
	struct readahead ra;
	struct cache_rd rd;

	(void)state;
	x->fb->be.limits.caps = BE_CAP_BLOCKING;
	x->tun.readahead_max = 8 * PAGE;
	fx_cache(x, 32 * PAGE);
	readahead_init(&ra);
	for (unsigned i = 0; i < 8; i++) {
		rd = (struct cache_rd){
			.file = x->f, .off = i * UNIT, .len = UNIT, .cred = x->cred, .ra = &ra
		};
		assert_int_equal(cache_read(&rd, true), UNIT);
		cache_read_done(&rd);
	}
	assert_in_range(fake_calls(x->fb, FAKE_READ), 1, 4);
	readahead_done(&ra);
	fx_done(x);
}

static void *stop_reads(void *arg)
{
	struct call *c = arg;

	cache_stop_reads(c->f->c);
	waiting_end(&c->w, 0);
	return NULL;
}

static void the_end_waits_for_what_is_being_read(void **state)
{
	struct fx *x = fx_new(FAKE_QUEUED, 4 * PAGE);
	uint8_t buf[UNIT];
	struct reading rd;
	struct call c;

	(void)state;
	read_begin(&rd, x->f, x->cred, 0, UNIT);
	call_begin(&c, x, stop_reads);
	usleep(20000);
	assert_false(waiting_over(&c.w));
	fake_complete_all(x->fb);
	assert_int_equal(call_end(&c), 0);
	assert_int_equal(read_end(&rd, buf), UNIT);
	fx_done(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(second_read_is_a_hit),
		cmocka_unit_test(only_missing_units_are_read),
		cmocka_unit_test(large_reads_are_cut_at_the_limit),
		cmocka_unit_test(reads_end_at_the_end_of_file),
		cmocka_unit_test(short_answers_become_zeros),
		cmocka_unit_test(failed_fill_is_told_and_leaves_nothing_valid),
		cmocka_unit_test(two_readers_share_one_fill),
		cmocka_unit_test(bytes_invalidated_on_their_way_are_read_again),
		cmocka_unit_test(parked_read_can_be_cancelled),
		cmocka_unit_test(nowait_read_asks_and_comes_back),
		cmocka_unit_test(read_larger_than_the_free_frames_succeeds),
		cmocka_unit_test(waiting_for_a_frame_is_not_spinning),
		cmocka_unit_test(readahead_fills_before_it_is_asked),
		cmocka_unit_test(the_end_waits_for_what_is_being_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
